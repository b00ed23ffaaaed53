"""Read, check, normalise and rewrite element graphs; no I/O beyond the files named."""
