"""A real Triton server, in processes of its own on loopback; tools/triton.sh brings it from PyPI."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
from pathlib import Path

import grpc
import pytest
from tritonclient.grpc import service_pb2 as oip
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from tests.servers.ports import free_port
from tests.servers.process import ServerProcess

_PINS = Path(__file__).with_name("triton-requirements.txt")
_PROGRAM = Path(__file__).with_name("triton_program.py")

_FOLDER = re.compile(rb"/tmp/folder[A-Za-z0-9]{6}(?=/)")
"""Where Triton puts a model's program, for which it starts a process."""

_SHARED = re.compile(r"/dev/shm/\S+")
"""Memory that its processes share; who is killed leaves it behind."""


class TritonServer(ServerProcess):
    """Has the models ``double``, ``half`` and ``yolox``; use it with ``with``.

    Args:
        folder: for its files.
        weights: the ONNX file of ``yolox``.
    """

    def __init__(self, folder: Path, weights: Path) -> None:
        self._python = _installed_python()
        super().__init__()
        self.port = free_port()
        self.weights = weights
        self.folder = folder
        self.mode("well")

    def mode(self, word: str) -> None:
        """What ``double`` does from now on; see triton_program.py."""
        (self.folder / "mode").write_text(word)

    def address(self, model: str) -> str:
        """Where a model of it is."""
        return f"oip+grpc://127.0.0.1:{self.port}/{model}"

    def command(self) -> list[str]:
        """What to start."""
        place = ["env", f"HOME={self.folder}", "PYTHONSAFEPATH=1"]
        return [*place, str(self._python), str(_PROGRAM), str(self.port), str(self.folder), str(self.weights)]

    def is_up(self) -> bool:
        """True once its models can be used."""
        with grpc.insecure_channel(f"127.0.0.1:{self.port}", (("grpc.use_local_subchannel_pool", 1),)) as channel:
            try:
                ready = GRPCInferenceServiceStub(channel).ModelReady(oip.ModelReadyRequest(name="yolox"), timeout=1)
            except grpc.RpcError:
                return False
            return bool(ready.ready)

    def stop(self) -> None:
        """Kills it; then the folders and the shared memory go that Triton itself would have removed."""
        used: set[str] = set()
        for pid in self._pids():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                used.update(map(os.fsdecode, _FOLDER.findall(Path(f"/proc/{pid}/cmdline").read_bytes())))
            with contextlib.suppress(OSError):
                used.update(_SHARED.findall(Path(f"/proc/{pid}/maps").read_text()))
        super().stop()
        for place in used:
            shutil.rmtree(place, ignore_errors=True)
            with contextlib.suppress(OSError):
                os.unlink(place)

    def _pids(self) -> list[int]:
        group = self._process.pid if self._process is not None else 0
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if group and os.getpgid(int(entry.name)) == group:
                    found.append(int(entry.name))
        return found


def _installed_python() -> Path:
    """The Python that has Triton; waits while it is being installed, and skips the test where it is not."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "streamserver-tests" / "triton"
    reason = "no Triton: ./run_tests.sh installs it with Debian's python3"
    if (cache / "lock").exists():
        with (cache / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
        stamp = cache / "stamp"
        if stamp.exists() and stamp.read_text().split()[0] == hashlib.sha256(_PINS.read_bytes()).hexdigest():
            return cache / "venv" / "bin" / "python"
        said = (cache / "log").read_text().strip().splitlines() if (cache / "log").exists() else []
        reason = f"{reason}; {said[-1] if said else 'that was not tried'}"
    if os.environ.get("STREAMSERVER_REQUIRE_ASSETS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
