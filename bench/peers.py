"""Programs that do the same work, each in a virtual environment of its own, made once."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.clips import cache_dir
from bench.floor import ENVIRONMENT
from bench.measuring import spend
from bench.table import Missing, Say

STREAMVISION = "streamvision==0.1.4"
_OPENCV = "opencv-python-headless==4.12.0.88"
"""What streamvision asks for, without the parts for windows, which need libraries of a desktop."""

MANNERS = {"detect": "detection only", "track": "detect, track, line", "plain": "as it comes"}
"""How streamvision is run, in words of ``peer_streamvision`` and in words for people."""


@dataclass(frozen=True, slots=True)
class Peer:
    """What a run of a peer cost.

    Attributes:
        cpu_ms: CPU milliseconds per frame.
        wall_ms: milliseconds that passed per frame.
        boxes: boxes found per frame.
        pss_mb: proportional set size at the end, MB.
        rss_mb: resident set size at the end, MB.
    """

    cpu_ms: float
    wall_ms: float
    boxes: float
    pss_mb: float
    rss_mb: float


@dataclass(frozen=True, slots=True)
class Streamvision:
    """Roboflow's InferencePipeline; ``python`` is that of its environment."""

    python: Path

    def run(self, clip: Path, model: Path, threshold: float, manner: str) -> Peer:
        """Plays a clip of at least 500 frames through it, in one of ``MANNERS``, see ``peer_streamvision``."""
        script = Path(__file__).with_name("peer_streamvision.py")
        command = [str(self.python), "-I", str(script), str(clip), str(model), str(threshold), manner]
        return Peer(
            **json.loads(spend(command, environment={} if manner == "plain" else ENVIRONMENT).output.splitlines()[-1])
        )


@functools.cache
def streamvision(say: Say) -> Streamvision:
    """Its environment, made with pip from the index where it is not there yet.

    Raises:
        Missing: pip cannot get it.
    """
    runtime = f"onnxruntime=={_our_onnxruntime()}"
    python = _environment(
        STREAMVISION.replace("==", "-"), [[STREAMVISION, runtime], [_OPENCV, "--force-reinstall", "--no-deps"]], say
    )
    return Streamvision(python)


def _our_onnxruntime() -> str:
    for name in ("onnxruntime-gpu", "onnxruntime"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    raise Missing("onnxruntime is not installed")


def _environment(name: str, steps: list[list[str]], say: Say) -> Path:
    folder = cache_dir() / "peers" / name
    python, done = folder / "bin" / "python", folder / "complete"
    wanted = json.dumps(steps)
    if done.is_file() and done.read_text() == wanted:
        return python
    say(f"making {folder}")
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    for step in steps:
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *step]
        installed = subprocess.run(install, capture_output=True, text=True, check=False)
        if installed.returncode:
            raise Missing(f"pip cannot install {' '.join(step)}: {installed.stderr[-500:].strip()}")
    done.write_text(wanted)
    return python
