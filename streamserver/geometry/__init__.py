"""Boxes, polygons, lines and tracking in plain numpy."""
