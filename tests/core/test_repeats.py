from __future__ import annotations

import logging

from streamserver.core.repeats import RepeatFilter


class Lines(logging.Handler):
    def __init__(self, repeats: RepeatFilter) -> None:
        super().__init__()
        self.addFilter(repeats)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def logger_with(lines: Lines) -> logging.Logger:
    logger = logging.Logger("streamserver.test", logging.DEBUG)
    logger.addHandler(lines)
    return logger


def test_the_same_warning_comes_once_an_interval_with_the_number_left_out() -> None:
    now = [0.0]
    lines = Lines(RepeatFilter(interval_s=60, clock_s=lambda: now[0]))
    logger = logger_with(lines)
    for second in range(0, 70, 10):
        now[0] = second
        logger.warning("sample %s failed", "x")
    assert lines.lines == ["sample x failed", "sample x failed (and 5 times more since the last such line)"]


def test_other_warnings_and_lower_levels_pass() -> None:
    lines = Lines(RepeatFilter(clock_s=lambda: 0.0))
    logger = logger_with(lines)
    for name in "aab":
        logger.warning("failed: %s", name)
        logger.info("said %s", name)
    assert lines.lines == ["failed: a", "said a", "said a", "failed: b", "said b"]


def test_what_is_remembered_is_bounded() -> None:
    repeats = RepeatFilter(clock_s=lambda: 0.0)
    logger = logger_with(Lines(repeats))
    for number in range(1000):
        logger.warning("failed: %d", number)
    assert len(repeats._seen) <= 256
