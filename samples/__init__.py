"""The algorithms: one folder each, listed in config_algorithm.map_type. See docs/writing_an_algorithm.md."""
