from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from streamserver.business import breaker
from streamserver.business.delivery import RECEIVERS_DIR, make_reporter
from streamserver.business.receiver import Receiver
from streamserver.business.reporter import Reporter
from streamserver.business.slots import Slots
from streamserver.core.errors import ConfigError
from streamserver.core.secrets import hide
from streamserver.core.settings import Settings
from streamserver.outbox.box import NewEvent, Outbox
from tests.business.stepping import Address, Clock, body
from tests.business.support import receiver, wait_until
from tests.chaos.receivers import Mode, receivers
from tests.servers.ports import free_port

FULL_BODY = b'[{"TaskID":"t","FrameIndex":1,"SceneImageBase64":"%s","AnalyzeEvents":[{"ImageBase64":"","Box":{}}]}]' % (
    b"QUJD" * 17_000
)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    box = Outbox(tmp_path / "outbox.sqlite")
    yield box
    box.close()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def begin(stack: ExitStack, outbox: Outbox, urls: list[str], tmp_path: Path, **settings: object) -> Reporter:
    chosen = Settings(state_dir=str(tmp_path), **settings)  # type: ignore[arg-type]
    reporter = make_reporter(outbox, report_urls=urls, task_id="t 1", settings=chosen)
    reporter.start()
    stack.callback(lambda: reporter.stop(20.0))
    return reporter


def add(outbox: Outbox, *numbers: int) -> None:
    outbox.add([NewEvent(algorithm=0, body=body(number)) for number in numbers])


def add_full(outbox: Outbox, count: int) -> None:
    outbox.add([NewEvent(algorithm=0, body=FULL_BODY) for _ in range(count)])


class Slow(Address):
    """Takes an alarm once it is allowed to."""

    def __init__(self) -> None:
        super().__init__("slow", Clock())
        self.begun, self.allowed = threading.Semaphore(0), threading.Event()

    def send(self, alarm: object) -> None:
        self.begun.release()
        self.allowed.wait()
        super().send(alarm)  # type: ignore[arg-type]


def test_what_is_added_is_delivered(stack: ExitStack, outbox: Outbox, tmp_path: Path) -> None:
    address = stack.enter_context(receiver())
    reporter = begin(stack, outbox, [address.url], tmp_path)
    for number in range(20):
        add(outbox, number)
        reporter.wake()
    wait_until(lambda: outbox.counters.delivered == 20, what="all are delivered")
    assert sorted(address.frames()) == list(range(20))
    headers, _ = address.posts[0]
    assert (headers["X-Task-Id"], headers["X-Attempt"]) == ("t 1", "1") and headers["X-Alarm-Id"]
    assert reporter.stop(20.0) and reporter.stop(20.0), "it may be stopped twice"


def test_threads_are_there_only_while_they_have_something_to_do(outbox: Outbox) -> None:
    before, clock, slow = set(threading.enumerate()), Clock(), Slow()

    def new() -> int:
        return len(set(threading.enumerate()) - before)

    reporter = Reporter(outbox, [Receiver("slow", lambda: slow)], clock=clock)
    assert new() == 0
    reporter.start()
    add(outbox, *range(10))
    reporter.wake()
    for _ in range(4):
        slow.begun.acquire()
    assert new() == 5
    slow.allowed.set()
    wait_until(lambda: outbox.counters.delivered == 10, what="all are delivered")
    clock.now += 60
    reporter.wake()
    wait_until(lambda: new() == 1, what="the others have ended")
    assert reporter.stop(20.0)


def test_posts_under_way_are_finished_before_the_end_and_the_rest_stays(outbox: Outbox) -> None:
    slow = Slow()
    reporter = Reporter(outbox, [Receiver("slow", lambda: slow)])
    add(outbox, *range(10))
    reporter.start()
    for _ in range(4):
        slow.begun.acquire()
    assert reporter.stop(0.01) is False  # still waiting for the receiver
    slow.allowed.set()
    assert reporter.stop(20.0)
    assert sorted(slow.bodies()) == [body(number) for number in range(4)]
    assert outbox.counters.delivered == 4 and outbox.counters.pending == 6


def test_the_end_does_not_wait_for_an_address_that_was_passed_over(outbox: Outbox, stack: ExitStack) -> None:
    slow, good = Slow(), Address("good", Clock())
    stack.callback(slow.allowed.set)
    reporter = Reporter(outbox, [Receiver("slow", lambda: slow), Receiver("good", lambda: good)])
    add(outbox, 1, 2)
    reporter.start()
    wait_until(lambda: outbox.counters.delivered == 2, what="both went to the other address")
    assert reporter.stop(20.0)


def test_a_closed_outbox_ends_a_reporter_that_is_told_to_stop(outbox: Outbox, caplog: pytest.LogCaptureFixture) -> None:
    slow = Slow()
    reporter = Reporter(outbox, [Receiver("slow", lambda: slow)])
    add(outbox, 1)
    reporter.start()
    slow.begun.acquire()
    assert reporter.stop(0.01) is False
    outbox.close()
    slow.allowed.set()
    assert reporter.stop(20.0)


def test_the_thread_outlives_a_broken_outbox(outbox: Outbox) -> None:
    outbox.close()
    reporter = Reporter(outbox, [Receiver("a", lambda: Address("a", Clock()))])
    reporter.start()
    wait_until(lambda: reporter.last_error, what="the error is told")
    assert "closed" in reporter.last_error
    assert reporter.stop(20.0)


def test_a_sink_that_breaks_counts_as_failed(outbox: Outbox, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Address):
        def send(self, alarm: object) -> None:
            raise ZeroDivisionError("oh")

    def none() -> Address:
        raise RuntimeError("no more")

    good = Address("good", Clock())
    broken = Receiver("broken", lambda: Broken("broken", Clock()))
    reporter = Reporter(outbox, [broken, Receiver("unmade", none), Receiver("good", lambda: good)])
    add(outbox, 1, 2)
    reporter.start()
    wait_until(lambda: outbox.counters.delivered == 2, what="both are delivered")
    assert reporter.stop(20.0)
    assert len(good.taken) == 2 and "ZeroDivisionError" in caplog.text and "no more" in caplog.text


def test_nobody_is_there_then_somebody_is(
    stack: ExitStack,
    outbox: Outbox,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(breaker, "PATIENCE_S", 60.0)  # what is late goes to another address, too: a second copy
    caplog.set_level(logging.INFO)
    several = stack.enter_context(receivers(2))
    for one in several:
        one.deafen()
    reporter = begin(stack, outbox, several.urls, tmp_path)
    add_full(outbox, 50)
    reporter.wake()
    wait_until(lambda: reporter.outage and "refused" in reporter.last_error, what="the outage is known")
    several.set_mode(Mode.TAKE)
    wait_until(lambda: outbox.counters.delivered == 50, what="all are delivered")
    assert set(several.counts().values()) == {1}
    wait_until(lambda: reporter.last_error == "" and not reporter.outage, what="all is well")
    assert "is left out for now" in caplog.text and "takes alarms again" in caplog.text


def test_an_outage_of_the_only_address_is_one_line(
    stack: ExitStack, outbox: Outbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reporter = begin(stack, outbox, [f"http://127.0.0.1:{free_port()}/up"], tmp_path)
    outbox.add([NewEvent(algorithm=0, body=FULL_BODY)])
    reporter.wake()
    wait_until(lambda: "they wait in the outbox" in caplog.text, what="the outage is told")
    assert "is left out for now" not in caplog.text
    assert "the connection was refused; is the receiver running, and the port right?" in caplog.text


@pytest.mark.parametrize("mode", [Mode.TRICKLE, Mode.CLOSE, Mode.UNAVAILABLE])
def test_one_of_three_misbehaves(
    stack: ExitStack, outbox: Outbox, tmp_path: Path, mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "FIRST_PROBE_S", 600.0)  # else it is probed as often as the test takes long
    monkeypatch.setattr(breaker, "LONGEST_PROBE_S", 600.0)
    several = stack.enter_context(receivers(3))
    several[1].mode = mode
    reporter = begin(stack, outbox, several.urls, tmp_path, report_timeout_s=300)
    for _ in range(20):
        add_full(outbox, 3)
        reporter.wake()
    wait_until(lambda: outbox.counters.delivered == 60, what="all are delivered")
    assert len(several.ids()) == 60 and several[1].posts <= 4 + 3
    assert reporter.stop(20.0), "what it does not answer keeps nobody"


def test_what_application_web_refuses_is_tried_again(stack: ExitStack, outbox: Outbox, tmp_path: Path) -> None:
    several = stack.enter_context(receivers(1))
    several[0].mode = Mode.REFUSE
    reporter = begin(stack, outbox, several.urls, tmp_path)
    add_full(outbox, 2)
    reporter.wake()
    wait_until(lambda: "参数错误" in reporter.last_error, what="it is refused")
    wait_until(lambda: several[0].posts >= 2, what="both have been asked for, with the same answer")
    assert not reporter.outage and outbox.counters.pending == 2
    several[0].mode = Mode.TAKE
    reporter.hurry()
    wait_until(lambda: outbox.counters.delivered == 2, what="both are delivered")
    assert min(row.attempt for row in several.all()) > 1


def test_all_tasks_together_keep_to_the_limit_of_an_address(stack: ExitStack, tmp_path: Path) -> None:
    several = stack.enter_context(receivers(1))
    several[0].mode = Mode.UNAVAILABLE
    boxes = []
    for number in range(4):
        box = Outbox(tmp_path / f"{number}.sqlite")
        stack.callback(box.close)
        add_full(box, 25)
        begin(stack, box, several.urls, tmp_path, report_concurrency=2)
        boxes.append(box)
    wait_until(lambda: several[0].posts > 8, what="all have tried")
    several[0].mode = Mode.TAKE
    wait_until(lambda: all(box.counters.delivered == 25 for box in boxes), what="all are delivered", limit_s=60)
    assert several[0].busiest <= 2
    assert len(several.ids()) == 100


def test_while_there_is_no_slot_nothing_spins(stack: ExitStack, outbox: Outbox, tmp_path: Path) -> None:
    several = stack.enter_context(receivers(1))
    slot = Slots(tmp_path / RECEIVERS_DIR, several[0].url, 1).take()
    assert slot is not None
    reporter = begin(stack, outbox, several.urls, tmp_path, report_concurrency=1)
    add(outbox, *range(20))
    before = time.process_time()
    reporter.wake()
    threading.Event().wait(1.0)
    assert time.process_time() - before < 0.5 and several[0].posts == 0
    slot.release()
    wait_until(lambda: several[0].posts == 20, what="all are sent")


def test_the_secret_of_the_settings_is_used_and_hidden(stack: ExitStack, outbox: Outbox, tmp_path: Path) -> None:
    address = stack.enter_context(receiver())
    reporter = begin(stack, outbox, [address.url], tmp_path, report_secret="k3y-of-the-house")
    add(outbox, 1)
    reporter.wake()
    wait_until(lambda: outbox.counters.delivered == 1, what="it is delivered")
    assert address.posts[0][0]["X-Signature"].startswith("sha256=")
    assert "house" not in hide("using k3y-of-the-house here")


def test_an_address_of_another_kind_is_told_at_once(outbox: Outbox, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'ftp://h/' is no http"):
        make_reporter(outbox, report_urls=["ftp://h/"], task_id="t", settings=Settings(state_dir=str(tmp_path)))


def test_an_address_that_is_named_twice_is_one(stack: ExitStack, outbox: Outbox, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/"
    reporter = begin(stack, outbox, [url, url], tmp_path)
    add(outbox, 1)
    reporter.wake()
    wait_until(lambda: reporter.last_error, what="it has failed")
    assert reporter.last_error.count("127.0.0.1") == 1
