"""The widget panel. Widgets that other parts use as well belong in `widgets`."""
