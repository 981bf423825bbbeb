"""Work with many images: sweeps, comparison, voting, history, spending and export. Knows no notebook and no SQL."""
