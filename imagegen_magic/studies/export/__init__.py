"""Exports: images with a page and a table, in a folder or ZIP file that needs no ledger."""
