"""What is done to pixels, and nothing else: Pillow in, Pillow out."""
