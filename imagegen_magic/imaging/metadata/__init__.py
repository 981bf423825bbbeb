"""What an image file says beside its pixels: XMP, provenance, and what must not leave this machine."""
