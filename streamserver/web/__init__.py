"""The Flask application of the master."""
