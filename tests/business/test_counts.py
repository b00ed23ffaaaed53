"""What becomes of POSTs is counted, by how they ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamserver.business.delivery import make_reporter
from streamserver.core.counters import DeliveryCounts
from streamserver.core.settings import Settings
from streamserver.outbox.box import NewEvent, Outbox
from tests.business.stepping import body
from tests.business.support import wait_until
from tests.chaos.receivers import Mode, receivers
from tests.servers.ports import free_port


@pytest.mark.parametrize(
    ("mode", "outcome"),
    [(Mode.TAKE, "delivered"), (Mode.REFUSE, "refused"), (Mode.CLOSE, "failed"), (None, "unreachable")],
    ids=["taken", "refused", "an error", "nobody there"],
)
def test_each_post_is_counted_by_how_it_ended(mode: Mode | None, outcome: str, tmp_path: Path) -> None:
    counts = DeliveryCounts()
    outbox = Outbox(tmp_path / "outbox.sqlite")
    with receivers(1) as (address,):
        if mode is not None:
            address.mode = mode
        url = address.url if mode is not None else f"http://127.0.0.1:{free_port()}/"
        settings = Settings(state_dir=str(tmp_path))
        reporter = make_reporter(outbox, report_urls=[url], task_id="t", settings=settings, counts=counts)
        reporter.start()
        try:
            outbox.add([NewEvent(algorithm=0, body=body(1))])
            reporter.wake()
            wait_until(lambda: outcome in counts.attempts(), what=outcome)
        finally:
            assert reporter.stop(60.0)
    assert set(counts.attempts()) == {outcome}
    assert sum(counts.delays()[:-1]) == (outcome == "delivered")
    outbox.close()
