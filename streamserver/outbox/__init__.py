"""Alarms that wait for a receiver, in one durable file a task; dead letters."""
