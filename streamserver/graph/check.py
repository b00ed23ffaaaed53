"""What is wrong with a graph, in words; everything at once, before anything runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set

from streamserver.core.errors import GraphError
from streamserver.core.model_address import ModelAddress, is_model_address
from streamserver.core.slips import nearest
from streamserver.core.urls import masked
from streamserver.graph.demo import Channel
from streamserver.graph.model import RawElement, RawGraph
from streamserver.graph.stages import stage_chains

SOPHGO_ONLY = {
    "dwa": "needs Sophgo's lens-correction hardware",
    "dpu": "needs Sophgo's stereo-depth hardware",
    "ive": "needs Sophgo's picture-arithmetic hardware",
    "blend": "needs Sophgo's picture-blending hardware",
    "stitch": "needs Sophgo's picture-stitching hardware",
    "lightstereo": "compares two pictures that Sophgo's lens-correction hardware (dwa) has straightened",
    "qt_display": "draws into a Qt window of a Sophgo board",
}
"""Elements that only a sophon-stream binary on Sophgo hardware has, and why."""


def check(graph: RawGraph, *, available: Set[str] | None = None) -> list[str]:
    """The problems of a graph, one sentence each; none for a graph that can run.

    Args:
        graph: what ``read_graphs`` gave.
        available: the names (without ``_group``) of the elements that our engine has; triples must then be complete
            too. ``None`` looks at the graph's shape only, for a sophon-stream binary.
    """
    problems = [*_id_problems(graph), *_connection_problems(graph), *_end_problems(graph)]
    if graph.sources:
        problems += _unreachable_problems(graph)
    problems += [*_cycle_problems(graph), *_address_problems(graph)]
    if available is not None:
        problems += _name_problems(graph, available)
        if all(element.readable for element in graph.elements):
            problems += stage_chains(graph)[1]
    return problems


def require_ok(graph: RawGraph, *, available: Set[str] | None = None) -> None:
    """Raises one ``GraphError`` with all that ``check`` finds."""
    problems = check(graph, available=available)
    if problems:
        raise graph.error("; ".join(problems))


def check_channels(channels: Iterable[Channel], graphs: Sequence[RawGraph]) -> list[str]:
    """Which channels would never start, one sentence each: their graph or their source element does not exist."""
    by_id = {graph.graph_id: graph for graph in graphs}
    problems = []
    for channel in channels:
        graph = by_id.get(channel.graph_id)
        if graph is None:
            known = ", ".join(map(str, by_id))
            problems.append(f"channel {channel.channel_id}: graph_id: no graph {channel.graph_id}, only {known}")
            continue
        sources = [element.element_id for element in graph.sources]
        if not sources:
            continue  # what the graph lacks is not the channel's fault
        if channel.decode_id not in sources and not (channel.decode_id == -1 and len(sources) == 1):
            problems.append(
                f"channel {channel.channel_id}: decode_id: {channel.decode_id} is no source of graph "
                f"{channel.graph_id}, use {_any_of(sources)}"
            )
    return problems


def require_channels_ok(channels: Sequence[Channel], graphs: Sequence[RawGraph], *, file: str) -> None:
    """Raises one ``GraphError``, naming the demo file, with all that ``check_channels`` finds, or if there are none."""
    if not channels:
        raise GraphError(f"{file}: channels: is empty", cure="add the streams that shall run through the graph")
    problems = check_channels(channels, graphs)
    if problems:
        raise GraphError(f"{file}: {'; '.join(problems)}")


def _label(element: RawElement) -> str:
    return f"element {element.element_id} '{element.name}'"


def _any_of(ids: Iterable[int]) -> str:
    return " or ".join(map(str, ids)) or "none, for it has none"


def _id_problems(graph: RawGraph) -> list[str]:
    problems = [
        f"{_label(element)}: inner_elements_id: a group needs three whole numbers (pre, infer, post)"
        for element in graph.elements
        if element.is_group and not element.inner_ids
    ]
    ids = Counter(i for element in graph.elements for i in (element.element_id, *element.inner_ids))
    problems += [f"element_id {i} is used {count} times, inner ids included" for i, count in ids.items() if count > 1]
    return problems


def _connection_problems(graph: RawGraph) -> list[str]:
    known = {element.element_id for element in graph.elements}
    groups = {inner: element.element_id for element in graph.elements for inner in element.inner_ids}
    problems = []
    for edge in graph.edges:
        for end in (edge.src, edge.dst):
            if end not in known:
                hint = f"; it is inside group {groups[end]}, connect that" if end in groups else ""
                problems.append(f"connection {edge.src} to {edge.dst}: there is no element {end}{hint}")
    uses = Counter((edge.src, edge.src_port) for edge in graph.edges)
    problems += [
        f"element {src}: output port {port} has {count} connections, a port leads to one element only"
        for (src, port), count in uses.items()
        if count > 1
    ]
    return problems


def _address_problems(graph: RawGraph) -> list[str]:
    """Addresses of models that cannot be meant so; whether a server answers there shows when the task runs."""
    problems = []
    for element in graph.elements:
        configure = element.config.get("configure")
        text = configure.get("model_path") if isinstance(configure, Mapping) else None
        if not isinstance(text, str) or not is_model_address(text):
            continue
        try:
            ModelAddress.from_text(text)
        except ValueError as e:
            problems.append(f"{_label(element)}: {element.file}: configure.model_path: '{masked(text)}': {e}")
    return problems


def _end_problems(graph: RawGraph) -> list[str]:
    """What is wrong where frames enter and leave."""
    forwarding = {edge.src for edge in graph.edges}
    problems = []
    if not graph.sources:
        problems.append("no source: no element has ports.input with is_src true, as decode needs")
    if not graph.sinks:
        problems.append("no sink: no element has ports.output with is_sink true, as the last element needs")
    for element in graph.elements:
        forwards = element.element_id in forwarding
        if element.sink_ports and forwards:
            problems.append(f"{_label(element)}: is a sink and has a connection to another element; only one can be")
        if any(element.sink_ports):
            problems.append(f"{_label(element)}: ports.output: a sink has port_id 0, not {max(element.sink_ports)}")
        if graph.sinks and not element.sink_ports and not forwards:
            problems.append(f"{_label(element)}: leads nowhere; connect it or mark its ports.output as is_sink")
    return problems


def _unreachable_problems(graph: RawGraph) -> list[str]:
    reached: set[int] = set()
    waiting = [element.element_id for element in graph.sources]
    while waiting:
        current = waiting.pop()
        if current not in reached:
            reached.add(current)
            waiting += [edge.dst for edge in graph.edges if edge.src == current]
    return [
        f"{_label(element)}: no source leads to it" for element in graph.elements if element.element_id not in reached
    ]


def _cycle_problems(graph: RawGraph) -> list[str]:
    """Names the elements on circles: those left when, again and again, all ends of paths are taken away."""
    edges = {(edge.src, edge.dst) for edge in graph.edges}
    while True:
        inner = {src for src, _ in edges} & {dst for _, dst in edges}
        kept = {(src, dst) for src, dst in edges if src in inner and dst in inner}
        if kept == edges:
            break
        edges = kept
    if not edges:
        return []
    return [f"elements {', '.join(str(i) for i in sorted({src for src, _ in edges}))} lead in a circle"]


def _name_problems(graph: RawGraph, available: Set[str]) -> list[str]:
    """One sentence for each name that is not available."""
    lacking: dict[str, list[str]] = {}
    for element in graph.elements:
        if element.readable and element.name not in available:
            lacking.setdefault(element.name, []).append(str(element.element_id))
    return [
        f"element {', '.join(ids)}: name: '{name}' {SOPHGO_ONLY.get(name) or _unknown(name, available)}"
        for name, ids in lacking.items()
    ]


def _unknown(name: str, available: Set[str]) -> str:
    near = nearest(name, [*available, *(f"{one}_group" for one in available)], likeness=0.7)
    cure = f"; did you mean '{near}'?" if near else f", which has {', '.join(sorted(available))}"
    return f"is unknown to this engine{cure}"
