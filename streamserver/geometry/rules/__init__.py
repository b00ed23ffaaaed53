"""Which tracked objects of a frame are worth an alarm: the pure part of the filter element."""
