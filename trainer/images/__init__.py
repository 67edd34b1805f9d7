"""Images from bytes to what a tower sees."""
