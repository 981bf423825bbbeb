"""What an image file holds besides its pixels: XMP, provenance, and what must not leave this machine. No pixel is decoded here."""
