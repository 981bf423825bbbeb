"""Labelled grids of images: layout, drawing, and the files they become. What the images mean is not known here."""
