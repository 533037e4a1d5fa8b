"""A strict server of Exchange Web Services for tests: what it does not accept, Exchange would not either."""
