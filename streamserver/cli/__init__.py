"""The command line for people: an HTTP client of the API, and a doctor."""
