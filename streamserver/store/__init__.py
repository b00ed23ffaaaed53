"""Tasks and their states, kept in a database."""
