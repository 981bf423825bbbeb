"""Effects of a sweep's axes on scores: the fit, its distributions, the table, and its views. Pure Python, without numpy or scipy."""
