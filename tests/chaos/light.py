"""A server with light engines: a small program in a sophon-stream tree raises one alarm a start, and then idles.

The supervisor, the web process, the clients and all files are the real ones; only decoding and detection are left out.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from tests.e2e.harness import PROJECT, Server, task

_ENGINE = Path(__file__).with_name("light_engine.py")
_SAMPLE = Path("samples", "tripwire", "config")


def light_server(folder: Path, *, project: Path = PROJECT, environment: dict[str, str] | None = None) -> Server:
    """A server, not yet started, with its state and its light engine below ``folder``."""
    tree = folder / "stream"
    main = tree / "samples" / "build" / "main"
    main.parent.mkdir(parents=True)
    main.write_text(f"#!{sys.executable} -SEs\n{_ENGINE.read_text()}")
    main.chmod(0o755)
    shutil.copytree(project / _SAMPLE, tree / _SAMPLE)
    detector = tree / _SAMPLE / "yolox_group.json"
    content = json.loads(detector.read_text())
    content["configure"]["model_path"] = "../tripwire/data/models/yolox.bmodel"  # the only kind such a program loads
    detector.write_text(json.dumps(content))
    given = {"STREAMSERVER_STREAM_PATH": str(tree), **(environment or {})}
    return Server(folder / "state", project=project, environment=given)


def light_task(task_id: str, report_url: str) -> dict[str, Any]:
    """A create body for it: a camera that nobody looks at."""
    return task(task_id, f"rtsp://127.0.0.1:9/{task_id}", report_url, line=(320, 0, 320, 360))
