"""Multi-object trackers."""
