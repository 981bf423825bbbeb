"""Everything that knows Jupyter."""
