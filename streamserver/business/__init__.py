"""The client process of one task: presence, outbox, reports."""
