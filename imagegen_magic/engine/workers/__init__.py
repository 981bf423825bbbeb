"""Pictures fetched by other processes: what they get and return, and the pool or cluster that runs them; no key, ledger or submission."""
