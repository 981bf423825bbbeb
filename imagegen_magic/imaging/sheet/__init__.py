"""Contact sheets and grids: layout, drawing and saving. Text shaping and fonts belong in `text`."""
