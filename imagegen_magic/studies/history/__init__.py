"""Earlier images: search, lineage, provenance and spending. Sweeps belong in `sweeps`."""
