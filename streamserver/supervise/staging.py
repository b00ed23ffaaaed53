"""A private copy of a sample's folder, for algorithms of the old server, which edit their configuration in place.

The copy lies where the old server had the original (``<root>/samples/<name>/config``, beside ``<root>/samples/build``),
with the two templates that the old server put there, and is gone after use.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamserver.core.errors import GraphError, SampleError
from streamserver.core.files import write_json
from streamserver.graph.demo import read_demo
from streamserver.graph.fields import Fields, load_json
from streamserver.graph.model import RawGraph
from streamserver.graph.read import read_sample, sample_file

_TEMPLATES: Mapping[str, Any] = {
    "http_push.json": {
        "configure": {"ip": "127.0.0.1", "port": 10001, "path": "/flask_test/"},
        "shared_object": "../../build/lib/libhttp_push.so",
        "name": "http_push",
        "side": "sophgo",
        "thread_number": 1,
    },
    "filter.json": {
        "configure": {
            "rules": [
                {
                    "channel_id": 0,
                    "filters": [
                        {
                            "alert_first_frame": 0,
                            "alert_frame_skip_nums": 1,
                            "areas": [[]],
                            "classes": [0],
                            "times": [{"time_start": "00 00 00", "time_end": "23 59 59"}],
                            "type": 1,
                        }
                    ],
                }
            ]
        },
        "shared_object": "../../build/lib/libfilter.so",
        "name": "filter",
        "side": "sophgo",
        "thread_number": 1,
    },
}


@dataclass(frozen=True, slots=True)
class Stage:
    """The copy: its root, its configuration folder and what ``filter.json`` held before the sample saw it."""

    root: Path
    config_dir: Path
    untouched_filter: bytes


@dataclass(frozen=True, slots=True)
class Staged:
    """What an old sample wrote: the first channel of its demo file, the graph, and the filters where it set any."""

    channel: Mapping[str, Any]
    graph: RawGraph
    filters: tuple[Mapping[str, Any], ...]


@contextmanager
def staged_sample(config_dir: Path, name: str) -> Iterator[Stage]:
    """Copies ``config_dir`` for as long as the block lasts; what goes wrong in it is told of the original."""
    with tempfile.TemporaryDirectory(prefix="stream-server-") as temporary:
        root = Path(temporary).resolve()
        copied = root / "samples" / name / "config"
        shutil.copytree(config_dir, copied, copy_function=shutil.copyfile)
        (root / "samples" / "build").mkdir()
        for file, content in _TEMPLATES.items():
            if not (copied / file).exists():
                write_json(copied / file, content, indent=2)
        try:
            yield Stage(root, copied, (copied / "filter.json").read_bytes())
        except (GraphError, SampleError) as e:  # who reads it looks for the sample's own file
            raise type(e)(str(e).replace(str(copied), str(config_dir))) from e


def read_staged(stage: Stage, demo_file: Path) -> Staged:
    """Reads what the sample left in the copy.

    Raises:
        GraphError: one of its files cannot be used.
    """
    demo = read_demo(demo_file)
    channel = demo.channels[0]
    graphs = read_sample(stage.config_dir, str(sample_file(stage.config_dir, demo.engine_config_path)))
    chosen = next((graph for graph in graphs if graph.graph_id == channel.graph_id), graphs[0])
    return Staged(channel.to_json(), chosen, _filters(stage, channel.channel_id))


def _filters(stage: Stage, channel_id: int) -> tuple[Mapping[str, Any], ...]:
    """The filters of the channel's rule (else of the first) in ``filter.json``; none when the sample left it alone."""
    file = stage.config_dir / "filter.json"
    if file.read_bytes() == stage.untouched_filter:
        return ()
    configure = Fields(Fields(load_json(file), where=str(file)).mapping("configure"), where=f"{file}: configure")
    rules = [Fields(rule, where=f"{file}: configure: rules") for rule in configure.items("rules")]
    fitting = [rule for rule in rules if rule.integer("channel_id", 0) == channel_id] or rules
    return tuple(fitting[-1].items("filters")) if fitting else ()
