"""What every service needs around its core: settings, log events.

Nothing here knows a call. Cores import nothing from here; shells read their settings once, in `__main__`.
"""
