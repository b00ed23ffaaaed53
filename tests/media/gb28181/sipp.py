"""SIPp as the platform: plays one of the scenarios of this folder, each with its own checks."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.servers.ports import free_port

_SCENARIOS = Path(__file__).with_name("scenarios")
_SIPP = shutil.which("sipp")
_LISTENING = {"udp": "07", "tcp": "0A"}

needs_sipp = pytest.mark.skipif(_SIPP is None, reason="sipp is not installed (Debian package sip-tester)")


class Sipp:
    """One run of a scenario: a registration and, with two calls, an INVITE.

    Args:
        scenario: the file's name without ``.xml``.
        folder: where the scenario and SIPp's own words go.
        calls: registration and INVITE are one call each.
        transport: ``udp`` or ``tcp``.
    """

    def __init__(self, scenario: str, folder: Path, *, calls: int = 2, transport: str = "udp") -> None:
        self.port = free_port(socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM)
        self._errors, self._messages = folder / "sipp.errors", folder / "sipp.messages"
        path = folder / f"{scenario}.xml"
        path.write_text(_with_parts(_SCENARIOS / f"{scenario}.xml"))
        command = [str(_SIPP), "-sf", str(path), "-m", str(calls), "-i", "127.0.0.1", "-p", str(self.port)]
        command += ["-t", f"{transport[0]}1", "-nostdin", "-timeout", "120s", "-timeout_error"]
        command += ["-trace_err", "-error_file", str(self._errors), "-trace_msg", "-message_file", str(self._messages)]
        with (folder / "sipp.out").open("wb") as out:
            self._process = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env={"TERM": "dumb"}
            )
        self._wait_until_it_listens(transport)

    def finish(self) -> None:
        """Waits until all calls are over; every one of them must have gone as the scenario says."""
        code = self._process.wait(130)
        assert code == 0, self._errors.read_text("latin-1") if self._errors.exists() else f"sipp ended with {code}"

    def wait_for(self, first_line: str, count: int = 1) -> None:
        """Until so many messages whose first line begins so have gone either way."""
        deadline = time.monotonic() + 60
        while self._messages.read_text("latin-1").count(f"\n{first_line}") < count:
            assert self._process.poll() is None, "sipp has ended"
            assert time.monotonic() < deadline, f"SIPp does not see {first_line}"
            time.sleep(0.02)

    def __enter__(self) -> Sipp:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def _wait_until_it_listens(self, transport: str) -> None:
        deadline = time.monotonic() + 60
        while not _listens(self.port, transport):
            assert self._process.poll() is None, "sipp did not start"
            assert time.monotonic() < deadline, "sipp does not listen"
            time.sleep(0.02)


def _with_parts(path: Path) -> str:
    """A scenario with the parts that its comments name."""
    text = path.read_text()
    for part in ("register", "register_only", "register_digest"):
        text = text.replace(f"<!-- include {part} -->", path.with_name(f"{part}.xml").read_text())
    return text


def _listens(port: int, transport: str) -> bool:
    """As the kernel sees it: trying to connect would be a call for SIPp."""
    local = f"0100007F:{port:04X}"
    rows = Path(f"/proc/net/{transport}").read_text().splitlines()[1:]
    return any(row.split()[1] == local and row.split()[3] == _LISTENING[transport] for row in rows)
