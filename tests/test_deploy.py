"""The files under deploy/, as far as they can be tried without systemd as process 1 and without a builder of images."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from streamserver.core.settings import PROJECT_DIR, Settings
from tests.certificates import make_pair
from tests.servers.ports import free_port
from tests.supervise.house import wait_until

DEPLOY = PROJECT_DIR / "deploy"
UNIT = DEPLOY / "stream-server.service"
HALF_WRITTEN = "*.pyc.*"
"""Compiled modules are copied, too, or each process would compile them all; others may write some meanwhile."""


def instructions() -> list[tuple[str, str]]:
    """Each instruction of the Containerfile with the rest of its lines."""
    text = re.sub(r"^\s*#.*\n", "", (DEPLOY / "Containerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines) if word]


def of_kind(kind: str) -> list[str]:
    return [rest for word, rest in instructions() if word == kind]


def copied() -> list[str]:
    return [source for rest in of_kind("COPY") for source in rest.split()[:-1]]


def variables() -> dict[str, str]:
    return dict(pair.split("=", 1) for rest in of_kind("ENV") for pair in shlex.split(rest))


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_what_the_image_copies_exists_and_is_not_ignored() -> None:
    ignored = (DEPLOY / "Containerfile.dockerignore").read_text().splitlines()
    for source in copied():
        assert (PROJECT_DIR / source).exists(), source
        assert f"!{source}" in ignored, source
    assert {line[1:] for line in ignored if line.startswith("!")} == set(copied())


def test_settings_of_the_image_and_the_unit_exist() -> None:
    known = {f"STREAMSERVER_{name.upper()}" for name in Settings.__dataclass_fields__}
    unit = re.findall(r"^Environment=(\w+)=", UNIT.read_text(), re.MULTILINE)
    for name in [*variables(), *unit]:
        assert name in known or name.startswith("PYTHON"), name


def test_the_image_is_run_in_exec_form_as_nobody_special() -> None:
    entry, (user,) = json.loads(of_kind("ENTRYPOINT")[0]), of_kind("USER")
    assert entry == ["/opt/stream-server/.venv/bin/python", "/opt/stream-server/start.py"]
    assert user != "root"
    assert of_kind("STOPSIGNAL") == ["SIGTERM"]
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    service = compose["services"]["stream-server"]
    assert (PROJECT_DIR / service["build"]["dockerfile"]).is_file()
    assert service["volumes"] == ["state:/var/lib/stream-server"] and of_kind("VOLUME") == [
        '["/var/lib/stream-server"]'
    ]


@pytest.mark.e2e
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_plain_copy_of_what_the_image_holds_runs_and_is_healthy(scheme: str, tmp_path: Path) -> None:
    root = tmp_path / "opt"
    root.mkdir()
    for source in copied():
        if (PROJECT_DIR / source).is_dir():
            shutil.copytree(PROJECT_DIR / source, root / source, ignore=shutil.ignore_patterns(HALF_WRITTEN))
        else:
            shutil.copy(PROJECT_DIR / source, root)
    port = free_port()
    environment = os.environ | variables() | {"STREAMSERVER_PORT": str(port), "PYTHONDONTWRITEBYTECODE": "1"}
    environment["STREAMSERVER_NURSERIES"] = "false"
    for name in ("STREAMSERVER_STATE_DIR", "STREAMSERVER_MODEL_CACHE"):
        environment[name] = str(tmp_path / variables()[name].lstrip("/"))
    if scheme == "https":
        cert, key = make_pair(tmp_path)
        environment |= {"STREAMSERVER_TLS_CERT": str(cert), "STREAMSERVER_TLS_KEY": str(key)}

    def is_healthy() -> bool:
        check = [sys.executable, *json.loads(of_kind("HEALTHCHECK")[0].partition("CMD ")[2])[1:]]
        done = subprocess.run(check, cwd=root, env=environment, capture_output=True, text=True)
        assert not done.stderr, done.stderr
        return done.returncode == 0

    assert not is_healthy()
    with (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen([sys.executable, "start.py"], cwd=root, env=environment, stdout=out, stderr=out)
    with process:
        try:
            wait_until(lambda: listens(port), "it listens")  # each question after its health starts a Python
            wait_until(is_healthy, "it is healthy")
            process.terminate()
            assert process.wait() == 0
        finally:
            process.kill()


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze")
    text = UNIT.read_text().replace("/opt/stream-server/.venv/bin/python", sys.executable)
    unit = tmp_path / UNIT.name
    unit.write_text(text.replace("/opt/stream-server", str(PROJECT_DIR)))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_waits_for_longer_than_the_guard() -> None:
    text = UNIT.read_text()
    assert int(re.findall(r"^TimeoutStopSec=(\d+)", text, re.MULTILINE)[0]) > Settings().stop_timeout_s + 15
    assert "Type=notify" in text and "WatchdogSec=" in text and "Restart=always" in text
