"""Pillow in, Pillow out: what is done to pixels and image files. Nothing here knows of providers, requests in progress or notebooks.

`decode` turns bytes into pixels and holds the limits, `verify` says what an image is, `preview` makes the small one. `reference` makes
a user's image ready for upload, `masks` says where an edit may paint, `mask_drift` whether it kept to that.
Safe in threads; it neither obeys nor changes the settings of the process's own Pillow.
"""
