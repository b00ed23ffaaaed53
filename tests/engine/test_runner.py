from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from streamserver.core.errors import GraphError, SourceMissingError
from streamserver.core.picture import Picture
from streamserver.core.states import SourceState
from streamserver.engine import runner as runner_module
from streamserver.engine.element import LEFT_OUT, ElementContext
from streamserver.engine.frame import Frame
from streamserver.engine.queues import FILE_CAPACITY
from streamserver.engine.runner import Runner
from streamserver.graph.model import Edge, Graph, Node
from tests.engine.elements import chain, channel, frames_in, make_runner

PATIENCE_S = 60.0


class Background:
    """A runner at work in a thread of its own; ended when the test is over."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.left_behind: list[str] | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        self.left_behind = self.runner.run()

    def __enter__(self) -> Runner:
        self._thread.start()
        return self.runner

    def __exit__(self, *_: object) -> None:
        self.runner.stop()
        self._thread.join()


def wait_for(what: Any) -> None:
    """Waits until ``what()`` is true; a test that waits for ever is a failed one."""
    end = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def give_up_soon(monkeypatch: pytest.MonkeyPatch, thread: threading.Thread) -> list[float]:
    """Whoever joins this thread gives up soon, so that the others have time enough; returns how long each waits."""
    waits: list[float] = []
    join = thread.join

    def join_soon(timeout: float) -> None:
        waits.append(timeout)
        join(0.05)

    monkeypatch.setattr(thread, "join", join_soon)
    return waits


def test_every_frame_runs_through_every_element_in_order_and_then_the_engine_ends() -> None:
    first: list[Any] = []
    last: list[Any] = []
    graph = chain(("numbers", {"frames": 30}), ("recorder", {"into": first}), ("recorder", {"into": last}))
    runner = make_runner([graph], [channel()])
    assert runner.run() == []
    for record in (first, last):
        assert record[0] == "opened"
        assert [(frame.frame_id, frame.sequence) for frame in frames_in(record)] == [(n, n) for n in range(30)]
        assert record[-2:] == [("end", 0), "closed"]
    snapshot = runner.snapshot()
    assert (snapshot.frames, snapshot.source.state, snapshot.dropped) == (30, SourceState.ENDED, 0)


def test_pictures_that_no_channel_takes_are_given_up() -> None:
    pictures: list[Picture] = []
    graph = chain(("numbers", {"frames": 12, "pictures": pictures}), ("recorder", {}))
    make_runner([graph], [channel(0, sample_interval=4), channel(1, sample_interval=6)]).run()
    assert [number for number, picture in enumerate(pictures) if not picture.given_up] == [0, 4, 6, 8]
    pictures.clear()
    make_runner([graph], [channel(sample_interval=4, sample_strategy="KEEP")]).run()
    assert not any(picture.given_up for picture in pictures)


def test_sequence_counts_processed_frames_across_loops_and_each_loop_breaks_continuity() -> None:
    record: list[Any] = []
    graph = chain(("numbers", {"frames": 5}), ("recorder", {"into": record}))
    runner = make_runner([graph], [channel(loop_num=3, sample_interval=2)], start_loop=1)
    runner.run()
    seen = [(frame.loop, frame.frame_id, frame.sequence, frame.discontinuity) for frame in frames_in(record)]
    assert seen == [
        (1, 0, 0, True),
        (1, 2, 1, False),
        (1, 4, 2, False),
        (2, 0, 3, True),
        (2, 2, 4, False),
        (2, 4, 5, False),
    ]
    assert runner.snapshot().loop == 2


class _Tap:
    """Sees every frame that an element emits."""

    def __init__(self, runner: Runner, node: tuple[int, int]) -> None:
        self.frames: list[Frame] = []
        part = runner._nodes[node]
        original = part.put

        def put(frame: Frame, *, newest_wins: bool = False) -> list[Frame]:
            self.frames.append(frame)
            return original(frame, newest_wins=newest_wins)

        part.put = put  # type: ignore[method-assign]


def test_keep_passes_the_other_frames_on_unprocessed() -> None:
    record: list[Any] = []
    graph = chain(("numbers", {"frames": 7}), ("recorder", {"into": record}), ("pass", {}))
    runner = make_runner([graph], [channel(sample_interval=3, sample_strategy="KEEP")])
    tap = _Tap(runner, (0, 3))
    runner.run()
    assert [frame.frame_id for frame in frames_in(record)] == [0, 3, 6]
    assert [(frame.frame_id, frame.sequence) for frame in tap.frames if frame.skipped] == [
        (1, 1),
        (2, 1),
        (4, 2),
        (5, 2),
    ]
    assert [frame.end_of_stream for frame in tap.frames] == [False] * 7 + [True]


def test_an_element_that_wants_the_frames_between_gets_them() -> None:
    record: list[Any] = []
    graph = chain(("numbers", {"frames": 5}), ("greedy", {"into": record}))
    make_runner([graph], [channel(sample_interval=3, sample_strategy="KEEP")]).run()
    assert [(frame.frame_id, frame.skipped) for frame in frames_in(record)] == [
        (0, False),
        (1, True),
        (2, True),
        (3, False),
        (4, True),
    ]


def test_an_element_chooses_the_port_and_none_is_the_first_connected_one() -> None:
    odd: list[Any] = []
    even: list[Any] = []
    choose = {"port": lambda frame: 7 if frame.frame_id % 2 else None}
    nodes = (
        Node(node_id=1, name="numbers", configure={"frames": 6}, is_source=True, members=(1,)),
        Node(node_id=2, name="recorder", configure=choose, members=(2,)),
        Node(node_id=3, name="recorder", configure={"into": even}, is_sink=True, members=(3,)),
        Node(node_id=4, name="recorder", configure={"into": odd}, is_sink=True, members=(4,)),
    )
    edges = (Edge(1, 0, 2, 0), Edge(2, 7, 4, 0), Edge(2, 3, 3, 0))
    make_runner([Graph(graph_id=0, nodes=nodes, edges=edges)], [channel()]).run()
    assert [frame.frame_id for frame in frames_in(even)] == [0, 2, 4]
    assert [frame.frame_id for frame in frames_in(odd)] == [1, 3, 5]


def test_a_port_that_leads_nowhere_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    graph = chain(("numbers", {}), ("recorder", {"port": lambda frame: 9}), ("pass", {}))
    make_runner([graph], [channel()]).run()
    assert caplog.text.count("element 2 'recorder': output port 9 is not connected") == 1


def test_channels_of_one_source_share_its_reader_also_across_graphs() -> None:
    opened: list[int] = []
    records: list[list[Any]] = [[], [], []]
    source = {"frames": 12, "opened": opened}
    graphs = [chain(("numbers", source), ("recorder", {"into": records[i]}), graph_id=i) for i in range(3)]
    channels = [
        channel(10, graph_id=0),
        channel(11, graph_id=1, sample_interval=4),
        channel(12, graph_id=2, url="/other"),
    ]
    runner = make_runner(graphs, channels)
    runner.run()
    assert sorted(opened) == [10, 12]
    assert [len(frames_in(record)) for record in records] == [12, 3, 12]
    assert {frame.channel_id for frame in frames_in(records[1])} == {11}
    assert frames_in(records[0])[4].picture is frames_in(records[1])[1].picture
    assert runner.snapshot().frames == 24


def test_two_channels_of_one_graph_are_numbered_each_for_itself() -> None:
    record: list[Any] = []
    graph = chain(("numbers", {"frames": 4}), ("recorder", {"into": record}))
    make_runner([graph], [channel(1), channel(2, url="/other")]).run()
    for channel_id in (1, 2):
        mine = [frame.sequence for frame in frames_in(record) if frame.channel_id == channel_id]
        assert mine == [0, 1, 2, 3]
    assert {("end", 1), ("end", 2)} <= {what for what in record if isinstance(what, tuple)}


def test_a_slow_element_holds_a_file_back_and_loses_nothing() -> None:
    gate = threading.Event()
    record: list[Any] = []
    read: list[int] = []
    graph = chain(
        ("numbers", {"frames": 50, "after": read.append}),
        ("recorder", {"into": record, "work": lambda context: gate.wait(PATIENCE_S)}),
    )
    runner = make_runner([graph], [channel()])
    with Background(runner):
        wait_for(lambda: len(read) >= 2 * FILE_CAPACITY)
        time.sleep(0.05)
        assert len(read) <= 2 * FILE_CAPACITY + 4
        gate.set()
        wait_for(lambda: "closed" in record)
    assert [frame.frame_id for frame in frames_in(record)] == list(range(50))


def test_of_a_live_stream_the_newest_frames_win_and_their_numbers_have_no_gap() -> None:
    gate, all_read = threading.Event(), threading.Event()
    record: list[Any] = []

    def after(number: int) -> None:
        if number == 99:
            all_read.set()

    graph = chain(
        ("numbers", {"frames": 100, "after": after}),
        ("recorder", {"into": record, "work": lambda context: gate.wait(PATIENCE_S)}),
    )
    runner = make_runner([graph], [channel(source_type="RTSP", url="rtsp://cam")])
    with Background(runner):
        assert all_read.wait(PATIENCE_S)
        gate.set()
        wait_for(lambda: "closed" in record)
    frames = frames_in(record)
    assert [frame.sequence for frame in frames] == list(range(len(frames)))
    assert frames[-1].frame_id == 99
    assert len(frames) < 10
    assert runner.snapshot().dropped == 100 - len(frames)
    assert ("end", 0) in record


def test_no_frame_flows_before_every_element_is_open() -> None:
    loaded = threading.Event()
    opened: list[int] = []
    graph = chain(
        ("numbers", {"opened": opened}), ("recorder", {"on_open": lambda: loaded.wait(PATIENCE_S)}), ("recorder", {})
    )
    runner = make_runner([graph], [channel()])
    with Background(runner):
        time.sleep(0.1)
        assert opened == []
        assert not runner.snapshot().ready
        assert runner.hung(0.01) == ""
        loaded.set()
        wait_for(lambda: runner.snapshot().source.state == SourceState.ENDED)
        assert runner.snapshot().ready
    assert opened == [0]


def _raise(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("where", ["on_open", "work"])
def test_an_element_that_fails_ends_the_engine_and_every_element_is_closed(
    where: str, caplog: pytest.LogCaptureFixture
) -> None:
    records: list[list[Any]] = [[], []]

    def act(*_: object) -> None:
        _raise(ZeroDivisionError("oh"))

    graph = chain(
        ("numbers", {"frames": 10_000}),
        ("recorder", {"into": records[0], where: act}),
        ("recorder", {"into": records[1]}),
    )
    with pytest.raises(ZeroDivisionError, match="oh"):
        make_runner([graph], [channel()]).run()
    assert [record[-1] for record in records] == ["closed", "closed"]
    assert "graph 0 element 2 'recorder'" in caplog.text
    assert "Traceback" in caplog.text


def test_a_source_that_fails_ends_the_engine_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    error = SourceMissingError("the file is gone")
    graph = chain(("numbers", {"after": lambda number: _raise(error)}), ("pass", {}))
    with pytest.raises(SourceMissingError, match="the file is gone"):
        make_runner([graph], [channel()]).run()
    assert "source /numbers: the file is gone" in caplog.text
    assert "Traceback" not in caplog.text


def test_an_element_that_hangs_is_found_and_its_patient_neighbours_are_not() -> None:
    gate = threading.Event()
    graph = chain(
        ("numbers", {"frames": 50}), ("recorder", {}), ("recorder", {"work": lambda context: gate.wait(PATIENCE_S)})
    )
    runner = make_runner([graph], [channel()])
    with Background(runner):
        wait_for(lambda: "element 3 'recorder' has worked on one frame" in runner.hung(0.6))
        # its neighbours have waited for a while by now, and would be named before it
        wait_for(lambda: "element 3 'recorder' has worked on one frame" in runner.hung(0.2))
        assert runner.hung(10 * PATIENCE_S) == ""
        gate.set()
        wait_for(lambda: not runner.hung(0.2))


def test_an_element_that_waits_for_something_outside_says_that_it_is_alive() -> None:
    gate, signal = threading.Event(), threading.Event()
    contexts: list[ElementContext] = []

    def work(context: ElementContext) -> None:
        contexts.append(context)
        signal.wait(PATIENCE_S)
        context.alive()
        gate.wait(PATIENCE_S)

    runner = make_runner([chain(("numbers", {}), ("recorder", {"work": work}))], [channel()])
    with Background(runner):
        wait_for(lambda: "element 2 'recorder' has worked on one frame" in runner.hung(0.2))
        node = runner._nodes[0, 2]
        lane = node.lanes[0]
        before = lane.busy_since
        contexts[0].alive()
        assert before is not None
        assert lane.busy_since == before
        signal.set()
        wait_for(lambda: lane.busy_since is not None and lane.busy_since > before + 0.2)
        gate.set()


def test_a_source_that_hangs_is_told_from_one_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "READER_SILENCE_S", 0.2)
    gate = threading.Event()
    runner = make_runner(
        [chain(("numbers", {"after": lambda number: gate.wait(PATIENCE_S)}), ("recorder", {}))], [channel()]
    )
    monitor = runner._readers[0].monitor

    def quiet_after(sign: Callable[[], None]) -> bool:
        sign()
        return runner.hung(0.01) == ""

    with Background(runner):
        wait_for(lambda: "given no sign for" in runner.hung(0.01))
        wait_for(lambda: quiet_after(monitor.alive))
        wait_for(lambda: "given no sign for" in runner.hung(0.01))
        wait_for(lambda: quiet_after(lambda: monitor.reconnecting("gone")))
        gate.set()


def test_stopping_ends_an_endless_stream_at_once() -> None:
    record: list[Any] = []
    graph = chain(("numbers", {"frames": 10**9}), ("recorder", {"into": record}))
    background = Background(make_runner([graph], [channel()]))
    with background:
        wait_for(lambda: len(record) > 5)
    assert background.left_behind == []
    assert record[-1] == "closed"
    assert background.runner.snapshot().source.state == SourceState.STREAMING


def test_a_thread_that_cannot_be_ended_is_left_behind_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    gate, working = threading.Event(), threading.Event()

    def work(context: ElementContext) -> None:
        working.set()
        gate.wait(PATIENCE_S)

    background = Background(make_runner([chain(("numbers", {}), ("recorder", {"work": work}))], [channel()]))
    with background as runner:
        assert working.wait(PATIENCE_S)
        waits = give_up_soon(monkeypatch, runner._nodes[0, 2].threads[0])
        runner.stop()
        wait_for(lambda: background.left_behind is not None)
        assert background.left_behind == ["graph 0 element 2 'recorder'"]
        assert len(waits) == 1 and 0 < waits[0] <= runner_module.STOP_TIMEOUT_S
        gate.set()


def test_what_elements_report_reaches_the_status(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    def work(context: ElementContext) -> None:
        context.report("detector", "motion")
        for channel_id, words in ((0, "small ones"), (1, "all"), (1, "")):
            context.report(f"{LEFT_OUT} {channel_id}", words)

    graphs = [chain(("numbers", {}), ("recorder", {"work": work}), graph_id=i) for i in range(2)]
    runner = make_runner(graphs, [channel(0), channel(1, graph_id=1)])
    runner.run()
    assert (runner.snapshot().detector, runner.snapshot().left_out) == ("motion", {"0": "small ones"})
    assert caplog.text.count("detector: motion") == 2


@pytest.mark.parametrize(
    ("graphs", "channels", "words"),
    [
        ([chain(("numbers", {}), ("pass", {}))], [], "no channel"),
        ([chain(("numbers", {}), ("pass", {}))], [channel(graph_id=4)], "graph_id 4 does not exist; use one of 0"),
        ([chain(("numbers", {}), ("pass", {}))], [channel(decode_id=9)], "decode_id 9"),
        ([chain(("pass", {}), ("pass", {}))], [channel()], "element 1 'pass': ports: is_src"),
        ([chain(("numbers", {}), ("nonsense", {}))], [channel()], "there is no element 'nonsense'"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_starts(graphs: Any, channels: Any, words: str) -> None:
    with pytest.raises(GraphError, match=words):
        make_runner(graphs, channels)
