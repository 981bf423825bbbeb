"""Fonts, graphemes, and which scripts the fonts of this system can draw."""
