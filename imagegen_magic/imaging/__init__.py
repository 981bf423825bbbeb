"""Pillow in, Pillow out: what is done to pixels and image files. Nothing here knows of providers, requests in progress or notebooks.

`decode` turns bytes into pixels and has the limits, `verify` reads what an image is, `preview` makes a small copy. `reference` makes
a user's image ready for upload, `masks` defines where an edit may paint, `mask_drift` measures what changed elsewhere.
Safe in threads; the settings of the process's own Pillow are neither used nor changed.
"""
