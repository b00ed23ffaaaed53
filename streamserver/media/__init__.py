"""Sources of frames behind one iterator."""
