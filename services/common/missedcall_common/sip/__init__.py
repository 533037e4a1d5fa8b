"""SIP as a passive listener reads it: bytes in, values out; standard library and mypy's marks only, no I/O, no clock."""
