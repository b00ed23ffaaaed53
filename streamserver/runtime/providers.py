"""Where a model can run on this machine: a GPU only where it can really work, the CPU everywhere."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import io
import logging
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime

from streamserver.core.errors import DeviceError, ModelError
from streamserver.runtime.tensorrt import TENSORRT, tensorrt_problem
from streamserver.runtime.tensorrt import provider_options as tensorrt_options

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"

_CUDA_OPTIONS = {"arena_extend_strategy": "kSameAsRequested", "cudnn_conv_algo_search": "HEURISTIC"}
"""Many processes share one GPU and start often: take only the memory that is needed, and do not search for long."""

_PACKAGES = "install CUDA and cuDNN in the versions of the onnxruntime-gpu package, or its [cuda,cudnn] extras"

_OTHERWISE = "make it work, or set STREAMSERVER_DEVICE=auto"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ProviderChoice:
    """What to ask ONNX Runtime for.

    Attributes:
        providers: names, or (name, options) pairs, best first; always ends with the CPU.
        obstacle: why nothing better is asked for, in words; empty when it is, or was not wanted.
        number: of the GPU.
    """

    providers: tuple[str | tuple[str, dict[str, Any]], ...]
    obstacle: str = ""
    number: int = 0

    @property
    def best(self) -> str:
        """The name of the first."""
        first = self.providers[0]
        return first if isinstance(first, str) else first[0]

    @property
    def wants_gpu(self) -> bool:
        """True when more than the CPU is asked for."""
        return len(self.providers) > 1


@functools.cache
def has_driver() -> bool:
    """Whether NVIDIA's driver is installed, with a GPU or without."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


@functools.cache
def cuda_device_count() -> int:
    """How many GPUs the NVIDIA driver offers this process (``CUDA_VISIBLE_DEVICES`` counts); 0 without a driver.

    Asks the driver alone: ONNX Runtime lists CUDA on every machine and complains on stderr when it cannot be loaded.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
        count = ctypes.c_int(0)
        if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
            return 0
    except (OSError, AttributeError):
        return 0
    return count.value


def cuda_obstacle(*, available: list[str], device_count: int) -> str:
    """Why CUDA cannot be asked for, in words; empty when it can.

    Args:
        available: the providers that the installed onnxruntime package was built with.
        device_count: GPUs that the driver offers.
    """
    if CUDA not in available:
        package = "onnxruntime-gpu" if platform.machine() in ("x86_64", "AMD64") else "an onnxruntime with CUDA"
        return f"the installed onnxruntime has no CUDA (it offers {', '.join(available)}; CUDA needs {package})"
    if device_count == 0:
        return "no NVIDIA GPU, or no driver for it (libcuda.so.1)"
    return ""


def choose_providers(device: str, *, engines: Path | None = None) -> ProviderChoice:
    """What to ask for, given ``device``: TensorRT where it is named, then CUDA, then the CPU.

    Args:
        device: ``auto``, ``cpu``, ``cuda``, ``tensorrt``; the latter two also with the number of the GPU, ``cuda:1``.
        engines: where TensorRT keeps those of the model; ``None`` for a model that it is not to run.

    Raises:
        ModelError: a GPU was demanded and is out of reach; says why.
        DeviceError: the same, though its driver is there: it may come back.
    """
    if device == "cpu":
        return ProviderChoice((CPU,))
    kind, _, number = device.partition(":")
    obstacle = _obstacle(kind, int(number or 0))
    if obstacle and kind != "auto":
        lost = cuda_device_count() == 0 and has_driver()
        error = DeviceError if lost else ModelError
        raise error(f"device '{device}' cannot be used: {obstacle}", cure=_OTHERWISE)
    if obstacle:
        return ProviderChoice((CPU,), obstacle)
    cuda = (CUDA, _CUDA_OPTIONS | ({"device_id": number} if number else {}))
    if kind != "tensorrt" or engines is None:
        return ProviderChoice((cuda, CPU), number=int(number or 0))
    tensorrt = (TENSORRT, tensorrt_options(engines, number or "0"))
    return ProviderChoice((tensorrt, cuda, CPU), number=int(number or 0))


def _obstacle(kind: str, number: int) -> str:
    """Why the wanted GPU cannot be asked for, in words; empty when it can."""
    count = cuda_device_count()
    obstacle = cuda_obstacle(available=onnxruntime.get_available_providers(), device_count=count)
    if obstacle:
        return obstacle
    if number >= count:
        return f"there is no GPU {number}, the driver offers {count}, numbered from 0"
    obstacle = cuda_library_problem()
    if obstacle:
        if kind == "auto":
            logger.warning("there is a GPU, but %s; %s", obstacle, _PACKAGES)
        return obstacle
    return tensorrt_problem() if kind == "tensorrt" else ""


def check_providers(choice: ProviderChoice, used: list[str], *, device: str, name: str) -> str:
    """Compares what was asked for with what came, and says so in the log.

    Args:
        choice: what was asked for.
        used: what the session says it uses, best first.
        device: as it was asked for; ``cuda`` or ``tensorrt``, with a number or not, makes a fallback an error.
        name: the model's file name, for messages.

    Returns:
        The provider that is really used.

    Raises:
        ModelError: a GPU was demanded and did not come.
    """
    provider = used[0] if used else CPU
    if choice.wants_gpu and provider != choice.best:
        asked = "CUDA" if choice.best == CUDA else "TensorRT"
        problem = f"'{name}' runs on {provider}: {asked} was asked for and could not be loaded"
        if device != "auto":
            raise ModelError(problem, cure=_PACKAGES)
        logger.warning("%s; %s", problem, _PACKAGES)
        return provider
    logger.info("'%s' runs on %s%s", name, provider, f" ({choice.obstacle})" if choice.obstacle else "")
    return provider


def tell_nodes(counts: Mapping[tuple[str, str], int], provider: str, *, name: str) -> None:
    """Says in the log how much of a model a GPU really does: ONNX Runtime leaves to the CPU what a provider cannot.

    Args:
        counts: nodes by provider and kind.
        provider: that the session was opened for.
        name: the model's file name.
    """
    done = sum(count for (where, _), count in counts.items() if where == provider)
    total = sum(counts.values())
    if done == total:
        return
    rest = ", ".join(
        f"{count} {kind} on {where}" for (where, kind), count in sorted(counts.items()) if where != provider
    )
    logger.log(
        logging.WARNING if done < total / 2 else logging.INFO,
        "'%s': %d of %d nodes on %s; the others: %s",
        name,
        done,
        total,
        provider,
        rest,
    )


@functools.cache
def cuda_library_problem() -> str:
    """Loads CUDA and cuDNN from the nvidia-* packages or the system; which cannot be loaded, in words, or nothing.

    Asks before ONNX Runtime has to find out, for it writes a coloured error to stderr and falls back. (Its provider's
    own library cannot be tried instead: loaded by anybody else, it crashes.)
    """
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        onnxruntime.preload_dlls()
    if said.getvalue():
        logger.debug("onnxruntime: %s", said.getvalue().strip())
    missing = missing_libraries(said.getvalue())
    return f"CUDA lacks {', '.join(missing)}" if missing else ""


def missing_libraries(said: str) -> list[str]:
    """The libraries that ``onnxruntime.preload_dlls`` says it could not load."""
    return re.findall(r"^Failed to load ([^\s:]+)", said, re.MULTILINE)
