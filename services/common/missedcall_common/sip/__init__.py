"""SIP as a passive listener reads it: bytes in, values out; standard library only, no I/O, no clock."""
