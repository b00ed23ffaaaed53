"""What start_server.sh --demo shows: a drawn clip, a receiver, a task."""
