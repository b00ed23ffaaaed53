"""One element a file; the file's name is the name in the element's JSON."""
