"""SIP as a passive listener reads it: bytes in, values out; no I/O, no clock, no package but mypy's marks."""
