"""Files on disk: images, copies of references, and the folders they stand in. What stands in the ledger belongs in `ledger`."""
