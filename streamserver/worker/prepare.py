"""From a demo file to an engine that can run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from streamserver import elements
from streamserver.core.secrets import register_all
from streamserver.core.settings import Settings
from streamserver.engine.reconfigure import Change
from streamserver.engine.runner import Runner
from streamserver.graph.check import require_channels_ok, require_ok
from streamserver.graph.demo import Demo, read_demo, slips
from streamserver.graph.model import RawGraph
from streamserver.graph.normalise import normalise
from streamserver.graph.read import read_graphs, resolve
from streamserver.models.store import ModelStore
from streamserver.worker.detectors import choose_detectors
from streamserver.worker.overlay import overlays_of
from streamserver.worker.results import with_results
from streamserver.worker.studio import Studio

logger = logging.getLogger(__name__)


def build_runner(demo_path: Path, *, settings: Settings, base_dir: Path, start_loop: int = 0) -> tuple[Runner, Studio]:
    """Reads the files, decides which detectors run and makes the elements; may fetch weights.

    Args:
        demo_path: the demo file.
        settings: given to every element.
        base_dir: what relative paths in the files are relative to.
        start_loop: the first loop of files, to go on after a crash.

    Returns:
        The engine, and what makes pictures of its frames for those who watch; it is not started.

    Raises:
        GraphError: a file is wrong; says which and how to mend it.
    """
    demo, raw_graphs = _read(demo_path, base_dir)
    for slip in slips(demo):
        logger.warning("%s: %s", demo_path, slip)
    choice = choose_detectors(
        [normalise(raw) for raw in raw_graphs],
        demo.detector,
        available=elements.available(),
        find_weights=lambda name: ModelStore(settings).find(name, base_dir=base_dir),
    )
    for warning in choice.warnings:
        logger.warning("%s", warning)
    for raw in raw_graphs:
        require_ok(raw, available=elements.available() | choice.replaced)
    studio = Studio(overlays_of(choice.graphs, demo.channels, base_dir), lambda: runner.snapshot().source)
    runner = Runner(
        with_results(choice.graphs, demo, file=str(demo_path)),
        demo.channels,
        settings=settings,
        base_dir=base_dir,
        element_class=elements.element_class,
        start_loop=start_loop,
        tap=studio.tap,
    )
    return runner, studio


def reread(demo_path: Path, runner: Runner, studio: Studio, *, base_dir: Path) -> Callable[[], Change]:
    """Reads the files anew, and returns what makes an engine at work go on with them.

    What it returns raises ``GraphError``, and changes nothing, where an element cannot use them.

    Raises:
        GraphError: a file is wrong.
    """
    demo, raw_graphs = _read(demo_path, base_dir)
    graphs = [normalise(raw) for raw in raw_graphs]
    overlays = overlays_of(graphs, demo.channels, base_dir)
    complete = with_results(graphs, demo, file=str(demo_path))

    def take_over() -> Change:
        change = runner.reconfigure(complete)
        studio.redraw(overlays)
        return change

    return take_over


def _read(demo_path: Path, base_dir: Path) -> tuple[Demo, list[RawGraph]]:
    """The demo file and those of its graphs that have a channel."""
    demo = read_demo(demo_path)
    register_all(channel.url for channel in demo.channels)
    raw_graphs = read_graphs(resolve(base_dir, demo.engine_config_path), base_dir)
    require_channels_ok(demo.channels, raw_graphs, file=str(demo_path))
    used = {channel.graph_id for channel in demo.channels}
    return demo, [raw for raw in raw_graphs if raw.graph_id in used]
