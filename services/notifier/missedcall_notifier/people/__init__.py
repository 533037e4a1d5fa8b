"""Who people are, what they have chosen, and where both are read."""
