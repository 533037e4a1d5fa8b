"""Captured SIP in, batches of SIP messages out."""
