"""Sweeps: axes, the plan of combinations, and results, also of sweeps loaded from the ledger."""
