"""What stays in the saved notebook: images, captions, tables. Live progress belongs in `progress`."""
