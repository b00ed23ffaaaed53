"""Alarms that wait for a receiver."""
