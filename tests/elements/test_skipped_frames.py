"""Frames that ``sample_strategy`` KEEP only passes on: posted as they are (CONTRACT 3), never reported by a filter."""

from __future__ import annotations

from streamserver.elements.bytetrack import ByteTrack
from streamserver.elements.filter import Filter
from streamserver.elements.http_push import HttpPush
from streamserver.engine.frame import Frame
from tests.elements.test_filter import entry, make


def test_http_push_and_filter_see_them_and_trackers_do_not() -> None:
    assert (HttpPush.wants_skipped, Filter.wants_skipped, ByteTrack.wants_skipped) == (True, True, False)


def test_a_filter_with_a_rule_drops_them() -> None:
    passed: list[Frame] = []

    def keep(frame: Frame, *, port: int | None = None) -> None:
        passed.append(frame)

    make(entry(type=2)).process(Frame(0, 0, 1, skipped=True), keep)
    assert passed == []
