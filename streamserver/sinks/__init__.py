"""How an event leaves: HTTP, files."""
