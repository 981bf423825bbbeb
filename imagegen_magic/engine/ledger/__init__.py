"""The SQLite ledger: its schema, and every SQL statement of the package. Knows no jobs and no HTTP."""
