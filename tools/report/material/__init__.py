"""What reports are made from: runs, results and provenance, read and checked."""
