"""The `missedcall` command: replay, explain, run, send and demo, all in one process."""
