"""Earlier images: search, annotations, lineage, provenance and spending. Sweeps belong in `sweeps`."""
