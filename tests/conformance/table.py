"""The conformance table: every graph of sophon-stream's samples is read, built and run here, and what it posts checked.

``run_graph_file`` gives one ``Row`` a graph. The files go the way they go in service: the sample's graph is given a
push to a local receiver, written into a task's folder, and read from there by ``worker.prepare.build_runner``.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from streamserver import elements
from streamserver.core.errors import StreamServerError
from streamserver.core.settings import Settings
from streamserver.graph.check import SOPHGO_ONLY, check
from streamserver.graph.demo import Channel, Demo, write_demo
from streamserver.graph.model import RawElement, RawGraph
from streamserver.graph.rewrite import PushTarget, absolutise, add_sinks, write_graphs
from streamserver.worker.prepare import build_runner
from tests.conformance import clips
from tests.conformance.tree import Tree
from tests.conformance.weights import characters_of, output_width, substituted, weights_for
from tests.conformance.wire import problems_of
from tests.elements.receiver import Receiver
from tests.servers.ports import free_port

SOPHGO_SAMPLES = frozenset(
    {
        "bird_dwa_blend_encode",
        "dwa_blend_encode",
        "dwa_dpu_encode",
        "dwa_lightstereo_encode",
        "gdwa_blend_encode",
        "trinocular_panorama_stitch",
    }
)
"""Camera geometry on Sophgo's hardware (CONTRACT 7): refused, whatever else."""

REFUSED: Mapping[tuple[str, str], str] = {
    ("yolov5_fastpose_posec3d", "engine.json"): "element 7001 'posec3d': stage: infer and post must follow",
}
"""A graph of another sample that cannot give results in sophon-stream either (CONTRACT 8), and what we say of it."""

RUN_LIMIT_S = 120.0

_CLIPS = {
    "license_area_intrusion": clips.PLATES,
    "license_plate_recognition": clips.PLATES,
    "ppocr": clips.PLATES,
    "structured_recognition": clips.MIXED,
    "retinaface": clips.FACES,
    "retinaface_distributor_resnet_faiss_converger": clips.FACES,
}
_AREAS: Mapping[str, list[list[dict[str, int]]]] = {
    "tripwire": [[{"left": 100, "top": 300}, {"left": 700, "top": 300}]],
    "line_crossing": [[{"left": 100, "top": 300}, {"left": 700, "top": 300}]],
    "license_area_intrusion": [
        [{"left": 0, "top": 0}, {"left": 960, "top": 0}, {"left": 960, "top": 720}, {"left": 0, "top": 720}]
    ],
}
"""Where the filters of a sample look: theirs are drawn for other clips."""

_FINDERS: Mapping[str, str] = {
    **dict.fromkeys(("yolov5", "yolov7", "yolov8", "yolox", "ppocr_det"), "objects"),
    **dict.fromkeys(("openpose", "fastpose"), "poses"),
    **dict.fromkeys(("resnet", "lprnet", "ppocr_rec", "posec3d"), "recognitions"),
    "bytetrack": "tracks",
    "retinaface": "faces",
    "distributor": "parts",
}
"""What an element must have found in our clips, or with made weights always finds."""

_SHOWN_LISTS = {
    "mDetectedObjectMetadatas": "objects",
    "mTrackedObjectMetadatas": "tracks",
    "mPosedObjectMetadatas": "poses",
    "mRecognizedObjectMetadatas": "recognitions",
    "mFaceObjectMetadata": "faces",
    "mSubObjectMetadatas": "parts",
}


@dataclass(kw_only=True)
class Row:
    """One graph.

    Attributes:
        reads, builds, runs: ``yes``, or what went wrong; empty for a step that was not reached.
        sources: what the channels read, and how often.
        expected: messages that must come, one a processed frame; 0 where a filter decides.
        posted: messages that came.
        problems: what is wrong with them, the first few.
        found: how many objects, tracks, texts and so on were in them.
        weights: what the networks ran on.
        notes: what was changed in the graph for this run, beyond the addresses of clip and receiver.
        sought: which of those there must be, as the graph's elements are.
        refusal: why the graph cannot run here, for those that must not.
    """

    sample: str
    graph_file: str
    graph_id: int = 0
    reads: str = ""
    builds: str = ""
    runs: str = ""
    sources: str = ""
    expected: int = 0
    posted: int = 0
    problems: list[str] = field(default_factory=list)
    found: Counter[str] = field(default_factory=Counter)
    sought: set[str] = field(default_factory=set)
    weights: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    refusal: str = ""

    @property
    def passes(self) -> bool:
        """True if it ran as it must: one valid message a frame, in order."""
        enough = self.posted == self.expected if self.expected else self.posted > 0
        return (
            (self.reads, self.builds, self.runs) == ("yes",) * 3 and enough and not self.problems and not self.lacking
        )

    @property
    def lacking(self) -> list[str]:
        """What the graph's elements should have found and did not."""
        return sorted(name for name in self.sought if not self.found[name])

    @property
    def verdict(self) -> str:
        """In words."""
        if self.must_be_refused:
            return "refused, as it must be" if self.refused_rightly else "FAILS"
        return "passes" if self.passes else "FAILS"

    @property
    def must_be_refused(self) -> bool:
        """True for the graphs that cannot run here."""
        return self.sample in SOPHGO_SAMPLES or (self.sample, self.graph_file) in REFUSED

    @property
    def refused_rightly(self) -> bool:
        """True if it was refused for the reason that there is, and for no other."""
        if self.sample in SOPHGO_SAMPLES:
            sentences = self.refusal.split("; ")
            return self.reads == "yes" and all(any(r in one for r in SOPHGO_ONLY.values()) for one in sentences)
        return self.reads == "yes" and self.refusal.startswith(REFUSED[self.sample, self.graph_file])


@dataclass(frozen=True, kw_only=True)
class Bench:
    """How the graphs are run.

    Attributes:
        folder: for everything that is written.
        settings: the model directories above all.
        frames: of the clip.
        channels: of a graph at most; the samples have up to four.
        prefer_made: run networks made here also where real weights, maybe of another family, would stand in.
    """

    folder: Path
    settings: Settings
    frames: int = 30
    channels: int = 4
    prefer_made: bool = False


def run_graph_file(sample: str, graph_file: str, bench: Bench) -> list[Row]:
    """Reads, builds and runs all graphs of a file together; one row each."""
    tree = Tree.copy(sample, bench.folder)
    try:
        graphs = tree.graphs(graph_file)
    except StreamServerError as e:
        return [Row(sample=sample, graph_file=graph_file, reads=str(e))]
    rows = [Row(sample=sample, graph_file=graph_file, graph_id=g.graph_id, reads="yes") for g in graphs]
    graphs = [_without_display(graph, row) for graph, row in zip(graphs, rows, strict=True)]
    for graph, row in zip(graphs, rows, strict=True):
        row.refusal = "; ".join(check(graph, available=elements.available()))
    if any(row.refusal for row in rows):
        return rows
    channels = _channels(tree, graph_file, bench)
    task = bench.folder / "tasks" / f"{sample}_{Path(graph_file).stem}"
    with Receiver() as receiver:
        _prepare(tree, graphs, rows, channels, task=task, port=receiver.port, bench=bench)
        outcome = _run(task, bench.settings)
        for row in rows:
            row.builds, row.runs = outcome
            own = [channel for channel in channels if channel.graph_id == row.graph_id]
            row.sources = f"{len(own)} {own[0].source_type}" + (f" x {own[0].loop_num}" if own[0].loop_num > 1 else "")
            _judge(row, receiver, own, bench)
    return rows


def prepare_graph_file(sample: str, graph_file: str, bench: Bench, *, port: int) -> Path:
    """Writes the task's folder of a graph file that runs here, with results posted to ``port``; the folder."""
    tree = Tree.copy(sample, bench.folder)
    graphs = tree.graphs(graph_file)
    rows = [Row(sample=sample, graph_file=graph_file, graph_id=graph.graph_id) for graph in graphs]
    graphs = [_without_display(graph, row) for graph, row in zip(graphs, rows, strict=True)]
    task = bench.folder / "tasks" / f"{sample}_{Path(graph_file).stem}"
    _prepare(tree, graphs, rows, _channels(tree, graph_file, bench), task=task, port=port, bench=bench)
    return task


def _without_display(graph: RawGraph, row: Row) -> RawGraph:
    """The graph with an http_push in the place of a qt_display, which is refused by name."""
    if all(element.name != "qt_display" for element in graph.elements):
        return graph
    [problem] = [p for p in check(graph, available=elements.available()) if "'qt_display'" in p]
    row.notes.append(f"as it is, refused: {problem}; runs with http_push in its place")

    def change(element: RawElement) -> RawElement:
        if element.name != "qt_display":
            return element
        push = {"ip": "127.0.0.1", "port": 1, "path": "/"}
        return replace(element, config={**element.config, "name": "http_push", "configure": push})

    return replace(graph, elements=tuple(map(change, graph.elements)))


def _channels(tree: Tree, graph_file: str, bench: Bench) -> list[Channel]:
    """The sample's own channels on a real clip or real pictures, as fast as they go."""
    channels = tree.channels(graph_file)
    by_graph = Counter[int]()
    kept = []
    for channel in channels:
        by_graph[channel.graph_id] += 1
        if by_graph[channel.graph_id] <= bench.channels:
            kept.append(_on_real_frames(channel, _CLIPS.get(tree.sample, clips.PEOPLE), bench))
    return kept


def _on_real_frames(channel: Channel, name: str, bench: Bench) -> Channel:
    """The channel on a folder of pictures if it reads one, shown as often as the sample says, else on a clip."""
    if channel.source_type != "IMG_DIR":
        clip = clips.make_clip(name, bench.folder / "clips", frames=bench.frames)
        return replace(channel, url=str(clip), source_type="VIDEO", loop_num=1, fps=-1)
    pictures = _pictures_of(channel, bench)
    return replace(channel, url=str(clips.make_folder(name, bench.folder / "pictures", pictures=pictures)), fps=-1)


def _pictures_of(channel: Channel, bench: Bench) -> int:
    """How many there are in the folder of an IMG_DIR, so that all loops together have the frames of a clip."""
    assert channel.loops is not None
    return max(1, bench.frames // channel.loops)


def _frames_of(channel: Channel, bench: Bench) -> int:
    return bench.frames if channel.source_type == "VIDEO" else _pictures_of(channel, bench) * channel.loop_num


def _prepare(
    tree: Tree,
    graphs: Sequence[RawGraph],
    rows: Sequence[Row],
    channels: Sequence[Channel],
    *,
    task: Path,
    port: int,
    bench: Bench,
) -> None:
    """Writes the task's folder."""
    ready = []
    for graph, row in zip(graphs, rows, strict=True):
        tree.write_names(graph, characters_of(bench.settings) if tree.sample == "ppocr" else ())
        row.sought = {_FINDERS[element.name] for element in graph.elements if _reports(element)}
        graph = _with_weights(tree, graph, row, bench)
        graph = _with_free_port(graph, [channel.channel_id for channel in channels])
        filters, channel_id = _filters(graph, row)
        push = PushTarget(ip="127.0.0.1", port=port, path=f"/{graph.graph_id}", extra={"retry_s": 60})
        ready.append(add_sinks(absolutise(graph, tree.base_dir), filters=filters, channel_id=channel_id, push=push))
    write_graphs(ready, task)
    write_demo(Demo(channels=tuple(channels), engine_config_path="engine.json"), task / "demo.json")


def _reports(element: RawElement) -> bool:
    """Turned boxes are not sent over the wire (CONTRACT 4.1)."""
    return element.name in _FINDERS and element.configure.get("task_type") != "Obb"


def _with_weights(tree: Tree, graph: RawGraph, row: Row, bench: Bench) -> RawGraph:
    changed = []
    widths = [512]
    for element in graph.elements:
        model_path = element.configure.get("model_path")
        if isinstance(model_path, str):
            weights = weights_for(
                element.name,
                model_path,
                settings=bench.settings,
                folder=bench.folder / "made",
                prefer_made=bench.prefer_made,
            )
            row.weights = list(dict.fromkeys([*row.weights, weights.label]))
            configure = substituted(element.configure, weights)
            element = replace(element, config={**element.config, "configure": configure})
            if element.configure.get("task_type") == "FeatureExtract":
                widths.append(output_width(weights.path))
        changed.append(element)
    for element in changed:
        if element.name == "faiss":
            tree.write_people(element.configure, widths[-1])
    return replace(graph, elements=tuple(changed))


def _with_free_port(graph: RawGraph, channel_ids: Sequence[int]) -> RawGraph:
    """An encode that listens does so on a free port, to which it adds the channel's id."""

    def change(element: RawElement) -> RawElement:
        if element.configure.get("encode_type") != "WS":
            return element
        configure = {**element.configure, "wss_port": str(_free_port(channel_ids))}
        return replace(element, config={**element.config, "configure": configure})

    return replace(graph, elements=tuple(map(change, graph.elements)))


def _free_port(channel_ids: Sequence[int]) -> int:
    return next((free_port() - channel_id for channel_id in channel_ids), 0)


def _filters(graph: RawGraph, row: Row) -> tuple[list[dict[str, Any]], int]:
    """The filters of the graph, looking where something happens in our clip, and their channel."""
    for element in graph.elements:
        if element.name == "filter":
            rule = element.configure["rules"][0]
            row.notes.append("the filter looks where our clip has something")
            return [{**one, "areas": _AREAS[row.sample]} for one in rule["filters"]], rule["channel_id"]
    return [], 0


def _run(task: Path, settings: Settings) -> tuple[str, str]:
    """Builds and runs the task; what became of both."""
    try:
        runner, _ = build_runner(task / "demo.json", settings=settings, base_dir=task)
    except StreamServerError as e:
        return str(e), ""
    failures: list[str] = []

    def run() -> None:
        try:
            failures.extend(f"did not end: {name}" for name in runner.run())
        except StreamServerError as e:
            failures.append(str(e))
        except Exception as e:  # noqa: BLE001 - whatever it is, the table must show it
            failures.append(f"{type(e).__name__}: {e}")

    thread = threading.Thread(target=run, name=f"run {task.name}", daemon=True)
    thread.start()
    thread.join(RUN_LIMIT_S)
    if thread.is_alive():
        runner.stop()
        thread.join(RUN_LIMIT_S)
        failures.append(f"did not end within {RUN_LIMIT_S:.0f} s")
    return "yes", "; ".join(failures) or "yes"


def _judge(row: Row, receiver: Receiver, channels: Sequence[Channel], bench: Bench) -> None:
    """Checks all messages of the row's graph."""
    bodies = [body for body, path in zip(receiver.bodies, receiver.paths, strict=True) if path == f"/{row.graph_id}"]
    row.posted = len(bodies)
    row.problems = [problem for body in bodies for problem in problems_of(body)][:5]
    messages = [json.loads(body) for body in bodies]
    if row.sample not in _AREAS:
        row.expected = sum(-(-_frames_of(channel, bench) // channel.sample_interval) for channel in channels)
    for channel in channels:
        ids = [m["mFrame"]["mFrameId"] for m in messages if m["mFrame"]["mChannelId"] == channel.channel_id]
        if ids != sorted(set(ids)) or any(i % channel.sample_interval for i in ids):
            row.problems.append(f"channel {channel.channel_id}: frames came twice or out of order: {ids}")
    strangers = {m["mFrame"]["mChannelId"] for m in messages} - {channel.channel_id for channel in channels}
    if strangers or any(m["mGraphId"] != row.graph_id for m in messages):
        row.problems.append(f"messages of another graph or channel: {sorted(strangers)}")
    for message in messages:
        _count(message, row.found)


def _count(message: Mapping[str, Any], into: Counter[str]) -> None:
    for key, name in _SHOWN_LISTS.items():
        into[name] += len(message.get(key, ()))
    for part in message.get("mSubObjectMetadatas", ()):
        _count(part, into)
