"""The live progress of a job: its state, and how widgets, text and terminals show it. Finished images belong in `output`."""
