"""The real server under a resolver that changes its answers between check and use: alarms wait, nothing arrives."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.world import FEW_FRAMES, alarm_task, clip
from tests.e2e.harness import ledger, server, wait_for
from tests.ssrf.hosts import ALLOWED, DENIED, NETWORK, listening

pytestmark = pytest.mark.e2e

_RESOLVER = '''
"""Read by every Python process: a file for each name in .test says where it leads, another one for who asks first."""
import os, socket

_real = socket.getaddrinfo

def _look_up(host, *arguments, **options):
    file = os.path.join(os.environ["NAMES"], str(host))
    if str(host).endswith(".test"):
        try:
            os.rename(file + ".first", file + ".told")
            host = open(file + ".told").read()
        except FileNotFoundError:
            host = open(file).read()
    return _real(host, *arguments, **options)

socket.getaddrinfo = _look_up
'''


def test_an_answer_that_changes_after_create_leads_nowhere_until_it_is_mended(tmp_path: Path) -> None:
    film = clip(tmp_path / "clip", rate=FEW_FRAMES)
    names = tmp_path / "names"
    names.mkdir()
    (tmp_path / "sitecustomize.py").write_text(_RESOLVER)
    (names / "report.test.first").write_text(ALLOWED)
    (names / "report.test").write_text(DENIED)
    rules = {"STREAMSERVER_DENY_NETWORKS": NETWORK, "PYTHONPATH": str(tmp_path), "NAMES": str(names)}
    rules["STREAMSERVER_NURSERIES"] = "false"
    with (
        ledger() as receiver,
        listening(DENIED, port=receiver.server_address[1]) as denied,
        server(tmp_path / "state", environment=rules) as house,
    ):
        report = f"http://report.test:{denied.port}/api/upload"
        assert house.create(alarm_task("reports", film, [report], loops=1))["Code"] == 0
        wait_for(
            lambda: f"deny_networks forbids {NETWORK}" in house.query("reports").get("Reason", ""),
            "the task says why its alarms wait",
            lambda: house.query("reports"),
        )
        wait_for(
            lambda: house.create(alarm_task("second", film, [report], loops=1))["Code"] == 4004,
            "create refuses it, once what it knows of the name is too old",
        )
        assert denied.arrived == []
        assert receiver.rows == []
        (names / "report.test").write_text(ALLOWED)
        wait_for(lambda: receiver.reports("reports"), "the alarms that waited arrive", lambda: house.query("reports"))
        assert denied.arrived == []
