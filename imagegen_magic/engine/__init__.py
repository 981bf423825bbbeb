"""Everything that touches network, clock and disk; knows no notebook."""
