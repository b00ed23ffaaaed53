"""Proof by faults: the real server, real engines, receivers that keep a ledger, and faults."""
