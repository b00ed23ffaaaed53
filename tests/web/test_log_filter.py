"""What anybody can write into the log."""

from __future__ import annotations

import logging

from streamserver.web import log_filter


def test_a_flood_of_what_is_no_request_leaves_the_log_to_others() -> None:
    now = [0.0]
    few = log_filter.FewOfAnybody(clock=lambda: now[0])

    def passed(message: str) -> str | None:
        record = logging.LogRecord("gunicorn.error", logging.WARNING, "", 0, message, None, None)
        return record.getMessage() if few.filter(record) else None

    flood = [passed(f"Invalid request from ip=10.0.0.1: %s {n}") for n in range(1000)]
    assert len([message for message in flood if message]) == 50
    assert passed("Worker exiting") == "Worker exiting"
    now[0] += 60
    assert passed("Invalid request from ip=10.0.0.1: x") == (
        "Invalid request from ip=10.0.0.1: x (950 more left out before)"
    )
    assert passed("Invalid request from ip=10.0.0.1: x") == "Invalid request from ip=10.0.0.1: x"
