"""One loaded ONNX model: opened with the settings that measured best, run with arrays, always saying where it runs."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as _state

from streamserver.core.counters import inference_times
from streamserver.core.errors import DeviceError, ModelError
from streamserver.core.model_address import ModelAddress, ModelPlace
from streamserver.runtime.binding import BoundRuns, can_be_bound
from streamserver.runtime.providers import CPU, CUDA, ProviderChoice, check_providers, choose_providers, tell_nodes
from streamserver.runtime.tensorrt import TENSORRT, alone_in, engine_folder

logger = logging.getLogger(__name__)

BATCH_ON_CUDA = 8
"""Pictures in one run of a GPU that the file does not limit: more gain little and all wait for the last."""

_RUNTIME_ERRORS: tuple[type[Exception], ...] = tuple(
    kind for kind in vars(_state).values() if isinstance(kind, type) and issubclass(kind, Exception)
)
"""ONNX Runtime's exceptions, which have no common parent."""

_RUN_ERRORS: tuple[type[Exception], ...] = (*_RUNTIME_ERRORS, ValueError, RuntimeError)
"""Those, and what its Python layer raises for a missing input or a device that fails."""

_ONLY_ERRORS = 3
"""Log severity: models that list initialisers as inputs would print hundreds of warnings while loading."""

_ONLY_FATAL = 4

_DEVICES = {CUDA: "cuda", TENSORRT: "tensorrt"}

_TELL_NODES = "session.record_ep_graph_assignment_info"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a model; ``shape`` holds ``None`` where the size is free."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


class Session(Protocol):
    """A model ready to run, wherever that is; may be shared between threads.

    Attributes:
        name: the file's name.
        provider: where it really runs, e.g. ``CPUExecutionProvider``.
        inputs: what it takes, in order.
        outputs: what it gives, in order.
        metadata: what the exporter wrote into the file (``metadata_props``).
        best_batch: how many pictures are worth giving to one run, where the file leaves their number free.
    """

    name: str
    provider: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    metadata: Mapping[str, str]
    best_batch: int

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """Runs the model once.

        Args:
            inputs: an array for each input's name, of its shape and type.

        Returns:
            One array for each output, in order; the caller's to keep.

        Raises:
            ModelError: the arrays do not fit; names the model.
            DeviceError: it failed on a GPU, where a full memory or another program may be the cause.
        """


class OnnxSession:
    """A ``Session`` of ONNX Runtime in this process; made by ``open_session``.

    Args:
        name: see ``Session``.
        provider: see ``Session``.
        session: ONNX Runtime's.
        metadata: see ``Session``.
        bound: runs with buffers that stay on the GPU; ``None`` for plain runs.
        number: of the GPU.
    """

    def __init__(
        self,
        name: str,
        provider: str,
        session: Any,
        *,
        metadata: Mapping[str, str] | None = None,
        bound: BoundRuns | None = None,
        number: int = 0,
    ) -> None:
        self.name = name
        self.provider = provider
        self.inputs = tuple(_spec(node) for node in session.get_inputs())
        self.outputs = tuple(_spec(node) for node in session.get_outputs())
        self.metadata: Mapping[str, str] = dict(metadata or {})
        self.best_batch = BATCH_ON_CUDA if provider == CUDA else 1
        self._session = session
        self._bound = bound
        self._device = "cpu" if provider == CPU else f"{_DEVICES.get(provider, 'gpu')}:{number}"

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """Runs the model once; see ``Session.run``."""
        began = time.perf_counter()
        try:
            if self._bound is not None:
                outputs = self._bound.run(inputs)
            else:
                outputs = list(self._session.run(None, dict(inputs)))
        except _RUN_ERRORS as e:
            kind = ModelError if self.provider == CPU else DeviceError
            raise kind(f"'{self.name}' failed on {self.provider}: {_first_line(e)}") from e
        inference_times.observe(self.name, self._device, time.perf_counter() - began)
        return outputs


def open_session(path: ModelPlace, *, device: str = "auto", threads: int = 1, quiet: bool = False) -> Session:
    """Loads an ONNX file, or connects to the server that has the model (then the other arguments say nothing).

    Args:
        path: the file, or the address.
        device: ``auto`` (CUDA where it works, else the CPU), ``cpu``, ``cuda`` or ``cuda:1`` for the second GPU,
            ``tensorrt`` or ``tensorrt:1`` (the first time it builds an engine, for minutes).
        threads: threads of one run. They never spin while idle: at 5 runs a second, spinning costs 5 times the work.
        quiet: ONNX Runtime does not log a failed run, which is an exception anyway; for trying things out.

    Raises:
        ModelError: the file is not a model that ONNX Runtime can load, or a GPU was demanded in vain.
        DeviceError: a GPU that was demanded does not take it now, for its memory is full, say; or a server is away.
        ModelNotFoundError: a server has no such model.
    """
    if isinstance(path, ModelAddress):
        from streamserver.runtime.remote import open_remote  # gRPC, which most tasks never need

        return open_remote(path)
    onnxruntime.set_default_logger_severity(_ONLY_ERRORS)
    options = _options(threads, quiet=quiet)
    folder = _engine_folder(path, options) if device.startswith("tensorrt") else None
    choice = choose_providers(device, engines=folder)
    options.add_session_config_entry(_TELL_NODES, str(int(choice.wants_gpu)))
    with contextlib.nullcontext() if folder is None else alone_in(folder):
        session, choice = _load(path, options, choice, device)
    provider = check_providers(choice, session.get_providers(), device=device, name=path.name)
    bound = None
    if provider != CPU:
        tell_nodes(_count_nodes(session), provider, name=path.name)
        if can_be_bound(session):
            bound = BoundRuns(session, device="cuda", number=choice.number)
    metadata = session.get_modelmeta().custom_metadata_map
    return OnnxSession(path.name, provider, session, metadata=metadata, bound=bound, number=choice.number)


def _load(path: Path, options: Any, choice: ProviderChoice, device: str) -> tuple[Any, ProviderChoice]:
    """ONNX Runtime's session, and what was asked for in the end; it never goes on with another provider than it names.

    What a GPU fails to load and the CPU can is the GPU's fault.
    """
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=list(choice.providers), enable_fallback=0)
    except _RUN_ERRORS as e:
        if not choice.wants_gpu:
            raise ModelError(
                f"'{path}' cannot be loaded: {_first_line(e)}",
                cure="is it a whole ONNX file? 'python -m streamserver.models verify' checks the known ones",
            ) from e
        on_cpu = _load(path, options, ProviderChoice((CPU,), f"{choice.best} failed"), device)
        if device != "auto":
            raise DeviceError(f"'{path.name}' cannot be loaded on {choice.best} now: {_first_line(e)}") from e
        logger.warning("'%s' cannot be loaded on %s now: %s", path.name, choice.best, _first_line(e))
        return on_cpu
    return session, choice


def _engine_folder(path: Path, options: Any) -> Path | None:
    """Where TensorRT keeps the engines of a file; ``None`` for one with free shapes, which CUDA is to run."""
    session, _ = _load(path, options, ProviderChoice((CPU,)), "cpu")
    free = [node.name for node in session.get_inputs() if None in _spec(node).shape]
    if free:
        logger.info("'%s' is not for TensorRT: '%s' has free sides; CUDA is asked for", path.name, free[0])
        return None
    return engine_folder(path)


def _count_nodes(session: Any) -> Counter[tuple[str, str]]:
    """Nodes of the model by the provider that runs them and their kind."""
    parts = session.get_provider_graph_assignment_info()
    return Counter((part.ep_name, node.op_type) for part in parts for node in part.get_nodes())


def _options(threads: int, *, quiet: bool) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = _ONLY_FATAL if quiet else _ONLY_ERRORS
    options.enable_cpu_mem_arena = True
    return options


def _spec(node: Any) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    return TensorSpec(node.name, shape, node.type)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
