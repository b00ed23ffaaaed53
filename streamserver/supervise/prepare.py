"""Writes a task's folder and says how its two processes are started (docs/architecture.md, "The task's folder")."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from streamserver.core import failpoints
from streamserver.core.files import write_json
from streamserver.core.revision import forget_revision, write_revision
from streamserver.core.settings import PROJECT_DIR, Settings
from streamserver.graph.demo import write_demo
from streamserver.graph.rewrite import write_graphs
from streamserver.launchers.base import ProcessSpec
from streamserver.store import TaskRecord
from streamserver.supervise.folders import make_folder
from streamserver.supervise.group import Launch
from streamserver.supervise.plan import AlgorithmEntry, plan


def tasks_dir(settings: Settings) -> Path:
    """Where the folders of all tasks lie."""
    return settings.state_path / "tasks"


def prepare(record: TaskRecord, folder: Path, *, port: int, settings: Settings) -> Launch:
    """Writes everything that the task's processes read, each file in one step, for a start with ``port``.

    It also does so for processes at work, which notice the new revision.

    Raises:
        StreamServerError: the task cannot run as things are; see ``plan``.
        OSError: the folder cannot be written.
    """
    planned = plan(record.request, port=port, settings=settings)
    make_folder(folder)
    forget_revision(folder)
    write_json(folder / "request.json", record.request, indent=2)
    write_graphs(planned.graphs, folder)
    write_demo(planned.demo, folder / "demo.json")
    _make_private(folder / "request.json", folder / "demo.json", folder / "engine.json", *folder.glob("elements/*"))
    client = _write_client(
        record, folder, planned.algorithms, port=port, host=settings.client_host, replayable=planned.replayable
    )
    failpoints.hit("update.written")
    write_revision(folder, record.revision)
    return Launch(engine=_engine(record, folder, settings), client=client, finite=planned.finite)


def dry_run(request: Mapping[str, Any], settings: Settings) -> None:
    """Goes all the way to the files of a task without writing them, so that what can never run is refused at once.

    Args:
        request: as accepted (``core.messages.canonical``).
        settings: the server's settings.

    Raises:
        StreamServerError: says what is wrong, and where.
    """
    plan(request, port=settings.client_port_base, settings=settings)


def _write_client(
    record: TaskRecord,
    folder: Path,
    algorithms: Sequence[AlgorithmEntry],
    *,
    port: int,
    host: str,
    replayable: bool,
) -> ProcessSpec:
    content = {
        "run": record.key,
        "task_id": record.task_id,
        "src_id": record.src_id,
        "host": host,
        "port": port,
        "replayable": replayable,
        "report_urls": list(record.request.get("Reporting", {}).get("ReportUrlList", [])),
        "algorithms": [
            {"index": entry.index, "type": entry.type, "name": entry.name, "request": dict(entry.request)}
            for entry in algorithms
        ],
    }
    write_json(folder / "client.json", content, indent=2)
    _make_private(folder / "client.json")
    return ProcessSpec(
        argv=(sys.executable, str(PROJECT_DIR / "client.py"), "--config=client.json"),
        cwd=folder,
        out_file=folder / "logs" / "client.out",
        nursery="client",
    )


def _make_private(*files: Path) -> None:
    """Addresses may hold passwords; the folder keeps others out already, this holds for copies of it too."""
    for file in files:
        file.chmod(0o600)


def _engine(record: TaskRecord, folder: Path, settings: Settings) -> ProcessSpec:
    out_file = folder / "logs" / "engine.out"
    binary = settings.engine_binary
    if binary is None:
        options = ("--demo_config_path=demo.json", "--task_dir=.", f"--run={record.key}")
        argv = (sys.executable, "-m", "streamserver.worker", *options)
        return ProcessSpec(argv=argv, cwd=folder, out_file=out_file, nursery="engine")
    libraries = [str(Path(settings.stream_path).absolute() / "build" / "lib"), os.environ.get("LD_LIBRARY_PATH", "")]
    return ProcessSpec(
        argv=(str(binary.absolute()), "--demo_config_path=demo.json"),
        cwd=folder,
        out_file=out_file,
        env={"LD_LIBRARY_PATH": os.pathsep.join(filter(None, libraries))},
        foreign=True,
    )
