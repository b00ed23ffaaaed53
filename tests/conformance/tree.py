"""A sample of sophon-stream as a user has it on disk: its own config, and beside it the files that users bring."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from streamserver.graph.demo import Channel, read_demo
from streamserver.graph.fields import load_json
from streamserver.graph.model import RawGraph
from streamserver.graph.read import read_graphs, resolve
from tests.assets import graphs_dir

DOTA = [f"kind {number}" for number in range(15)]

_NAMES_KEYS = ("class_names_file", "recognice_names_file")
_COCO_SOURCE = "yolov8/config/yolov8_classthresh_roi_example.json"
_PEOPLE = ("Ada", "Grace", "Katherine")


@dataclass(frozen=True)
class Tree:
    """``samples/`` in a folder of the test's, with the config of one sample.

    Attributes:
        sample: the sample's name.
        samples: the folder that holds it.
    """

    sample: str
    samples: Path

    @classmethod
    def copy(cls, sample: str, folder: Path) -> Tree:
        """Copies the sample's config; ``files_of_users`` are still missing."""
        tree = cls(sample, folder / "samples")
        if not tree.config.exists():
            shutil.copytree(graphs_dir() / sample / "config", tree.config)
        return tree

    @property
    def config(self) -> Path:
        """The sample's own files."""
        return self.samples / self.sample / "config"

    @property
    def base_dir(self) -> Path:
        """What the sample's paths are relative to."""
        return self.samples / "build"

    def graphs(self, graph_file: str) -> list[RawGraph]:
        """The graphs of one of its graph files."""
        return read_graphs(self.config / graph_file, self.base_dir)

    def channels(self, graph_file: str) -> list[Channel]:
        """The channels of the demo file that names the graph file, else of the sample's first demo file."""
        demos = [read_demo(path) for path in sorted(self.config.glob("*.json")) if _is_demo(path)]
        named = [demo for demo in demos if Path(demo.engine_config_path).name == graph_file]
        return list((named or demos)[0].channels)

    def write_names(self, graph: RawGraph, characters: Sequence[str]) -> None:
        """Writes the lists of names that the graph's elements ask for; ``characters`` is the text reader's alphabet."""
        for element in graph.elements:
            for key in _NAMES_KEYS:
                value = element.configure.get(key)
                if isinstance(value, str):
                    _write_lines(resolve(self.base_dir, value), _names_for(value, characters))

    def write_people(self, configure: Mapping[str, Any], width: int) -> None:
        """Writes the database of an element faiss: a few random unit vectors of ``width`` numbers, and their names."""
        vectors = np.random.default_rng(1).normal(size=(len(_PEOPLE), width))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        rows = [" ".join(f"{value:.6f}" for value in row) for row in vectors]
        _write_lines(resolve(self.base_dir, configure["db_path"]), rows)
        _write_lines(resolve(self.base_dir, configure["label_path"]), _PEOPLE)


def coco_names() -> list[str]:
    """The 80 class names as sophon-stream writes them."""
    return list(load_json(graphs_dir() / _COCO_SOURCE)["configure"]["threshold_conf"])


def graph_files() -> Iterator[tuple[str, str]]:
    """Sample and file name of every graph file of the fixtures."""
    for path in sorted(graphs_dir().glob("*/config/*.json")):
        content = load_json(path)
        if isinstance(content, list) and "graph_id" in content[0]:
            yield path.parents[1].name, path.name


def _names_for(path: str, characters: Sequence[str]) -> Sequence[str]:
    """What stands in a list of names, as far as its path tells."""
    name, sample = Path(path).name, Path(path).parts[1]
    if name == "coco_lpr.names" or (name == "coco.names" and sample.startswith("license_")):
        return ["license_plate"]
    if name == "class.names":
        return ["ppocr" if sample == "ppocr" else "retinaface"]
    fixed: dict[str, Sequence[str]] = {
        "ppocr_keys_v1.txt": characters,
        "label_map_ntu60.txt": [f"action {number}" for number in range(60)],
        "dotav1.names": DOTA,
    }
    return fixed.get(name) or coco_names()


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _is_demo(path: Path) -> bool:
    content = load_json(path)
    return isinstance(content, dict) and "channels" in content
