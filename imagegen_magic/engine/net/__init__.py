"""HTTP: connections, keys bound to their origin, retries, and which addresses may be reached. Knows no jobs and no ledger."""
