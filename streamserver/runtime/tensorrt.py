"""TensorRT: whether it can be loaded, and where the engines that it builds are kept.

It builds an engine for each model, GPU and version, which takes seconds to minutes, and only for fixed shapes: a file
with free ones would have it build anew in mid-run.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import hashlib
import logging
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnxruntime

from streamserver.core import settings

TENSORRT = "TensorrtExecutionProvider"

FOLDER = "tensorrt"
"""Within the state folder."""

_PROVIDER_LIBRARY = Path(onnxruntime.__file__).parent / "capi" / "libonnxruntime_providers_tensorrt.so"

_LIBRARIES = re.compile(rb"lib(?:nvinfer|nvonnxparser)\.so\.\d+")

_WHEELS = "tensorrt*"
"""Folders of NVIDIA's packages that hold the libraries."""

logger = logging.getLogger(__name__)


@functools.cache
def tensorrt_problem() -> str:
    """Loads TensorRT from NVIDIA's packages or the system; which library cannot be loaded, in words, or nothing.

    To be asked after CUDA's own libraries are loaded. ONNX Runtime would only write to stderr and fall back.
    """
    names = needed_libraries(_PROVIDER_LIBRARY)
    if not names:
        return "the installed onnxruntime has no TensorRT"
    missing = [name for name in names if not _load(name)]
    return f"TensorRT lacks {', '.join(missing)}" if missing else ""


def needed_libraries(library: Path) -> list[str]:
    """Which of TensorRT's libraries the provider was linked with, in the order in which they are to be loaded."""
    try:
        content = library.read_bytes()
    except OSError:
        return []
    return sorted({name.decode() for name in _LIBRARIES.findall(content)})


def provider_options(folder: Path, number: str) -> dict[str, Any]:
    """What to ask ONNX Runtime for: full precision, and engines kept in ``folder``."""
    return {
        "device_id": number,
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(folder),
        "trt_fp16_enable": "False",
    }


def engine_folder(model: Path) -> Path:
    """Where the engines of a file are kept, by its content: an engine holds weights, its name only the file's."""
    with model.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return settings.load().state_path / FOLDER / digest[:16]


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Lets one process of the machine at a time build the engines of a file; the next ones find them ready."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not any(folder.glob("*.engine")):
            logger.info("TensorRT builds an engine in '%s'; this may take minutes, once", folder)
        yield


def _load(name: str) -> bool:
    site = Path(sysconfig.get_paths()["purelib"])
    for path in (*sorted(site.glob(f"{_WHEELS}/{name}")), Path(name)):
        with contextlib.suppress(OSError):
            ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
            return True
    return False
