from __future__ import annotations

import logging
import threading
import time
from typing import Any

import pytest

from streamserver.engine.element import ElementContext, Emit
from streamserver.engine.frame import Frame
from tests.engine import elements
from tests.engine.elements import chain, channel, frames_in, graph_of, make_runner
from tests.engine.test_runner import PATIENCE_S, Background, give_up_soon, wait_for


def thread_graph(number: int, **configure: Any) -> Any:
    nodes = {1: ("numbers", {"frames": 20}), 2: ("worker", configure), 3: ("recorder", {})}
    return graph_of(nodes, [(1, 0, 2, 0), (2, 0, 3, 0)], threads={2: number})


@pytest.mark.parametrize(("asked", "channels", "expected"), [(1, 3, 1), (2, 3, 2), (4, 3, 3), (4, 1, 1), (0, 2, 1)])
def test_a_node_has_the_threads_it_asks_for_but_no_more_than_channels_and_a_channel_keeps_its_thread(
    asked: int, channels: int, expected: int
) -> None:
    seen: dict[int, set[int]] = {}

    def pause(frame: Frame) -> None:
        seen.setdefault(frame.channel_id, set()).add(threading.get_ident())

    runner = make_runner([thread_graph(asked, pause=pause)], [channel(10 * i, url=f"/{i}") for i in range(channels)])
    assert len(runner._nodes[0, 2].threads) == expected
    runner.run()
    assert [len(threads) for threads in seen.values()] == [1] * channels
    assert len(set.union(*seen.values())) == expected
    order = [next(iter(seen[10 * i])) for i in range(channels)]
    assert all(order[i] == order[i % expected] for i in range(channels))


def test_an_element_with_many_threads_is_opened_and_closed_once() -> None:
    record: list[Any] = []
    nodes = {1: ("numbers", {"frames": 5}), 2: ("recorder", {"into": record})}
    graph = graph_of(nodes, [(1, 0, 2, 0)], threads={1: 4, 2: 4})
    make_runner([graph], [channel(i, url=f"/{i}") for i in range(4)]).run()
    assert (record[0], record.count("opened")) == ("opened", 1)
    assert (record[-1], record.count("closed")) == ("closed", 1)
    assert sorted(what[1] for what in record if isinstance(what, tuple)) == [0, 1, 2, 3]
    assert len(frames_in(record)) == 20


def test_an_element_that_cannot_be_opened_ends_all_its_threads() -> None:
    record: list[Any] = []
    nodes = {1: ("numbers", {}), 2: ("recorder", {"into": record, "on_open": lambda: 1 / 0})}
    graph = graph_of(nodes, [(1, 0, 2, 0)], threads={2: 3})
    runner = make_runner([graph], [channel(i, url=f"/{i}") for i in range(3)])
    with pytest.raises(ZeroDivisionError):
        runner.run()
    assert record == ["opened", "closed"]
    assert not any(thread.is_alive() for thread in runner._nodes[0, 2].threads)


def test_a_failure_in_one_of_many_threads_ends_the_engine_and_names_it(caplog: pytest.LogCaptureFixture) -> None:
    def pause(frame: Frame) -> None:
        if frame.channel_id == 1 and frame.frame_id == 3:
            raise ZeroDivisionError("oh")

    runner = make_runner([thread_graph(2, pause=pause)], [channel(i, url=f"/{i}") for i in range(2)])
    with pytest.raises(ZeroDivisionError, match="oh"):
        runner.run()
    assert "graph 0 element 2 'worker' thread 1: oh" in caplog.text


def test_one_hanging_thread_is_found_and_left_behind_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()

    def pause(frame: Frame) -> None:
        if frame.channel_id == 1:
            gate.wait(PATIENCE_S)

    runner = make_runner([thread_graph(2, pause=pause)], [channel(i, url=f"/{i}") for i in range(2)])
    background = Background(runner)
    with background:
        wait_for(lambda: "element 2 'worker' thread 1 has worked on one frame" in runner.hung(0.1))
        give_up_soon(monkeypatch, runner._nodes[0, 2].threads[1])
        runner.stop()
        wait_for(lambda: background.left_behind is not None)
        assert background.left_behind == ["graph 0 element 2 'worker' thread 1"]
        gate.set()


def test_a_thread_that_is_well_says_nothing_for_its_neighbour() -> None:
    gate, hanging, patient = threading.Event(), threading.Event(), threading.Event()

    class Patient(elements.Recorder):
        def process(self, frame: Frame, emit: Emit) -> None:
            if frame.channel_id == 1:
                hanging.set()
                gate.wait(PATIENCE_S)
            else:
                patient.set()
                while not gate.wait(0.01):
                    self.context.alive()

    nodes = {1: ("numbers", {"frames": 1}), 2: ("patient", {})}
    graph = graph_of(nodes, [(1, 0, 2, 0)], threads={2: 2})
    runner = make_runner([graph], [channel(i, url=f"/{i}") for i in range(2)], more={"patient": Patient})
    with Background(runner):
        assert hanging.wait(PATIENCE_S) and patient.wait(PATIENCE_S)
        time.sleep(0.3)  # from now on thread 0, which is looked at first, would be named in the place of thread 1
        wait_for(lambda: "thread 1 has worked" in runner.hung(0.15))
        gate.set()


def test_the_context_names_the_ports_and_frames_the_one_they_came_by() -> None:
    ports: list[int] = []
    contexts: list[ElementContext] = []
    nodes = {
        1: ("numbers", {"frames": 6}),
        2: ("recorder", {"port": lambda frame: 1 + frame.frame_id % 3}),
        3: ("recorder", {"work": contexts.append, "port": lambda frame: ports.append(frame.port)}),
        4: ("pass", {}),
    }
    edges = [(1, 0, 2, 0), (2, 1, 3, 7), (2, 2, 3, 5), (2, 3, 3, 7), (3, 4, 4, 0)]
    make_runner([graph_of(nodes, edges)], [channel()]).run()
    assert (ports.count(7), ports.count(5)) == (4, 2)
    assert (contexts[0].input_ports, contexts[0].output_ports) == ((7, 5, 7), (4,))


def test_the_end_of_a_channel_comes_once_over_all_connections_and_after_every_frame() -> None:
    """Two ways of different speed between two elements, one more node on each, and two sinks."""
    record: list[Any] = []
    nodes = {
        1: ("numbers", {"frames": 30}),
        2: ("recorder", {"port": lambda frame: frame.frame_id % 2}),
        3: ("pass", {}),
        4: ("worker", {"pause": lambda frame: threading.Event().wait(0.001)}),
        5: ("recorder", {"into": record, "port": lambda frame: frame.frame_id % 2}),
        6: ("recorder", {"into": (even := list[Any]())}),
        7: ("recorder", {"into": (odd := list[Any]())}),
    }
    edges = [(1, 0, 2, 0), (2, 0, 3, 0), (2, 1, 4, 0), (3, 0, 5, 0), (4, 0, 5, 0), (5, 0, 6, 0), (5, 1, 7, 0)]
    make_runner([graph_of(nodes, edges)], [channel(0), channel(1, url="/other")]).run()
    for sink in (record, even, odd):
        for channel_id in (0, 1):
            mine = [
                what for what in sink if what == ("end", channel_id) or getattr(what, "channel_id", -1) == channel_id
            ]
            assert mine.count(("end", channel_id)) == 1
            assert mine[-1] == ("end", channel_id)
    assert (len(frames_in(record)), len(frames_in(even)), len(frames_in(odd))) == (60, 30, 30)


def test_an_end_waits_only_for_connections_that_its_channel_can_take() -> None:
    record: list[Any] = []
    nodes = {1: ("numbers", {"frames": 3}), 2: ("numbers", {"frames": 4}), 3: ("recorder", {"into": record})}
    graph = graph_of(nodes, [(1, 0, 3, 0), (2, 0, 3, 1)], sources=(1, 2))
    make_runner([graph], [channel(0, decode_id=1), channel(1, url="/b", decode_id=2)]).run()
    assert sorted(what for what in record if isinstance(what, tuple)) == [("end", 0), ("end", 1)]


def test_an_element_that_keeps_the_end_for_itself_does_not_keep_it_from_others() -> None:
    class Forgetful(elements.Recorder):
        def end_of_stream(self, frame: Frame, emit: Emit) -> None:
            self._note("forgotten")

    record: list[Any] = []
    graph = chain(("numbers", {}), ("forgetful", {}), ("recorder", {"into": record}))
    make_runner([graph], [channel()], more={"forgetful": Forgetful}).run()
    assert ("end", 0) in record


def test_frames_of_a_channel_that_skips_an_element_pass_it_untouched() -> None:
    record: list[Any] = []
    after: list[Any] = []
    graph = chain(("numbers", {"frames": 4}), ("skippable", {"into": record}), ("recorder", {"into": after}))
    channels = [channel(0, skip_element=(2,)), channel(1, url="/b", skip_element=(3,)), channel(2, url="/c")]
    make_runner([graph], channels).run()
    assert {what.channel_id for what in frames_in(record)} == {1, 2}
    assert ("end", 0) not in record
    assert [sum(what.channel_id == i for what in frames_in(after)) for i in range(3)] == [4, 4, 4]
    assert sorted(what for what in after if isinstance(what, tuple)) == [("end", 0), ("end", 1), ("end", 2)]


def test_a_break_of_continuity_outlives_the_frame_it_came_with() -> None:
    record: list[Any] = []
    drops = {"drops": lambda frame: frame.frame_id < 3 + 2 * frame.loop}
    graph = chain(("numbers", {"frames": 7}), ("worker", drops), ("recorder", {"into": record}))
    make_runner([graph], [channel(loop_num=2)]).run()
    seen = [(frame.loop, frame.frame_id, frame.discontinuity) for frame in frames_in(record)]
    assert seen == [
        (0, 3, True),
        (0, 4, False),
        (0, 5, False),
        (0, 6, False),
        (1, 5, True),
        (1, 6, False),
    ]


def test_what_an_element_does_not_want_goes_out_at_its_first_port(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    sinks: list[list[Any]] = [[], []]
    nodes = {
        1: ("numbers", {"frames": 6}),
        2: ("recorder", {"port": lambda frame: 4}),
        3: ("greedy", {"into": sinks[0]}),
        4: ("greedy", {"into": sinks[1]}),
    }
    graph = graph_of(nodes, [(1, 0, 2, 0), (2, 4, 4, 0), (2, 1, 3, 0)])
    make_runner([graph], [channel(sample_interval=2, sample_strategy="KEEP")]).run()
    assert [frame.frame_id for frame in frames_in(sinks[0])] == [1, 3, 5]
    assert [frame.frame_id for frame in frames_in(sinks[1])] == [0, 2, 4]
    assert not caplog.text


def test_many_channels_many_threads_lose_nothing_and_mix_nothing() -> None:
    record: list[Any] = []
    nodes = {
        1: ("numbers", {"frames": 40}),
        2: ("worker", {"pause": lambda frame: threading.Event().wait(0.0005 * (frame.channel_id % 3))}),
        3: ("worker", {}),
        4: ("recorder", {"into": record}),
    }
    graph = graph_of(nodes, [(1, 0, 2, 0), (2, 0, 3, 0), (3, 0, 4, 0)], threads={1: 2, 2: 4, 3: 3})
    make_runner([graph], [channel(i, url=f"/{i}") for i in range(8)]).run()
    for channel_id in range(8):
        mine = [frame.frame_id for frame in frames_in(record) if frame.channel_id == channel_id]
        assert mine == list(range(40))
