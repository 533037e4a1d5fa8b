"""Decides once per correlated call and called user whether the call was missed, and why.

The cores (`seen`, `call`, `join`, `picture`, `rules`, `engine`) are pure: no clock, no I/O, no log.
"""
