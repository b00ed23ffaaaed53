"""The command line as a person or a script runs it, and one server with keys for all that asks one."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.harness import PROJECT, Server


def run_cli(
    *words: str, home: Path, stdin: str = "", environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """``python -m streamserver`` with ``words``, as a user whose home is ``home`` and who has set nothing else."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("STREAMSERVER_", "XDG_"))}
    return subprocess.run(
        [sys.executable, "-m", "streamserver", *words],
        cwd=PROJECT,
        env={**kept, "HOME": str(home), **(environment or {})},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
    )


class _KeyedServer(Server):
    """Needs keys, so only ``/livez`` tells that it is up."""

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.state_dir / "start.out").read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/livez", timeout=30) as response:
                return bool(response.status == 200)
        except OSError:
            return False


@dataclass(frozen=True)
class Guarded:
    """A running server that needs keys, and users who have one."""

    url: str
    writer: Path
    reader: Path
    environment: dict[str, str]

    def cli(self, *words: str, home: Path | None = None, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """A command for this server, by the writer unless another home is given."""
        return run_cli(*words, home=home or self.writer, stdin=stdin, environment=self.environment)


@pytest.fixture(scope="package")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """One server for all tests here."""
    folder = tmp_path_factory.mktemp("cli")
    one = _KeyedServer(folder / "state", environment={"STREAMSERVER_AUTH": "on", "STREAMSERVER_DETECTOR": "motion"})
    environment = {"STREAMSERVER_STATE_DIR": str(one.state_dir), "STREAMSERVER_PORT": str(one.port)}
    environment["STREAMSERVER_AUTH"] = "on"
    one.start()
    try:
        homes = {}
        for role in ("write", "read"):
            made = run_cli("keys", "create", "--role", role, home=folder, environment=environment)
            assert made.returncode == 0, made.stderr
            homes[role] = folder / role
            file = homes[role] / ".config" / "stream-server" / "key"
            file.parent.mkdir(parents=True)
            file.touch(mode=0o600)
            file.write_text(made.stdout.split("token:")[1].split()[0] + "\n")
        url = f"http://127.0.0.1:{one.port}"
        yield Guarded(url=url, writer=homes["write"], reader=homes["read"], environment=environment)
    finally:
        one.stop()
        left = one.processes()
        assert not left, f"still running: {left}"
