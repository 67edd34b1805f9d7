"""From sample keys to places: hashes, and a table that is searched in bulk."""
