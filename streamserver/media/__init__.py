"""Sources of every kind behind one iterator of frames."""
