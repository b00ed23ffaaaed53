"""What counts as a failure of the engine, and what does not."""

from __future__ import annotations

from streamserver.core.errors import DeviceError, StoppedError
from streamserver.engine.flow import Flow


def test_what_is_given_up_because_the_engine_stops_is_no_failure() -> None:
    flow = Flow()
    flow.stop()
    flow.fail("yolox", StoppedError("waited for a server"))
    assert flow.failure is None and flow.finished.is_set()


def test_what_fails_first_is_kept_whatever_is_given_up_later() -> None:
    flow = Flow()
    first = DeviceError("no memory")
    flow.fail("yolox", first)
    flow.fail("resnet", StoppedError("waited for a server"))
    flow.fail("resnet", DeviceError("another"))
    assert flow.failure is first
