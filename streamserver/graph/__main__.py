"""``python -m streamserver.graph check | show PATH``: is this graph one that our engine runs, and what does it do?

PATH is a graph file (``engine.json``), a demo file (``*_demo.json``) or a folder with demo files, such as a sample's or
its ``config``. Everything is read and made as the engine would, up to the first frame, but all errors are said.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from streamserver import elements
from streamserver.core.errors import GraphError, ModelNotFoundError, StreamServerError
from streamserver.core.processes import end_with_the_reader
from streamserver.core.settings import Settings, load
from streamserver.core.source_monitor import SourceMonitor
from streamserver.engine.element import Element, ElementContext
from streamserver.engine.runner import Runner
from streamserver.graph.check import check, check_channels
from streamserver.graph.demo import Channel, Demo, slips, survey_demo
from streamserver.graph.fields import load_json
from streamserver.graph.model import Graph, Node, RawGraph
from streamserver.graph.normalise import sketch
from streamserver.graph.read import exists, resolve, sample_base_dir, sample_file, survey_graphs
from streamserver.graph.rewrite import absolutise
from streamserver.graph.show import describe
from streamserver.graph.svg import draw
from streamserver.media.sources import SourceSpec, open_source
from streamserver.models.store import ModelStore
from streamserver.worker.detectors import choose_detectors
from streamserver.worker.results import with_results

GOOD, WRONG, USAGE = 0, 1, 2


@dataclass
class Finding:
    """What one demo or graph file gave.

    Attributes:
        path: the file.
        graphs: those that are used, as far as they can be made out.
        channels: that run through them.
        models: what stands in for a node's ``model_path``, by graph and node.
        errors: each names file, element and key, and the cure where there is one.
        notes: what is no error, but good to know.
    """

    path: Path
    graphs: list[Graph] = field(default_factory=list)
    channels: tuple[Channel, ...] = ()
    models: dict[tuple[int, int], str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Inspector:
    """Reads files as the engine would.

    Attributes:
        settings: the server's.
        base_dir: what paths in the files are relative to; ``None`` finds it for each file.
        open_models: also load the networks.
    """

    settings: Settings
    base_dir: Path | None = None
    open_models: bool = False

    def inspect(self, path: Path) -> Finding:
        """Reads a demo or graph file, and all that it names."""
        finding = Finding(path)
        try:
            content = load_json(path)
        except GraphError as e:
            finding.errors.append(str(e))
            return finding
        if isinstance(content, list):
            self._inspect_graphs(path, finding, demo=None)
        elif isinstance(content, dict) and {"channels", "engine_config_path"} & set(content):
            self._inspect_demo(path, finding)
        else:
            finding.errors.append(f"{path}: is neither a graph file (an array of graphs) nor a demo file (channels)")
        return finding

    def _inspect_demo(self, path: Path, finding: Finding) -> None:
        demo, engine_path, errors = survey_demo(path)
        finding.errors += map(str, errors)
        finding.notes += slips(demo) if demo is not None else []
        if demo is not None and not demo.channels and not errors:
            finding.errors.append(f"{path}: channels: is empty; add the streams that shall run through the graph")
        if engine_path:
            base_dir = self._base_dir(path, engine_path)
            self._inspect_graphs(_finder(path, base_dir)(engine_path), finding, demo=demo, base_dir=base_dir)

    def _inspect_graphs(self, path: Path, finding: Finding, *, demo: Demo | None, base_dir: Path | None = None) -> None:
        base_dir = base_dir or self._base_dir(path, _first_element(path))
        surveyed, errors = survey_graphs(path, _finder(path, base_dir))
        finding.errors += map(str, errors)
        raws = [raw for raw, _ in surveyed]
        finding.channels = demo.channels if demo else tuple(_imagined(raws))
        unused: set[int] = set()
        if demo is not None and raws:
            _inspect_channels(demo.channels, raws, finding, base_dir)
            unused = {raw.graph_id for raw in raws} - {channel.graph_id for channel in demo.channels}
            finding.notes += [f"graph {graph_id}: no channel uses it" for graph_id in sorted(unused)]
        for raw, whole in surveyed:
            if raw.graph_id not in unused:
                raw = absolutise(raw, base_dir)
                detector = demo.detector if demo else ""
                self._inspect_graph(raw, finding, whole=whole, detector=detector, base_dir=base_dir)
        if not finding.errors:
            self._build(finding, demo, base_dir)

    def _inspect_graph(self, raw: RawGraph, finding: Finding, *, whole: bool, detector: str, base_dir: Path) -> None:
        choice = choose_detectors(
            [sketch(raw)],
            detector,
            available=elements.available(),
            find_weights=lambda name: self._find_weights(name, base_dir),
        )
        [graph] = choice.graphs
        finding.graphs.append(graph)
        finding.notes += choice.warnings
        if whole:
            problems = check(raw, available=elements.available() | choice.replaced)
            finding.errors += [f"{raw.file}: graph {raw.graph_id}: {problem}" for problem in problems]
        else:
            finding.notes.append(f"graph {raw.graph_id}: how it hangs together was not looked at, for it is not whole")
        for node in graph.nodes:
            if node.name in elements.available():
                self._inspect_node(graph, node, finding, base_dir)

    def _inspect_node(self, graph: Graph, node: Node, finding: Finding, base_dir: Path) -> None:
        """Makes the element, which checks its configuration; finds its model, and loads it if that is wanted."""
        channels = [channel.channel_id for channel in finding.channels if channel.graph_id == graph.graph_id]
        context = _context(graph, node, channels, settings=self.settings, base_dir=base_dir)
        try:
            if isinstance(node.configure.get("model_path"), str) and node.name != "motion":
                self._inspect_model(graph, node, finding, context)
        except StreamServerError as e:
            finding.errors.append(str(e))
        try:
            element = elements.element_class(node.name)(context)
            if self.open_models and (graph.graph_id, node.node_id) in finding.models:
                _open(element)
        except StreamServerError as e:
            finding.errors.append(str(e))

    def _inspect_model(self, graph: Graph, node: Node, finding: Finding, context: ElementContext) -> None:
        model_path = str(node.configure["model_path"])
        where = f"{node.config_file}: element {node.node_id} '{node.name}': model_path"
        try:
            found = self._find_weights(model_path, context.base_dir)
        except StreamServerError as e:
            raise type(e)(f"{where}: {e.message}", cure=e.cure) from e
        finding.models[graph.graph_id, node.node_id] = found

    def _find_weights(self, name: str, base_dir: Path) -> str:
        """What runs for a ``model_path``, in words; nothing is downloaded unless the networks shall be loaded.

        Raises:
            ModelNotFoundError, ModelError: it is not there and cannot be fetched, or is not what it should be.
        """
        store = ModelStore(replace(self.settings, model_download=self.settings.model_download and self.open_models))
        try:
            return str(store.resolve(name, base_dir=base_dir).path)
        except ModelNotFoundError:
            rule = store.registry.bmodel_rule(Path(name).name)
            known = rule.model if rule else name
            entry = store.registry.models.get(known) or store.registry.by_file(Path(known).name)
            if entry is None or not entry.offered or not self.settings.model_download or self.open_models:
                raise
            return f"{entry.file}, which is not here yet and will be fetched"

    def _build(self, finding: Finding, demo: Demo | None, base_dir: Path) -> None:
        """Makes the engine, which finds what only shows in the whole."""
        try:
            Runner(
                with_results(finding.graphs, demo, file=str(finding.path)) if demo else finding.graphs,
                finding.channels,
                settings=self.settings,
                base_dir=base_dir,
                element_class=elements.element_class,
            )
        except StreamServerError as e:
            finding.errors.append(str(e))

    def _base_dir(self, path: Path, named: str) -> Path:
        """Where the paths of a file count from: where the first file it names is, a sample's ``build`` above all."""
        if self.base_dir is not None:
            return self.base_dir
        sample = sample_base_dir(path.parent)
        if not named or _finder(path, sample)(named).is_file():
            return sample
        return next((place for place in (path.parent, Path.cwd()) if resolve(place, named).is_file()), sample)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; 0 when all is well, 1 when a file has errors, 2 when there is nothing to look at."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    try:
        paths = list(_files(options.path))
        inspector = Inspector(load(), options.base_dir, open_models=options.command == "check" and options.models)
    except StreamServerError as e:
        print(f"error: {e}", file=sys.stderr)
        return USAGE
    findings = [inspector.inspect(path) for path in paths]
    if options.command == "show":
        _show(findings, options.svg)
    else:
        _report(findings)
    return WRONG if any(finding.errors for finding in findings) else GOOD


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m streamserver.graph", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    checking = commands.add_parser("check", help="print every error that can be found without running the graph")
    checking.add_argument("--models", action="store_true", help="load the networks too, fetching them if need be")
    showing = commands.add_parser("show", help="print nodes, ports, connections, threads and models")
    showing.add_argument("--svg", type=Path, metavar="FILE", help="also draw them into this file")
    for command in (checking, showing):
        command.add_argument("path", type=Path, metavar="PATH", help="a graph file, a demo file or a sample's folder")
        command.add_argument(
            "--base_dir", type=Path, help="what paths in the files count from: the engine's working directory (found)"
        )
    return parser


def _files(path: Path) -> Iterator[Path]:
    """The files to look at: the one named, or the demo files of a folder."""
    if not path.is_dir():
        if not path.exists():
            raise GraphError(f"{path}: not found", cure="name a graph file, a demo file or a folder with demo files")
        yield path
        return
    folder = path / "config" if (path / "config").is_dir() else path
    demos = [file for file in sorted(folder.glob("*.json")) if _is_demo(file)]
    if not demos:
        raise GraphError(f"{folder}: has no demo file", cure="name a graph file, or a folder with *_demo.json")
    yield from demos


def _is_demo(path: Path) -> bool:
    try:
        content = load_json(path)
    except GraphError:
        return path.stem.endswith("_demo")
    return isinstance(content, dict) and "channels" in content


def _finder(path: Path, base_dir: Path) -> Callable[[str], Path]:
    """What a file means by a path; a copied sample finds its own files though they are called by its old name."""
    if base_dir == sample_base_dir(path.parent):
        return lambda text: sample_file(path.parent, text)
    return lambda text: resolve(base_dir, text)


def _first_element(path: Path) -> str:
    """The first element file that a graph file names; empty when it does not come so far."""
    try:
        content = load_json(path)
        value = content[0]["elements"][0]["element_config"]
    except (GraphError, LookupError, TypeError):
        return ""
    return value if isinstance(value, str) else ""


def _imagined(raws: Sequence[RawGraph]) -> Iterator[Channel]:
    """A channel for every source, for graphs without a demo file."""
    sources = [(raw.graph_id, element.element_id) for raw in raws for element in raw.sources]
    for number, (graph_id, decode_id) in enumerate(sources):
        yield Channel(
            channel_id=number, url=f"{number}.mp4", source_type="VIDEO", graph_id=graph_id, decode_id=decode_id
        )


def _inspect_channels(channels: Sequence[Channel], raws: Sequence[RawGraph], finding: Finding, base_dir: Path) -> None:
    """Looks whether the channels have a graph and a source that this engine reads; opens nothing.

    A file that is not there (yet, or on this machine) says nothing about the graph, so it is no error.
    """
    finding.errors += [f"{finding.path}: {problem}" for problem in check_channels(channels, raws)]
    for channel in channels:
        spec = SourceSpec(url=channel.url, source_type=channel.source_type)
        try:
            open_source(spec, stopping=threading.Event(), monitor=SourceMonitor())
        except StreamServerError as e:
            finding.errors.append(f"{finding.path}: channel {channel.channel_id}: source_type: {e}")
            continue
        path = channel.path(base_dir)
        if path is None:
            continue
        shown = f"channel {channel.channel_id}: url: '{os.path.normpath(path)}'"
        if not exists(path):
            finding.notes.append(f"{shown} is not there")
        elif path.is_dir() != (channel.source_type == "IMG_DIR"):
            what, other = ("a folder", "IMG_DIR") if path.is_dir() else ("a file", "VIDEO")
            finding.errors.append(f"{finding.path}: {shown} is {what}; correct it, or write source_type {other}")


def _context(
    graph: Graph, node: Node, channel_ids: Sequence[int], *, settings: Settings, base_dir: Path
) -> ElementContext:
    return ElementContext(
        element_id=node.node_id,
        name=node.name,
        config_file=node.config_file,
        configure=node.configure,
        settings=settings,
        base_dir=base_dir,
        channel_ids=tuple(channel_ids),
        input_ports=tuple(edge.dst_port for edge in graph.edges if edge.dst == node.node_id),
        output_ports=tuple(edge.src_port for edge in graph.edges if edge.src == node.node_id),
    )


def _open(element: Element) -> None:
    try:
        element.open()
    finally:
        element.close()


def _report(findings: Sequence[Finding]) -> None:
    for finding in findings:
        count = len(finding.errors)
        nodes = sum(len(graph.nodes) for graph in finding.graphs)
        verdict = "good" if not count else "1 error" if count == 1 else f"{count} errors"
        print(f"{finding.path}: {verdict} (graphs: {len(finding.graphs)}, nodes: {nodes})")
        for error in finding.errors:
            print(f"  error: {error}")
        for note in finding.notes:
            print(f"  note: {note}")


def _show(findings: Sequence[Finding], svg: Path | None) -> None:
    """Prints each graph once, errors to stderr; several graphs are drawn into several files, numbered."""
    names = _draw([graph for finding in findings for graph in finding.graphs], svg) if svg is not None else []
    for finding in findings:
        print(finding.path)
        for graph in finding.graphs:
            models = {
                node_id: text for (graph_id, node_id), text in finding.models.items() if graph_id == graph.graph_id
            }
            print(describe(graph, models=models))
        for error in finding.errors:
            print(f"error: {error}", file=sys.stderr)
    for name in names:
        print(f"drawn: {name}")


def _draw(graphs: Sequence[Graph], svg: Path) -> list[Path]:
    """Writes a drawing of each graph; returns where."""
    names = [svg] if len(graphs) == 1 else [svg.with_stem(f"{svg.stem}_{i}") for i in range(len(graphs))]
    for name, graph in zip(names, graphs, strict=True):
        name.write_text(draw(graph), encoding="utf-8")
    return names


if __name__ == "__main__":
    end_with_the_reader()
    sys.exit(main())
