"""Images from bytes to the input of a tower."""
