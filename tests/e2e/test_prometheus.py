"""A real Prometheus scrapes a real server with ten tasks, and has an answer for each name."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from streamserver.core.settings import PROJECT_DIR
from tests.chaos.world import alarm_task, clip
from tests.e2e.harness import Server, free_port, ledger, server, task, wait_for
from tests.servers.packages import needs, program
from tests.web.test_metrics import NAMES

pytestmark = pytest.mark.e2e
COUNT = 10
LINE: dict[str, Any] = {"line": (320, 0, 320, 360)}


@contextmanager
def prometheus(folder: Path, target: int) -> Iterator[int]:
    """A Prometheus with our configuration, but for the target and the pace; gives its port."""
    folder.mkdir()
    deployed = PROJECT_DIR / "deploy" / "prometheus"
    config = yaml.safe_load((deployed / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(deployed / "alerts.yml")]
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{target}"]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    arguments = [
        str(program("prometheus")),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen(arguments, stdout=out, stderr=out)
    try:
        yield port
    finally:
        process.kill()
        process.wait()


def asked(port: int, query: str) -> list[dict[str, Any]]:
    """The series that answer ``query``; none while Prometheus does not answer."""
    address = f"http://127.0.0.1:{port}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    try:
        with urllib.request.urlopen(address, timeout=60) as response:
            result: list[dict[str, Any]] = json.loads(response.read())["data"]["result"]
            return result
    except OSError:
        return []


def wait_answer(port: int, query: str, least: int = 1) -> list[dict[str, Any]]:
    """The first answer with so many series; the next may be empty, when a scrape was not answered in time."""
    found: list[dict[str, Any]] = []

    def look() -> bool:
        found[:] = asked(port, query)
        return len(found) >= least

    wait_for(look, query, lambda: found)
    return found


def test_a_real_prometheus_scrapes_ten_tasks(tmp_path: Path, walkers: Path) -> None:
    needs("prometheus", "promtool")
    with ledger() as receiver, server(tmp_path / "state") as one, prometheus(tmp_path / "prom", one.port) as port:
        small = clip(tmp_path)
        bodies = [alarm_task(f'任务 "{i}" \\', small, [receiver.url], fps=12, interval=3) for i in range(COUNT - 1)]
        bodies.append(task("with a model", str(walkers), receiver.url, interval=5, extend={"Loop": 0}, **LINE))
        for body in bodies:
            assert one.create(body)["Code"] == 0
        wait_answer(port, 'streamserver_frames_total{result="processed"} > 0', COUNT)
        for name in [name for name in NAMES if name not in ("streamserver_alarms_total",)]:
            wait_answer(port, name)
        wait_answer(port, "streamserver_inference_duration_seconds_count > 0")
        (delivered,) = wait_answer(port, 'streamserver_delivery_attempts_total{outcome="delivered"} > 0')
        assert float(delivered["value"][1]) <= len(receiver.rows)
        wait_answer(port, "streamserver_alarms_total > 0")
        (running,) = wait_answer(port, f'streamserver_tasks{{state="RUNNING"}} == {COUNT}')
        assert running["metric"]["job"] == "stream-server"
        _keep_page(one)
        one.post("/task/delete", {"TaskID": "with a model"})
        wait_for(
            lambda: not asked(port, 'streamserver_frames_total{task="with a model"}'), "its series goes with a task"
        )
        wait_answer(port, "streamserver_inference_duration_seconds_count > 0")  # what all tasks share stays
        assert not asked(port, 'ALERTS{alertstate="firing"}')


def _keep_page(one: Server) -> None:
    """What was scraped, accepted by promtool; kept for people where STREAMSERVER_KEEP_SCRAPE names a file."""
    with urllib.request.urlopen(f"http://127.0.0.1:{one.port}/metrics", timeout=60) as response:
        page = response.read()
    done = subprocess.run([str(program("promtool")), "check", "metrics"], input=page, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    if keep := os.environ.get("STREAMSERVER_KEEP_SCRAPE"):
        Path(keep).write_bytes(page)
