"""A model on a server of the Open Inference Protocol (Triton and others), as a ``Session`` like any file's.

Imported only where an address is used: gRPC starts threads of its own, so no process that forks may hold it.
"""

from __future__ import annotations

import base64
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # it would write every refused connection to stderr, uncounted
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # nothing forks from a process that has loaded it

import grpc
from tritonclient.grpc import service_pb2 as oip
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from streamserver.core.counters import inference_times
from streamserver.core.errors import DeviceError, ModelError, ModelNotFoundError, StoppedError
from streamserver.core.model_address import ModelAddress
from streamserver.runtime.session import TensorSpec

logger = logging.getLogger(__name__)

BEST_BATCH = 8
"""Pictures in one request where the server does not say how many it takes; it puts those of all tasks together."""

MOST_FAILURES = 5
"""So many answers in a row that the model failed, and the engine ends; the supervisor starts it again."""

UNKNOWN_S = 15.0
"""How long a server that is up may say that it has no such model: after its own start it loads them one by one."""

LARGEST_ANSWER_BYTES = 256_000_000

_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0

_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", LARGEST_ANSWER_BYTES),
    ("grpc.use_local_subchannel_pool", 1),  # a new channel is a new connection: the old one may be dead and not know it
    ("grpc.keepalive_time_ms", 310_000),  # a Triton takes a ping every 5 minutes and hangs up on who sends more
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)

_TYPES: Mapping[str, tuple[str, type[np.generic], str]] = {
    "FP16": ("tensor(float16)", np.float16, ""),
    "FP32": ("tensor(float)", np.float32, "fp32_contents"),
    "FP64": ("tensor(double)", np.float64, "fp64_contents"),
    "UINT8": ("tensor(uint8)", np.uint8, "uint_contents"),
    "UINT16": ("tensor(uint16)", np.uint16, "uint_contents"),
    "UINT32": ("tensor(uint32)", np.uint32, "uint_contents"),
    "UINT64": ("tensor(uint64)", np.uint64, "uint64_contents"),
    "INT8": ("tensor(int8)", np.int8, "int_contents"),
    "INT16": ("tensor(int16)", np.int16, "int_contents"),
    "INT32": ("tensor(int32)", np.int32, "int_contents"),
    "INT64": ("tensor(int64)", np.int64, "int64_contents"),
    "BOOL": ("tensor(bool)", np.bool_, "bool_contents"),
}
"""By the protocol's name: ONNX Runtime's, NumPy's, and the field of an answer that does not come as raw bytes."""

_AWAY = {
    grpc.StatusCode.UNAVAILABLE: "it is not to be reached, or not ready",
    grpc.StatusCode.DEADLINE_EXCEEDED: "it does not answer in time",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "it has too much to do",
    grpc.StatusCode.NOT_FOUND: "it has no such model",
    grpc.StatusCode.CANCELLED: "it broke off",
    grpc.StatusCode.ABORTED: "it broke off",
}
"""What passes when the server is well again."""

_FAILED = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS)
"""What may be the model's own fault, a full memory, or a proxy's way to say that the server is away."""

_TOO_LARGE = "larger than max"


class RemoteSession:
    """A ``Session`` on a server; made by ``open_remote``, may be shared between threads.

    Where the server is away, too busy or too slow, ``run`` tries again as long as the address's ``waiting`` waits.

    Args:
        address: the model's.

    Raises:
        ModelNotFoundError, ModelError, DeviceError, StoppedError: as ``open_remote``.
    """

    def __init__(self, address: ModelAddress) -> None:
        self.name = address.name
        self.provider = address.server
        self._address = address
        self._headers = _headers(address)
        self._lock = threading.Lock()
        self._channel: Any = None
        self._stub = self._connect()
        told = self._patiently(self._ask_metadata, opening=True)
        config = self._ask_config()
        self.inputs = tuple(_spec(tensor, self) for tensor in told.inputs)
        self.outputs = tuple(_spec(tensor, self) for tensor in told.outputs)
        parameters = {} if config is None else config.parameters
        self.metadata: Mapping[str, str] = {key: parameters[key].string_value for key in parameters}
        self._most_batch = 0 if config is None else config.max_batch_size
        self.best_batch = min(BEST_BATCH, self._most_batch or BEST_BATCH)

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """Runs the model once; see ``Session.run``.

        Raises:
            ModelError: the arrays do not fit, or the answer does not; names the model and what came.
            DeviceError: the model fails on the server time and again, or it is away and nothing waits for it.
            StoppedError: the process is to end while the server is away.
        """
        most = self._most_batch
        count = max((len(array) for array in inputs.values() if array.ndim), default=0)
        if most == 0 or count <= most:
            return self._run_once(inputs)
        rows = [slice(i, i + most) for i in range(0, count, most)]
        runs = [self._run_once({name: array[part] for name, array in inputs.items()}) for part in rows]
        return [np.concatenate(parts) for parts in zip(*runs, strict=True)]

    def _run_once(self, inputs: Mapping[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        request = self._request(inputs)
        answer = self._patiently(lambda: self._infer(request))
        outputs = [self._output(answer, spec) for spec in self.outputs]
        count = request.inputs[0].shape[0]
        for spec, output in zip(self.outputs, outputs, strict=True):
            if self._most_batch and len(output) != count:
                raise ModelError(f"'{self._address}': output '{spec.name}' has {len(output)} rows for {count} pictures")
        return outputs

    def _infer(self, request: Any) -> Any:
        began = time.perf_counter()
        answer = self._stub.ModelInfer(request, **self._call)
        inference_times.observe(self.name, "remote", time.perf_counter() - began)
        return answer

    def close(self) -> None:
        """Hangs up; a session that is forgotten does so too."""
        self._channel.close()

    @property
    def _call(self) -> dict[str, Any]:
        return {"timeout": self._address.timeout_s, "metadata": self._headers}

    def _connect(self) -> Any:
        address = self._address
        if address.secure:
            self._channel = grpc.secure_channel(address.target, grpc.ssl_channel_credentials(), _OPTIONS)
        else:
            self._channel = grpc.insecure_channel(address.target, _OPTIONS)
        return GRPCInferenceServiceStub(self._channel)

    def _reconnect(self, failed: Any) -> None:
        """A new connection in place of the one that failed; one, however many threads it failed."""
        with self._lock:
            if self._stub is failed:
                old = self._channel
                self._stub = self._connect()
                old.close()

    def _patiently(self, ask: Callable[[], Any], *, opening: bool = False) -> Any:
        """What the server answers, sooner or later."""
        tries = failures = 0
        unknown_since: float | None = None
        while True:
            stub = self._stub
            try:
                answer = ask()
            except grpc.RpcError as e:
                reason = self._judge(e)
                failures += e.code() in _FAILED
                absent = opening and e.code() is grpc.StatusCode.NOT_FOUND
                unknown_since = (unknown_since or time.monotonic()) if absent else None
                if unknown_since is not None and (self._gives_up(unknown_since)):
                    raise ModelNotFoundError(
                        f"'{self._address}': the server has no such model", cure=self._offers()
                    ) from e
                if failures >= MOST_FAILURES or self._address.waiting is None:
                    raise DeviceError(f"'{self._address}': {reason}: {_first_line(e)}") from e
                self._pause(reason, tries, e)
                if e.code() in _AWAY and e.code() is not grpc.StatusCode.NOT_FOUND:
                    self._reconnect(stub)
                tries += 1
            else:
                if tries and self._address.waiting is not None:
                    logger.info("'%s' answers again", self._address)
                    self._address.waiting.over(f"{self.name} on {self.provider}")
                return answer

    def _judge(self, error: Any) -> str:
        """Why to wait, always in the same words; raises ``ModelError`` where waiting does not help."""
        code = error.code()
        if code in _FAILED:
            return "the model fails there"
        if code not in _AWAY or _TOO_LARGE in (error.details() or ""):
            raise ModelError(
                f"'{self._address}': the server refuses: {code.name}: {_first_line(error)}",
                cure=f"'python -m streamserver.models inspect {self._address}' says what it takes",
            ) from error
        late = code is grpc.StatusCode.DEADLINE_EXCEEDED
        return f"{_AWAY[code]} ({self._address.timeout_s:g} s, remote_timeout_s)" if late else _AWAY[code]

    def _pause(self, reason: str, tries: int, error: Any) -> None:
        if tries == 0:
            logger.warning("'%s': %s: %s", self._address, reason, _first_line(error))
        longest = min(_LONGEST_PAUSE_S, _SHORTEST_PAUSE_S * 2.0 ** min(tries, 10))
        assert self._address.waiting is not None
        if not self._address.waiting.wait(reason, longest * random.uniform(0.5, 1.0)):
            raise StoppedError(f"'{self._address}' was waited for when the process was to end")

    def _gives_up(self, unknown_since: float) -> bool:
        """Whether a model that the server does not know will not come: the server has loaded all it has, for long."""
        if self._address.waiting is None:
            return True
        try:
            ready = self._stub.ServerReady(oip.ServerReadyRequest(), **self._call).ready
        except grpc.RpcError:
            return False
        return ready and time.monotonic() - unknown_since > UNKNOWN_S

    def _offers(self) -> str:
        """Which models the server has, where it says so, which is Triton's extension."""
        try:
            index = self._stub.RepositoryIndex(oip.RepositoryIndexRequest(), **self._call)
        except grpc.RpcError:
            return "load it there, or mend the name in model_path"
        rows = [f"{row.name}{f' ({row.state.lower()})' if row.state != 'READY' else ''}" for row in index.models]
        return f"it offers {', '.join(sorted(set(rows))) or 'none'}"

    def _ask_metadata(self) -> Any:
        request = oip.ModelMetadataRequest(name=self._address.model, version=self._address.version)
        return self._stub.ModelMetadata(request, **self._call)

    def _ask_config(self) -> Any:
        """Triton's extension: how many pictures a request may have, and free parameters; ``None`` of other servers."""
        try:
            request = oip.ModelConfigRequest(name=self._address.model, version=self._address.version)
            return self._stub.ModelConfig(request, **self._call).config
        except grpc.RpcError as e:
            logger.debug("'%s' does not tell its configuration: %s", self._address, _first_line(e))
            return None

    def _request(self, inputs: Mapping[str, npt.NDArray[Any]]) -> Any:
        request = oip.ModelInferRequest(model_name=self._address.model, model_version=self._address.version)
        for spec in self.inputs:
            array = inputs.get(spec.name)
            if array is None or _onnx_type(array.dtype) != spec.dtype or not _fits(array.shape, spec.shape):
                came = "nothing" if array is None else f"{list(array.shape)} of {array.dtype}"
                raise ModelError(f"'{self._address}': input '{spec.name}' is {_in_words(spec)}, got {came}")
            tensor = request.inputs.add(name=spec.name, datatype=_oip_type(spec.dtype))
            tensor.shape.extend(array.shape)
            request.raw_input_contents.append(array.tobytes())
        return request

    def _output(self, answer: Any, spec: TensorSpec) -> npt.NDArray[Any]:
        """One output as an array of its own; raises ``ModelError`` for one that is not what the server promised."""
        position = next((i for i, output in enumerate(answer.outputs) if output.name == spec.name), None)
        if position is None:
            names = ", ".join(output.name for output in answer.outputs) or "nothing"
            raise ModelError(f"'{self._address}': expected the output '{spec.name}', got {names}")
        output = answer.outputs[position]
        _, dtype, typed = _TYPES.get(output.datatype, ("", np.void, ""))
        shape = tuple(output.shape)
        came = f"{list(shape)} of {output.datatype}"
        if _TYPES.get(output.datatype, ("",))[0] != spec.dtype or not _fits(shape, spec.shape):
            raise ModelError(f"'{self._address}': output '{spec.name}' is {_in_words(spec)}, got {came}")
        raw = position < len(answer.raw_output_contents)
        try:
            if raw:
                return np.frombuffer(answer.raw_output_contents[position], dtype).reshape(shape).copy()
            return np.array(getattr(output.contents, typed), dtype).reshape(shape)
        except (ValueError, AttributeError) as e:
            size = len(answer.raw_output_contents[position]) if raw else 0
            raise ModelError(f"'{self._address}': output '{spec.name}' is {came}, but has {size} bytes") from e


def open_remote(address: ModelAddress) -> RemoteSession:
    """Asks a server about a model.

    Raises:
        ModelNotFoundError: the server has no such model; says which it has, if it tells.
        ModelError: the server refuses the request, or the model has a type that none of ours has.
        DeviceError: the server is away, and nothing waits for it.
        StoppedError: the process is to end while the server is away.
    """
    session = RemoteSession(address)
    batch = f"up to {session.best_batch} pictures a request"
    logger.info("'%s' runs on %s, %s", session.name, session.provider, batch)
    if not address.secure and address.password:
        logger.warning("'%s': the password goes over the network in clear; oip+grpcs:// is with TLS", address)
    return session


def _headers(address: ModelAddress) -> tuple[tuple[str, str], ...]:
    if not address.user and not address.password:
        return ()
    if not address.user:
        return (("authorization", f"Bearer {address.password}"),)
    pair = base64.b64encode(f"{address.user}:{address.password}".encode()).decode()
    return (("authorization", f"Basic {pair}"),)


def _spec(tensor: Any, session: RemoteSession) -> TensorSpec:
    if tensor.datatype not in _TYPES:
        raise ModelError(
            f"'{session.name}' on {session.provider}: '{tensor.name}' is of {tensor.datatype}, which no network here "
            f"takes or gives; expected one of {', '.join(_TYPES)}"
        )
    shape = tuple(side if side >= 0 else None for side in tensor.shape)
    return TensorSpec(tensor.name, shape, _TYPES[tensor.datatype][0])


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    if len(shape) != len(wanted):
        return False
    return all(a >= 0 if b is None else a == b for a, b in zip(shape, wanted, strict=True))


def _onnx_type(dtype: npt.DTypeLike) -> str:
    return next((onnx for onnx, kind, _ in _TYPES.values() if np.dtype(kind) == dtype), "")


def _oip_type(onnx_type: str) -> str:
    return next(name for name, row in _TYPES.items() if row[0] == onnx_type)


def _in_words(spec: TensorSpec) -> str:
    sides = ", ".join("any" if side is None else str(side) for side in spec.shape)
    return f"[{sides}] of {_oip_type(spec.dtype)}"


def _first_line(error: Any) -> str:
    return str(error.details() or error.code().name).strip().partition("\n")[0]
