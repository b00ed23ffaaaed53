"""Makes what runs match what the store says should run."""
