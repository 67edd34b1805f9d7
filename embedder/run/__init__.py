"""One embedding run: what is missing, read, encoded and committed side by side."""
