"""Benchmarks: each prints one table of ratios against a yardstick that is measured in the same run."""
