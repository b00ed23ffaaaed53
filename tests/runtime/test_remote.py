"""Sessions on a server of the protocol that misbehaves: what they wait for, what they give up, what they say."""

from __future__ import annotations

import dataclasses
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as oip

from streamserver.core.errors import DeviceError, ModelError, ModelNotFoundError, StoppedError
from streamserver.core.model_address import ModelAddress
from streamserver.core.settings import PROJECT_DIR
from streamserver.runtime import remote
from streamserver.runtime.session import Session, TensorSpec, open_session
from tests.servers.oip_server import Behaviour, OipServer, answer, doubled, late, told
from tests.servers.ports import free_port

X = np.array([[1, 2, 3], [4, 5, 6]], np.float32)

Code = grpc.StatusCode


class Patience:
    """Waits, hardly, and keeps what it is told; ``most`` times at most."""

    def __init__(self, most: int = 10_000) -> None:
        self.most = most
        self.reasons: list[str] = []
        self.running: list[str] = []

    def wait(self, reason: str, pause_s: float) -> bool:
        self.reasons.append(reason)
        threading.Event().wait(min(pause_s, 0.02))
        return len(self.reasons) < self.most

    def over(self, running: str) -> None:
        self.running.append(running)


@pytest.fixture
def server() -> Iterator[OipServer]:
    with OipServer() as one:
        yield one


@pytest.fixture
def patience() -> Patience:
    return Patience()


def connect(
    server: OipServer, patience: Patience | None = None, *, timeout_s: float = 30.0, login: str = ""
) -> Session:
    address = ModelAddress.from_text(server.address.replace("://", f"://{login}"))
    return open_session(dataclasses.replace(address, timeout_s=timeout_s, waiting=patience))  # type: ignore[arg-type]


def test_it_is_a_session_like_any_files(server: OipServer) -> None:
    session = connect(server)
    assert session.inputs == (TensorSpec("x", (None, 3), "tensor(float)"),)
    assert session.outputs == (TensorSpec("y", (None, 3), "tensor(float)"),)
    assert (session.name, session.provider) == ("double", f"oip+grpc://127.0.0.1:{server.port}")
    (doubles,) = session.run({"x": X})
    np.testing.assert_array_equal(doubles, 2 * X)
    doubles += 1  # the caller's to keep


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (Code.UNAVAILABLE, "it is not to be reached, or not ready"),
        (Code.RESOURCE_EXHAUSTED, "it has too much to do"),
        (Code.NOT_FOUND, "it has no such model"),
        (Code.ABORTED, "it broke off"),
        (Code.CANCELLED, "it broke off"),
        (Code.INTERNAL, "the model fails there"),
        (Code.UNKNOWN, "the model fails there"),
        (late(2.0), "it does not answer in time (1 s, remote_timeout_s)"),
    ],
    ids=["unavailable", "exhausted", "unloaded", "aborted", "cancelled", "internal", "unknown", "late"],
)
def test_what_passes_is_waited_for_and_the_same_frame_sent_again(
    server: OipServer, patience: Patience, trouble: Behaviour | Code, reason: str
) -> None:
    session = connect(server, patience, timeout_s=1.0 if callable(trouble) else 30.0)
    server.infer = [trouble, trouble, doubled]
    np.testing.assert_array_equal(session.run({"x": X})[0], 2 * X)
    assert patience.reasons[:2] == [reason, reason]
    assert patience.running == [f"double on oip+grpc://127.0.0.1:{server.port}"]


@pytest.mark.parametrize("trouble", [Code.UNAVAILABLE, Code.INTERNAL, Code.NOT_FOUND])
def test_where_nothing_waits_it_is_an_error_at_once(server: OipServer, trouble: Code) -> None:
    session = connect(server)
    server.infer = [trouble]
    with pytest.raises(DeviceError, match=f"/double': it .*: told to say {trouble.name}|the model fails there: told"):
        session.run({"x": X})


def test_a_model_that_fails_time_and_again_ends_the_engine(server: OipServer, patience: Patience) -> None:
    session = connect(server, patience)
    server.infer = [Code.INTERNAL]
    with pytest.raises(DeviceError, match="the model fails there: told to say INTERNAL"):
        session.run({"x": X})
    assert len(patience.reasons) == remote.MOST_FAILURES - 1


@pytest.mark.parametrize(
    "code", [Code.INVALID_ARGUMENT, Code.UNIMPLEMENTED, Code.UNAUTHENTICATED, Code.PERMISSION_DENIED]
)
def test_a_refusal_is_not_waited_for(server: OipServer, patience: Patience, code: Code) -> None:
    session = connect(server, patience)
    server.infer = [code]
    with pytest.raises(ModelError, match=f"the server refuses: {code.name}: told to say"):
        session.run({"x": X})
    assert patience.reasons == []


def empty(_: Any) -> Any:
    return oip.ModelInferResponse()


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (lambda _: answer(bytes(28), (1, 7)), r"output 'y' is \[any, 3\] of FP32, got \[1, 7\] of FP32"),
        (lambda _: answer(bytes(12), (3,)), r"output 'y' is \[any, 3\] of FP32, got \[3\] of FP32"),
        (lambda _: answer(bytes(24), (1, 3), datatype="FP64"), r"got \[1, 3\] of FP64"),
        (lambda _: answer(bytes(24), (1, 3), datatype="BYTES"), r"got \[1, 3\] of BYTES"),
        (lambda _: answer(bytes(24), (1, 3), datatype="nonsense"), r"got \[1, 3\] of nonsense"),
        (lambda _: answer(bytes(5), (2, 3)), r"is \[2, 3\] of FP32, but has 5 bytes"),
        (lambda _: answer(bytes(24), (-2, 3)), r"got \[-2, 3\] of FP32"),
        (lambda _: answer(bytes(24), (2, 3), name="z"), "expected the output 'y', got z"),
        (empty, "expected the output 'y', got nothing"),
    ],
    ids=["sides", "rank", "double", "text", "nonsense", "short", "negative", "name", "empty"],
)
def test_an_answer_that_is_not_what_was_promised_names_what_came(
    server: OipServer, patience: Patience, wrong: Behaviour, problem: str
) -> None:
    session = connect(server, patience)
    server.infer = [wrong]
    with pytest.raises(ModelError, match=problem):
        session.run({"x": X})


def test_an_answer_may_come_as_numbers_too(server: OipServer) -> None:
    def as_numbers(_: Any) -> Any:
        response = oip.ModelInferResponse()
        output = response.outputs.add(name="y", datatype="FP32", shape=[1, 3])
        output.contents.fp32_contents.extend([7, 8, 9])
        return response

    session = connect(server)
    server.infer = [as_numbers]
    assert session.run({"x": X[:1]})[0].tolist() == [[7, 8, 9]]


def test_an_answer_that_is_too_large_is_an_error(server: OipServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_OPTIONS", (("grpc.max_receive_message_length", 100_000),))
    session = connect(server, Patience())
    server.infer = [lambda _: answer(bytes(1_200_000), (100_000, 3))]
    with pytest.raises(ModelError, match="larger than max"):
        session.run({"x": X})


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        ({}, r"input 'x' is \[any, 3\] of FP32, got nothing"),
        ({"x": X.astype(np.float64)}, r"got \[2, 3\] of float64"),
        ({"x": X[:, :2]}, r"got \[2, 2\] of float32"),
    ],
    ids=["none", "type", "shape"],
)
def test_arrays_that_do_not_fit_are_not_sent(server: OipServer, inputs: dict[str, Any], problem: str) -> None:
    session = connect(server)
    with pytest.raises(ModelError, match=problem):
        session.run(inputs)
    assert server.inferred == 0


def test_a_restarted_server_is_found_again_by_all_threads(patience: Patience) -> None:
    with OipServer() as first:
        session = connect(first, patience)
        session.run({"x": X})
    with ThreadPoolExecutor(4) as threads:
        answers = [threads.submit(session.run, {"x": X + i}) for i in range(4)]
        while len(patience.reasons) < 8:
            threading.Event().wait(0.01)
        with OipServer(first.port) as second:
            for i, doubles in enumerate(answers):
                np.testing.assert_array_equal(doubles.result(60)[0], 2 * (X + i))
            assert second.inferred == 4


def test_a_server_that_is_away_at_the_start_is_waited_for(patience: Patience) -> None:
    absent = OipServer()
    with ThreadPoolExecutor(1) as thread:
        opened = thread.submit(connect, absent, patience)
        while len(patience.reasons) < 3:
            threading.Event().wait(0.01)
        with absent:
            assert opened.result(60).name == "double"
    assert set(patience.reasons) == {"it is not to be reached, or not ready"}


def test_the_wait_ends_with_the_process() -> None:
    with pytest.raises(StoppedError):
        connect(OipServer(), Patience(3))


def test_a_model_that_comes_a_little_later_is_waited_for(server: OipServer, patience: Patience) -> None:
    server.metadata = [Code.NOT_FOUND, Code.NOT_FOUND, told]
    assert connect(server, patience).name == "double"


@pytest.mark.parametrize("patient", [True, False], ids=["after a while", "at once"])
def test_a_model_that_does_not_come_is_not_found(
    server: OipServer, patience: Patience, patient: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "UNKNOWN_S", 0.2)
    server.metadata = [Code.NOT_FOUND]
    with pytest.raises(ModelNotFoundError, match=r"no such model; it offers double, other \(unavailable\)"):
        connect(server, patience if patient else None)
    assert bool(patience.reasons) == patient


def test_types_that_no_network_takes_are_refused(server: OipServer) -> None:
    def of_text(request: Any) -> Any:
        metadata = told(request)
        metadata.outputs.add(name="words", datatype="BYTES", shape=[-1])
        return metadata

    server.metadata = [of_text]
    with pytest.raises(ModelError, match="'words' is of BYTES, which no network here takes or gives"):
        connect(server)


@pytest.mark.parametrize(
    ("login", "header"),
    [("eve:s3cr3t%2F@", "Basic ZXZlOnMzY3IzdC8="), (":t0ken@", "Bearer t0ken"), ("", None)],
    ids=["password", "token", "nobody"],
)
def test_who_asks_is_told_to_the_server(server: OipServer, login: str, header: str | None) -> None:
    connect(server, login=login).run({"x": X})
    assert server.headers.get("authorization") == header


@pytest.mark.parametrize("garbage", [b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes(range(256)) * 4], ids=["http", "noise"])
def test_garbage_at_the_port_is_a_server_that_is_not_ready(garbage: bytes) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as listener:
        port = listener.getsockname()[1]

        def talk() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(garbage)

        thread = threading.Thread(target=talk)
        thread.start()
        try:
            with pytest.raises(DeviceError, match=f"'oip\\+grpc://127.0.0.1:{port}/m': "):
                open_session(ModelAddress(host="127.0.0.1", port=port, model="m"))
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_tls_is_asked_for(server: OipServer) -> None:
    with pytest.raises(DeviceError, match=r"oip\+grpcs://"):
        open_session(ModelAddress.from_text(server.address.replace("grpc:", "grpcs:")))


def test_nothing_is_left_when_a_session_goes(server: OipServer) -> None:
    connect(server).run({"x": X})
    before = set(threading.enumerate())
    session = connect(server, Patience())
    server.infer = [Code.UNAVAILABLE, doubled]
    session.run({"x": X})
    del session

    def own() -> set[threading.Thread]:
        return {thread for thread in set(threading.enumerate()) - before if "ThreadPool" not in thread.name}

    for _ in range(3000):  # those of grpc end when they have heard of it
        if not own():
            break
        threading.Event().wait(0.02)
    assert not own()


def test_grpc_is_loaded_only_by_who_uses_it() -> None:
    code = (
        "import sys, pkgutil, importlib, streamserver, streamserver.worker.app, streamserver.elements as e, "
        "streamserver.business.process, streamserver.models.inspect as i, server\n"
        "[e.element_class(name) for name in e.available()]; list(i.families())\n"
        "print(sorted({'grpc', 'tritonclient', 'google.protobuf'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_DIR, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
