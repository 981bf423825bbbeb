"""Text on images: fonts for every script, and what counts as one character. No image is opened here."""
