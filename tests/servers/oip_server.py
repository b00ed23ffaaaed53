"""A server of the Open Inference Protocol that misbehaves as told: what a Triton does not do on request."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as oip
from tritonclient.grpc.service_pb2_grpc import (
    GRPCInferenceServiceServicer,
    add_GRPCInferenceServiceServicer_to_server,
)

from tests.servers.ports import free_port

Behaviour = Callable[[Any], Any]
"""From a request to what is answered: a response, or a status code to fail with."""

_OPTIONS = (("grpc.so_reuseport", 0),)


def doubled(request: Any) -> Any:
    """What the model ``double`` answers when all is well."""
    x = np.frombuffer(request.raw_input_contents[0], np.float32).reshape(tuple(request.inputs[0].shape))
    return answer((2 * x).tobytes(), tuple(x.shape))


def answer(raw: bytes, shape: Sequence[int], *, datatype: str = "FP32", name: str = "y") -> Any:
    """An answer with one output."""
    response = oip.ModelInferResponse(model_name="double", raw_output_contents=[raw])
    response.outputs.add(name=name, datatype=datatype, shape=shape)
    return response


def late(seconds: float) -> Behaviour:
    """Well, but only after a while."""

    def behave(request: Any) -> Any:
        time.sleep(seconds)
        return doubled(request)

    return behave


class OipServer(GRPCInferenceServiceServicer):  # type: ignore[misc]  # untyped
    """Has the model ``double``: ``x`` [any, 3] to ``y`` [any, 3], both float32; use it with ``with``.

    Args:
        port: of loopback; one that is free unless given.

    Attributes:
        infer: how it answers requests, one after another; the last holds on.
        metadata: the same, for questions about the model.
        headers: what came with the last request.
        inferred: how many requests it has answered well.
    """

    def __init__(self, port: int = 0) -> None:
        self.port = port or free_port()
        self.infer: list[Behaviour | grpc.StatusCode] = [doubled]
        self.metadata: list[Behaviour | grpc.StatusCode] = [told]
        self.headers: dict[str, str] = {}
        self.inferred = 0
        self._server: Any = None

    @property
    def address(self) -> str:
        return f"oip+grpc://127.0.0.1:{self.port}/double"

    def __enter__(self) -> Self:
        self._server = grpc.server(ThreadPoolExecutor(4), options=_OPTIONS)
        add_GRPCInferenceServiceServicer_to_server(self, self._server)
        assert self._server.add_insecure_port(f"127.0.0.1:{self.port}") == self.port
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait()

    def ServerReady(self, request: Any, context: Any) -> Any:
        return oip.ServerReadyResponse(ready=True)

    def ModelConfig(self, request: Any, context: Any) -> Any:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "only a Triton has that")

    def RepositoryIndex(self, request: Any, context: Any) -> Any:
        rows = oip.RepositoryIndexResponse()
        rows.models.add(name="double", state="READY")
        rows.models.add(name="other", state="UNAVAILABLE")
        return rows

    def ModelMetadata(self, request: Any, context: Any) -> Any:
        return self._answer(self.metadata, request, context)

    def ModelInfer(self, request: Any, context: Any) -> Any:
        self.headers = dict(context.invocation_metadata())
        response = self._answer(self.infer, request, context)
        self.inferred += 1
        return response

    def _answer(self, behaviours: list[Behaviour | grpc.StatusCode], request: Any, context: Any) -> Any:
        behaviour = behaviours[0] if len(behaviours) == 1 else behaviours.pop(0)
        if isinstance(behaviour, grpc.StatusCode):
            context.abort(behaviour, f"told to say {behaviour.name}")
        return behaviour(request)


def told(request: Any) -> Any:
    """What the server says of ``double``."""
    metadata = oip.ModelMetadataResponse(name="double", versions=["1"], platform="test")
    metadata.inputs.add(name="x", datatype="FP32", shape=[-1, 3])
    metadata.outputs.add(name="y", datatype="FP32", shape=[-1, 3])
    return metadata
