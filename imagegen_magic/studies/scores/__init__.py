"""Scores of images: scorers, what they returned, and the run that calls them; effects of axes on scores stand beside this package."""
