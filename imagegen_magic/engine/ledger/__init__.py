"""The SQLite ledger: its file, schema, records and all SQL statements of the package. Knows no jobs and no HTTP."""
