"""Public evaluation sets as they lie on disk: images, captions and labels, from their own annotation files."""
