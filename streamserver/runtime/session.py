"""One loaded ONNX model: opened with the settings that measured best, run with arrays, always saying where it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as _state

from streamserver.core.errors import DeviceError, ModelError
from streamserver.runtime.providers import CPU, check_providers, choose_providers

_RUNTIME_ERRORS: tuple[type[Exception], ...] = tuple(
    kind for kind in vars(_state).values() if isinstance(kind, type) and issubclass(kind, Exception)
)
"""ONNX Runtime's exceptions, which have no common parent."""

_RUN_ERRORS: tuple[type[Exception], ...] = (*_RUNTIME_ERRORS, ValueError)
"""Those, and what its Python layer raises for a missing input."""

_ONLY_ERRORS = 3
"""Log severity: models that list initialisers as inputs would print hundreds of warnings while loading."""

_ONLY_FATAL = 4


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a model; ``shape`` holds ``None`` where the size is free."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


class Session:
    """A model ready to run; made by ``open_session``.

    Attributes:
        name: the file's name.
        provider: where it really runs, e.g. ``CPUExecutionProvider``.
        inputs: what it takes, in order.
        outputs: what it gives, in order.
        metadata: what the exporter wrote into the file (``metadata_props``).
    """

    def __init__(self, name: str, provider: str, session: Any, *, metadata: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.provider = provider
        self.inputs = tuple(_spec(node) for node in session.get_inputs())
        self.outputs = tuple(_spec(node) for node in session.get_outputs())
        self.metadata: Mapping[str, str] = dict(metadata or {})
        self._session = session

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
        try:
            return list(self._session.run(None, dict(inputs)))
        except _RUN_ERRORS as e:
            kind = ModelError if self.provider == CPU else DeviceError
            raise kind(f"'{self.name}' failed on {self.provider}: {_first_line(e)}") from e


def open_session(path: Path, *, device: str = "auto", threads: int = 1, quiet: bool = False) -> Session:
    """Loads an ONNX file.

    Args:
        path: the file.
        device: ``auto`` (CUDA where it works, else the CPU), ``cpu``, ``cuda`` or ``cuda:1`` for the second GPU.
        threads: threads of one run. They never spin while idle: at 5 runs a second, spinning costs 5 times the work.
        quiet: ONNX Runtime does not log a failed run, which is an exception anyway; for trying things out.

    Raises:
        ModelError: the file is not a model that ONNX Runtime can load, or ``cuda`` was demanded in vain.
    """
    choice = choose_providers(device)
    onnxruntime.set_default_logger_severity(_ONLY_ERRORS)
    try:
        session = onnxruntime.InferenceSession(
            str(path), _options(threads, quiet=quiet), providers=list(choice.providers)
        )
    except _RUNTIME_ERRORS as e:
        raise ModelError(
            f"'{path}' cannot be loaded: {_first_line(e)}",
            cure="is it a whole ONNX file? 'python -m streamserver.models verify' checks the known ones",
        ) from e
    session.disable_fallback()  # it would go on with another provider than the one that we report
    provider = check_providers(choice, session.get_providers(), device=device, name=path.name)
    metadata = session.get_modelmeta().custom_metadata_map
    return Session(path.name, provider, session, metadata=metadata)


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
