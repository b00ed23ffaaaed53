"""Runs graphs: threads for each element and one for each source, joined by bounded queues."""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from streamserver.core.errors import GraphError
from streamserver.core.settings import Settings
from streamserver.core.source_monitor import SourceMonitor, SourceReport
from streamserver.core.states import SourceState
from streamserver.core.urls import masked
from streamserver.engine.element import (
    LEFT_OUT,
    Element,
    ElementContext,
    JoiningElement,
    ReadFrame,
    SourceElement,
    SplittingElement,
)
from streamserver.engine.flow import Flow
from streamserver.engine.inline import inline_nodes
from streamserver.engine.node import Node, Output, SourceNode, Tap
from streamserver.engine.queues import FILE_CAPACITY, LIVE_CAPACITY
from streamserver.engine.readers import Reader, Subscription
from streamserver.engine.reconfigure import Change, begin_change
from streamserver.engine.routes import Routes
from streamserver.engine.sharing import Branch, plan_shares
from streamserver.graph.demo import Channel
from streamserver.graph.model import Graph
from streamserver.graph.model import Node as GraphNode

logger = logging.getLogger(__name__)

STOP_TIMEOUT_S = 2.0
"""Time the threads have to end once the engine stops; who takes longer is left behind."""

READER_SILENCE_S = 180.0
"""A source that neither gives a frame nor says why for so long hangs inside a library.

Longer than any wait from one sign of life to the next: that before a try (at most 120 s), that for its turn (60 s), and
those for a name, an answer and a key frame together (about 110 s).
"""

_FILTER = "filter"
"""The element that decides what is reported: whoever looks on wants to see what it sees."""

_WORST_FIRST = (
    SourceState.RECONNECTING,
    SourceState.STALLED,
    SourceState.CONNECTING,
    SourceState.STREAMING,
    SourceState.ENDED,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """How the engine does; the attributes are those of ``core.status.EngineStatus``."""

    ready: bool
    source: SourceReport
    frames: int
    dropped: int
    loop: int
    detector: str
    left_out: Mapping[str, str]


class Runner:
    """The graphs of one process and the channels that run through them.

    Args:
        graphs: normalised graphs; those without a channel are not built.
        channels: what runs through them.
        settings: given to every element.
        base_dir: what relative paths in element files are relative to.
        element_class: finds an element's class by its name.
        start_loop: the first loop of files, to go on after a crash.
        tap: shown each analysed frame before the first filter of its graph takes objects away, or before its sink.

    Raises:
        GraphError: a channel fits no graph, or an element cannot use its configuration.
    """

    def __init__(
        self,
        graphs: Sequence[Graph],
        channels: Sequence[Channel],
        *,
        settings: Settings,
        base_dir: Path,
        element_class: Callable[[str], type[Element]],
        start_loop: int = 0,
        tap: Tap | None = None,
    ) -> None:
        self._settings = settings
        self._base_dir = base_dir
        self._element_class = element_class
        self._start_loop = start_loop
        self._tap = tap
        self._flow = Flow()
        self._ready = threading.Event()
        self._reports: dict[tuple[str, str], str] = {}
        self._nodes: dict[tuple[int, int], Node] = {}
        self._graph_ids = {channel.graph_id for channel in channels}
        for graph in graphs:
            users = tuple(channel for channel in channels if channel.graph_id == graph.graph_id)
            if users:
                self._build(graph, users)
        by_id = {graph.graph_id: graph for graph in graphs}
        _require_graphs(by_id, channels)
        self._branches = self._share(by_id, channels)
        following = {branch.follower.channel_id for branch in self._branches}
        self._readers = self._make_readers(by_id, [one for one in channels if one.channel_id not in following])

    def run(self) -> list[str]:
        """Runs until every channel has ended, ``stop`` was called or something failed.

        Returns:
            the names of threads that did not end in time; empty when all is well.

        Raises:
            BaseException: the first failure of an element or a source.
        """
        self._flow.add(len(self._readers))
        idle = {node for branch in self._branches for node in branch.idle}
        nodes = [node for node in self._nodes.values() if node not in idle]
        for node in nodes:
            node.start()
        if self._wait_until_open(nodes):
            self._ready.set()
            for reader in self._readers:
                reader.thread.start()
            self._flow.finished.wait()
        left_behind = self._shut_down()
        if self._flow.failure is not None:
            raise self._flow.failure
        return left_behind

    def stop(self) -> None:
        """Asks everything to end; ``run`` returns soon after."""
        self._flow.stop()

    def reconfigure(self, graphs: Sequence[Graph]) -> Change:
        """Goes on with other versions of its graphs; returns at once, see ``begin_change``."""
        used = [graph for graph in graphs if graph.graph_id in self._graph_ids]
        return begin_change(self._nodes, used, self._branches)

    def snapshot(self) -> Snapshot:
        """How it does now; of several sources, the state of the one that is worst off and the sum of their frames."""
        reports = [reader.monitor.report() for reader in self._readers]
        worst = min(reports, key=lambda report: _WORST_FIRST.index(report.state) if report.state else -1)
        detectors = [value for (_, key), value in list(self._reports.items()) if key == "detector"]
        return Snapshot(
            ready=self._ready.is_set(),
            source=dataclasses.replace(
                worst,
                connects=sum(report.reconnects for report in reports) + 1,
                stalls=sum(report.stalls for report in reports),
                broken=sum(report.broken for report in reports),
                reconnect_reasons=sum((Counter(report.reconnect_reasons) for report in reports), Counter()),
            ),
            frames=sum(reader.processed for reader in self._readers),
            dropped=sum(reader.dropped for reader in self._readers),
            loop=max(reader.loop for reader in self._readers),
            detector="; ".join(dict.fromkeys(detectors)),
            left_out=self._left_out(),
        )

    def _left_out(self) -> dict[str, str]:
        """By the number of the channel, as JSON has keys."""
        words: dict[str, list[str]] = {}
        for (_, key), value in list(self._reports.items()):
            if key.startswith(LEFT_OUT) and value:
                words.setdefault(key.removeprefix(f"{LEFT_OUT} "), []).append(value)
        return {channel: "; ".join(dict.fromkeys(told)) for channel, told in words.items()}

    def hung(self, limit_s: float) -> str:
        """Which thread has been at one thing longer than ``limit_s``, in words; empty when none has.

        Waiting for a slower neighbour, and loading a model, do not count.
        """
        now = time.monotonic()
        for lane in [lane for node in self._nodes.values() for lane in node.lanes]:
            since = lane.busy_since
            if since is not None and now - since > limit_s:
                return f"{lane.label} has worked on one frame for {now - since:.0f} s"
        for reader in self._readers:
            since = reader.reading_since
            if since is not None and now - since > max(limit_s, READER_SILENCE_S):
                return f"{reader.label} has given no sign for {now - since:.0f} s"
        return ""

    def _build(self, graph: Graph, channels: tuple[Channel, ...]) -> None:
        live = any(channel.newest_wins for channel in channels)
        nodes: dict[int, Node] = {}
        for node in graph.nodes:
            worker = (SourceNode if node.is_source else Node)(
                f"graph {graph.graph_id} element {node.node_id} '{node.name}'",
                capacity=LIVE_CAPACITY if live else FILE_CAPACITY,
                flow=self._flow,
                channel_ids=[channel.channel_id for channel in channels],
                thread_number=node.thread_number,
            )
            if isinstance(worker, SourceNode):
                worker.source_port = node.source_port
            nodes[node.node_id] = self._nodes[graph.graph_id, node.node_id] = worker
            worker.element = self._make_element(node, worker, graph, channels)
        elements = {node_id: node.element for node_id, node in nodes.items() if node.element is not None}
        for node_id in inline_nodes(graph, elements, channels=len(channels)):
            nodes[node_id].inline = True
        for edge in graph.edges:
            nodes[edge.src].outputs = {**nodes[edge.src].outputs, edge.src_port: Output(nodes[edge.dst], edge.dst_port)}
        _plan_routes(graph, nodes, channels, self._tap)

    def _make_element(self, node: GraphNode, worker: Node, graph: Graph, channels: tuple[Channel, ...]) -> Element:
        context = ElementContext(
            element_id=node.node_id,
            name=node.name,
            config_file=node.config_file,
            configure=node.configure,
            settings=self._settings,
            base_dir=self._base_dir,
            channel_ids=tuple(channel.channel_id for channel in channels),
            input_ports=tuple(edge.dst_port for edge in graph.edges if edge.dst == node.node_id),
            output_ports=tuple(edge.src_port for edge in graph.edges if edge.src == node.node_id),
            stopping=self._flow.stopping,
            report=functools.partial(self._report, worker.label),
            alive=worker.touch,
        )
        element = self._element_class(node.name)(context)
        if node.is_source and not isinstance(element, SourceElement):
            raise context.error("ports", "is_src stands at an element that reads no sources", cure="use 'decode'")
        return element

    def _share(self, graphs: Mapping[int, Graph], channels: Sequence[Channel]) -> list[Branch]:
        """Lets the chains that graphs begin with run once."""
        elements = {key: node.element for key, node in self._nodes.items() if node.element is not None}
        branches = []
        for share in plan_shares(graphs, channels, elements):
            chain, own = ([self._nodes[key] for key in keys] for keys in zip(*share.pairs, strict=True))
            branch = Branch(share.follower, chain, own, self._flow)
            branches.append(branch)
            for node in chain:
                node.branches = [*node.branches, branch]
            logger.info("%s: also for channel %d", ", ".join(n.label for n in chain[1:]), share.follower.channel_id)
        return branches

    def _make_readers(self, graphs: dict[int, Graph], channels: Sequence[Channel]) -> list[Reader]:
        groups: dict[object, list[Subscription]] = {}
        for channel in channels:
            graph = graphs[channel.graph_id]
            node = self._nodes[graph.graph_id, graph.source(channel.decode_id).node_id]
            assert isinstance(node, SourceNode)
            assert isinstance(node.element, SourceElement)
            groups.setdefault(node.element.source_key(channel), []).append(Subscription(channel, node))
        return [self._make_reader(subscriptions) for subscriptions in groups.values()]

    def _make_reader(self, subscriptions: list[Subscription]) -> Reader:
        first = subscriptions[0]
        element = first.node.element
        assert isinstance(element, SourceElement)

        def open_frames(monitor: SourceMonitor) -> Iterator[ReadFrame]:
            return element.read(
                first.channel, start_loop=self._start_loop, stopping=self._flow.stopping, monitor=monitor
            )

        label = f"source {masked(first.channel.url)}"
        return Reader(
            label,
            open_frames=open_frames,
            subscriptions=subscriptions,
            flow=self._flow,
            stalled_after_s=self._settings.stalled_after_s if first.channel.is_live else math.inf,
        )

    def _report(self, label: str, key: str, value: str) -> None:
        if self._reports.get((label, key)) != value:
            self._reports[label, key] = value
            logger.info("%s: %s: %s", label, key, value or "nothing")

    def _wait_until_open(self, nodes: Sequence[Node]) -> bool:
        """True once every element is open; False if the engine was stopped or one failed before."""
        for node in nodes:
            while not node.opened.wait(0.05):
                if self._flow.finished.is_set():
                    return False
        return not self._flow.finished.is_set()

    def _shut_down(self) -> list[str]:
        self._flow.stopping.set()
        for node in self._nodes.values():
            node.close_queues()
        deadline = time.monotonic() + STOP_TIMEOUT_S
        all_threads = [reader.thread for reader in self._readers]
        all_threads += [thread for node in self._nodes.values() for thread in node.threads]
        threads = [thread for thread in all_threads if thread.ident is not None]
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return [thread.name for thread in threads if thread.is_alive()]


def _require_graphs(graphs: Mapping[int, Graph], channels: Sequence[Channel]) -> None:
    """Raises ``GraphError`` for a channel without a graph, and where there is no channel."""
    for channel in channels:
        if channel.graph_id not in graphs:
            raise GraphError(
                f"channel {channel.channel_id}: graph_id {channel.graph_id} does not exist",
                cure=f"use one of {', '.join(map(str, graphs))}",
            )
    if not channels:
        raise GraphError("the demo file has no channel", cure="add one to 'channels'")


def _plan_routes(graph: Graph, nodes: Mapping[int, Node], channels: Sequence[Channel], tap: Tap | None) -> None:
    """Tells each node which ends to wait for, where parts come back, which channels pass it untouched, who looks on."""
    elements = {node_id: node.element for node_id, node in nodes.items() if node.element is not None}
    routes = Routes(graph, elements)
    sources = {channel.channel_id: graph.source(channel.decode_id).node_id for channel in channels}
    for source_id in set(sources.values()):
        routes.require_frames_stay(source_id)
        nodes[routes.first_on_the_way(source_id, _FILTER)].tap = tap
    ends = {channel_id: routes.ends(source_id) for channel_id, source_id in sources.items()}
    for node in graph.nodes:
        worker, element = nodes[node.node_id], elements[node.node_id]
        worker.ends = {channel_id: counts.get(node.node_id, 0) for channel_id, counts in ends.items()}
        if isinstance(element, SplittingElement):
            element.returns = routes.returns(node.node_id)
        if isinstance(element, JoiningElement):
            worker.may_hold = routes.may_hold(node.node_id)
        if element.may_be_skipped:
            skipping = [channel for channel in channels if {node.node_id, *node.members} & set(channel.skip_element)]
            worker.bypassed = frozenset(channel.channel_id for channel in skipping)
