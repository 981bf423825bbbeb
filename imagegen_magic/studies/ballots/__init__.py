"""Ballots: pages on which other raters vote without a notebook, and the votes that they send back."""
