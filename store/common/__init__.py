"""What everything else uses: errors, settings and flags of commands, files written whole, data checked by type."""
