"""Images of the ledger as a folder or archive that others can read: files, page and table."""
