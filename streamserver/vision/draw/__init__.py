"""Shows what was found in a picture; everything here writes into the array it is given."""
