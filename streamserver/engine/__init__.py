"""The element contract, the runner and its bounded queues."""
