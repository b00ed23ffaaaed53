"""Where a model can run on this machine: CUDA only where it can really work, the CPU everywhere."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import io
import logging
import platform
import re
from dataclasses import dataclass
from typing import Any

import onnxruntime

from streamserver.core.errors import ModelError

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"

_CUDA_OPTIONS = {"arena_extend_strategy": "kSameAsRequested", "cudnn_conv_algo_search": "HEURISTIC"}
"""Many processes share one GPU and start often: take only the memory that is needed, and do not search for long."""

_PACKAGES = "install CUDA and cuDNN in the versions of the onnxruntime-gpu package, or its [cuda,cudnn] extras"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ProviderChoice:
    """What to ask ONNX Runtime for.

    Attributes:
        providers: names, or (name, options) pairs, best first; always ends with the CPU.
        obstacle: why CUDA is not asked for, in words; empty when it is, or was not wanted.
    """

    providers: tuple[str | tuple[str, dict[str, Any]], ...]
    obstacle: str = ""

    @property
    def wants_cuda(self) -> bool:
        """True when CUDA is asked for."""
        return len(self.providers) > 1


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


def choose_providers(device: str) -> ProviderChoice:
    """What to ask for, given ``device``: ``auto``, ``cpu``, ``cuda`` or ``cuda:<number of the GPU>``.

    Raises:
        ModelError: CUDA was demanded and is out of reach; says why.
    """
    if device == "cpu":
        return ProviderChoice((CPU,))
    kind, _, number = device.partition(":")
    obstacle = cuda_obstacle(available=onnxruntime.get_available_providers(), device_count=cuda_device_count())
    if not obstacle and number and int(number) >= cuda_device_count():
        obstacle = f"there is no GPU {number}, the driver offers {cuda_device_count()}, numbered from 0"
    if not obstacle:
        obstacle = cuda_library_problem()
        if not obstacle:
            return ProviderChoice(((CUDA, _CUDA_OPTIONS | ({"device_id": number} if number else {})), CPU))
        if device == "auto":
            logger.warning("there is a GPU, but %s; %s", obstacle, _PACKAGES)
    if kind == "cuda":
        raise ModelError(
            f"device '{device}' cannot be used: {obstacle}", cure="make it work, or set STREAMSERVER_DEVICE=auto"
        )
    return ProviderChoice((CPU,), obstacle)


def check_providers(choice: ProviderChoice, used: list[str], *, device: str, name: str) -> str:
    """Compares what was asked for with what came, and says so in the log.

    Args:
        choice: what was asked for.
        used: what the session says it uses, best first.
        device: as it was asked for; ``cuda``, with a number or not, makes a fallback to the CPU an error.
        name: the model's file name, for messages.

    Returns:
        The provider that is really used.

    Raises:
        ModelError: CUDA was demanded and did not come.
    """
    provider = used[0] if used else CPU
    if choice.wants_cuda and provider != CUDA:
        problem = f"'{name}' runs on {provider}: CUDA was asked for and could not be loaded"
        if device.startswith("cuda"):
            raise ModelError(problem, cure=_PACKAGES)
        logger.warning("%s; %s", problem, _PACKAGES)
        return provider
    logger.info("'%s' runs on %s%s", name, provider, f" ({choice.obstacle})" if choice.obstacle else "")
    return provider


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
