"""Models on a real Triton, which is killed, frozen and made to fail: as sessions, and for tasks of a real server."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest

from streamserver.core.errors import DeviceError, ModelError, ModelNotFoundError
from streamserver.core.model_address import ModelAddress
from streamserver.core.settings import Settings
from streamserver.models.inspect import inspect
from streamserver.models.store import ModelStore
from streamserver.runtime.session import Session, TensorSpec, open_session
from tests import assets
from tests.e2e.harness import Ledger, Server, ledger, server, task, wait_for
from tests.e2e.test_as_a_user import copy_project
from tests.runtime.test_remote import Patience
from tests.servers.triton import TritonServer

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def first_triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    with TritonServer(tmp_path_factory.mktemp("triton"), assets.model("yolox_nano.onnx")) as one:
        yield one


@pytest.fixture
def triton(first_triton: TritonServer) -> TritonServer:
    first_triton.revive()
    return first_triton


def connect(
    triton: TritonServer, patience: Patience | None = None, *, model: str = "double", timeout_s: float = 30.0
) -> Session:
    address = ModelAddress.from_text(triton.address(model))
    return open_session(dataclasses.replace(address, timeout_s=timeout_s, waiting=patience))


@pytest.mark.parametrize(
    ("model", "onnx", "dtype"),
    [("double", "float", np.float32), ("half", "float16", np.float16)],
    ids=["float32", "float16"],
)
def test_models_tell_what_they_take_and_run(triton: TritonServer, model: str, onnx: str, dtype: npt.DTypeLike) -> None:
    session = connect(triton, model=model)
    assert session.inputs == (TensorSpec("x", (None, 3), f"tensor({onnx})"),)
    assert session.best_batch == 8
    x = np.arange(60, dtype=dtype).reshape(20, 3)  # more than the server takes in one request
    (doubles,) = session.run({"x": x})
    np.testing.assert_array_equal(doubles, 2 * x)
    assert doubles.dtype == dtype


def test_it_is_inspected_like_a_file(triton: TritonServer) -> None:
    report = inspect(ModelStore(Settings()), triton.address("yolox"))
    assert report.suggestions[0].element == "yolox"
    assert report.element_file(report.suggestions[0])["configure"]["model_path"] == triton.address("yolox")
    assert "input     images [any, 3, 416, 416] float32" in report.to_text()


@pytest.mark.parametrize("model", ["triple", "double/versions/7"])
def test_what_it_does_not_have_is_not_found(triton: TritonServer, model: str) -> None:
    with pytest.raises(ModelNotFoundError, match="the server has no such model"):
        connect(triton, model=model)


def test_a_model_that_raises_and_one_that_changes_are_told_apart(triton: TritonServer) -> None:
    session = connect(triton, Patience())
    x = np.ones((1, 3), np.float32)
    try:
        triton.mode("raise")
        with pytest.raises(DeviceError, match="the model fails there"):
            session.run({"x": x})
        triton.mode("shape")
        with pytest.raises(ModelError, match=r"output 'y' is \[any, 3\] of FP32, got \[1, 7\] of FP32"):
            session.run({"x": x})
    finally:
        triton.mode("well")
    assert session.run({"x": x})[0].tolist() == [[2, 2, 2]]


def test_a_server_that_freezes_costs_no_frame(triton: TritonServer) -> None:
    patience = Patience()
    session = connect(triton, patience, timeout_s=1.0)
    patience.reasons.clear()
    triton.freeze()
    with ThreadPoolExecutor(1) as thread:
        try:
            answers = thread.submit(lambda: [session.run({"x": np.full((1, 3), i, np.float32)}) for i in range(5)])
            wait_for(lambda: patience.reasons, "it is waited for")
        finally:
            triton.thaw()
        wait_for_answers(answers, triton)
        assert [float(one[0][0, 0]) for one in answers.result()] == [0, 2, 4, 6, 8]
    assert patience.reasons[0].startswith("it does not answer in time")


def test_tasks_get_the_same_alarms_from_it_and_lose_none_while_it_is_away(triton: TritonServer, tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    environment = {"STREAMSERVER_MODELS": str(triton.weights.parent)}
    with ledger() as receiver, server(tmp_path / "state", project=project, environment=environment) as one:
        clip = beginning(assets.clip("one-by-one-person-detection.mp4"), tmp_path / "clip.mp4", frames=500)
        expected = alarms_of(one, receiver, "file", clip)
        assert len(expected) == 2
        element = project / "samples" / "tripwire" / "config" / "yolox_group.json"
        content = json.loads(element.read_text())
        content["configure"]["model_path"] = triton.address("yolox")
        element.write_text(json.dumps(content))
        triton.mode("slow")
        with ThreadPoolExecutor(1) as thread:
            try:
                alarms = thread.submit(alarms_of, one, receiver, "remote", clip)
                restart_in_mid_run(triton, one, "remote")  # here: a server dies with the thread that started it
                wait_for_answers(alarms, triton)
                assert alarms.result() == expected
            finally:
                triton.mode("well")
        status = one.query("remote")
        assert (status["Detector"], status["Restarts"]) == (f"yolox on oip+grpc://127.0.0.1:{triton.port}", 0)


def wait_for_answers(answers: Future[Any], triton: TritonServer) -> None:
    """Waits for them; a Triton that crashes by itself, as it does now and then when it was frozen, comes back."""

    def are_there() -> bool:
        triton.revive()
        return answers.done()

    wait_for(are_there, "the answers", triton.said)


def beginning(source: Path, target: Path, *, frames: int) -> Path:
    """The first so many pictures of a clip, as they are."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in itertools.islice(old.demux(old.streams.video[0]), frames):
            packet.stream = stream
            new.mux(packet)
    return target


def alarms_of(one: Server, receiver: Ledger, task_id: str, clip: Path) -> list[Any]:
    """What a task reports of the clip until it has ended."""
    body = task(task_id, str(clip), receiver.url, line=(580, 0, 580, 431), interval=5, extend={"Fps": -1})
    assert one.create(body) == {"Code": 0, "Msg": "success"}
    events = one.wait_finished(task_id)["Events"]
    reports = receiver.reports(task_id)
    assert len(reports) == events, receiver.counts()
    return sorted([r["FrameIndex"], [event["Box"] for event in r["AnalyzeEvents"]]] for r in reports)


def restart_in_mid_run(triton: TritonServer, one: Server, task_id: str) -> None:
    """Kills the server at work, and starts it again once the task says that it waits."""
    wait_for(lambda: one.query(task_id).get("Frames", 0) > 5, "frames are processed", lambda: one.query(task_id))
    triton.stop()
    waits = f"waiting for {triton.address('yolox')}: it is not to be reached, or not ready"
    wait_for(lambda: one.query(task_id).get("Detector") == waits, "it waits", lambda: one.query(task_id))
    triton.mode("well")
    triton.start()
