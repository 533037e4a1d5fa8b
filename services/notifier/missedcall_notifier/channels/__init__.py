"""The ways to reach people: one module per channel behind the port in `port`."""
