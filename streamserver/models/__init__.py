"""Model families, one a file, and the store that finds their weights."""
