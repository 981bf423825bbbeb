"""`%%imagegen` itself: the magics, a cell, a sweep cell, completion. Subcommands belong in `commands`."""
