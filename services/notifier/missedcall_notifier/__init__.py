"""Delivers each missed call once, by mail or webhook, with what it takes to survive a crash in between."""
