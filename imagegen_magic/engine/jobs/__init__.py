"""A batch of tasks from its ledger rows to saved images: what one job does.

HTTP, SQL and the order of polls belong in `net`, `ledger` and `polling`.
"""
