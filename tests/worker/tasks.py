"""Tasks of one clip for the worker, and the worker as a real process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]

DECODE = ("decode", {})


def push(port: int, **configure: Any) -> tuple[str, dict[str, Any]]:
    """An ``http_push`` element to a port of this machine."""
    return "http_push", {"ip": "127.0.0.1", "port": port, "path": "/flask_test/0", **configure}


def write_task(
    folder: Path,
    url: Path | str,
    elements: Sequence[tuple[str, Mapping[str, Any]]],
    *,
    detector: str = "",
    **channel: Any,
) -> Path:
    """Writes demo, graph and element files for a chain of elements; returns the demo file."""
    (folder / "elements").mkdir()
    entries, last = [], len(elements)
    for number, (name, configure) in enumerate(elements, start=1):
        file = f"elements/{number}_{name}.json"
        (folder / file).write_text(json.dumps({"name": name, "configure": configure, "shared_object": "x.so"}))
        ports: dict[str, Any] = {}
        if number == 1:
            ports["input"] = [{"port_id": 0, "is_src": True, "is_sink": False}]
        if number == last:
            ports["output"] = [{"port_id": 0, "is_src": False, "is_sink": True}]
        inner = [100 * number, 100 * number + 1, 100 * number + 2]
        entries.append({"element_id": number, "element_config": file, "ports": ports, "inner_elements_id": inner})
    connections = [
        {"src_element_id": number, "src_port": 0, "dst_element_id": number + 1, "dst_port": 0}
        for number in range(1, last)
    ]
    graph = {"graph_id": 0, "device_id": 0, "elements": entries, "connections": connections}
    (folder / "engine.json").write_text(json.dumps([graph]))
    demo = {
        "channels": [{"channel_id": 0, "url": str(url), "source_type": "VIDEO", "fps": -1, **channel}],
        "engine_config_path": "engine.json",
        "detector": detector,
    }
    (folder / "demo.json").write_text(json.dumps(demo))
    return folder / "demo.json"


def environment(**values: str) -> dict[str, str]:
    """An environment in which no model is found and none is fetched."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("STREAMSERVER_")}
    return {
        **own,
        "PYTHONPATH": str(PROJECT),
        "STREAMSERVER_MODEL_DOWNLOAD": "false",
        "STREAMSERVER_FILE_DIRS": "/",
        **values,
    }


@contextmanager
def worker(folder: Path, *arguments: str, **values: str) -> Iterator[subprocess.Popen[str]]:
    """``python -m streamserver.worker`` at work in ``folder``; killed at the end if it still runs."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "streamserver.worker", *arguments],
        cwd=folder,
        env=environment(**values),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def run_worker(folder: Path, *arguments: str, **values: str) -> subprocess.CompletedProcess[str]:
    """The same, run to its end."""
    with worker(folder, *arguments, **values) as process:
        out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
