"""Whether what the settings name can be reached and used, said in plain words: `missedcall check`."""
