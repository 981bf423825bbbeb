"""From the text of a line and cell to an ImageRequest: options, parsing, mistakes, and which image a word means."""
