"""The engine process of one task."""
