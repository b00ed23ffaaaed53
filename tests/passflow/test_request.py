from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from passflow.counter import CustomerCounter
from passflow.replies import Code, Refusal
from passflow.request import Request, read_request
from streamserver.runtime.providers import cuda_device_count

SQUARE = [(0, 0), (100, 0), (100, 100), (0, 100)]


def read(video: Any = "a.mp4", region: Any = None, device: Any = "cpu", gpu_id: Any = 0) -> Request:
    return read_request(video, region, device, gpu_id)


def code_of(**arguments: Any) -> Code:
    with pytest.raises(Refusal) as caught:
        read(**arguments)
    return caught.value.code


@pytest.mark.parametrize(
    ("video", "code"),
    [
        (None, Code.PARAMETER_NULL),
        ("", Code.PARAMETER_NULL),
        ("  ", Code.PARAMETER_NULL),
        (7, Code.FORMAT),
        (b"a.mp4", Code.FORMAT),
        ([], Code.FORMAT),
        ("a.wmv", Code.FORMAT),
        ("a", Code.FORMAT),
        ("mp4", Code.FORMAT),
        (".mp4", Code.FORMAT),
        ("http://h/a.mp4", Code.FORMAT),
        ("https://h/a.mp4", Code.FORMAT),
        ("udp://@:9", Code.FORMAT),
        ("gb28181://h", Code.FORMAT),
        ("file:///a.mp4", Code.FORMAT),
        ("://a.mp4", Code.FORMAT),
    ],
    ids=repr,
)
def test_a_video_that_cannot_be_meant_is_refused(video: object, code: Code) -> None:
    assert code_of(video=video) == code


@pytest.mark.parametrize(
    ("video", "kind"),
    [
        ("a.mp4", "VIDEO"),
        ("/b/A.MKV", "VIDEO"),
        ("c.d.mov", "VIDEO"),
        ("e.Avi", "VIDEO"),
        ("rtsp://h/1", "RTSP"),
        ("RTSP://u:p@h/a.wmv", "RTSP"),
        ("rtmp://h/live/1", "RTMP"),
    ],
)
def test_files_are_known_by_their_ending_and_streams_by_their_protocol(video: str, kind: str) -> None:
    request = read(video)
    assert (request.address, request.source_type, request.is_live) == (video, kind, kind != "VIDEO")


def test_a_path_may_be_a_path() -> None:
    assert read(Path("/a/b.mp4")).address == "/a/b.mp4"


@pytest.mark.parametrize(
    "region",
    [
        pytest.param([], id="empty"),
        pytest.param((), id="empty tuple"),
        pytest.param(np.zeros((0, 4, 2), int), id="empty array"),
        pytest.param("0,0 9,0 9,9", id="text"),
        pytest.param(5, id="number"),
        pytest.param(True, id="bool"),
        pytest.param({0: SQUARE}, id="dict"),
        pytest.param(iter([SQUARE]), id="iterator"),
        pytest.param(SQUARE, id="polygon without its list"),
        pytest.param([0, 0, 9, 0, 9, 9], id="flat"),
        pytest.param([[SQUARE]], id="list too many"),
        pytest.param([[]], id="empty polygon"),
        pytest.param([None], id="no polygon"),
        pytest.param([SQUARE, []], id="second one empty"),
        pytest.param([[(0, 0), (9, 9)]], id="two points"),
        pytest.param([[(0, 0), (9, 9), (0, 0)]], id="two different points"),
        pytest.param([[(0, 0), (9, 0), (9,)]], id="y is missing"),
        pytest.param([[(0, 0), (9, 0), (9, 9, 9)]], id="three numbers"),
        pytest.param([[0, 0, 9, 0, 9, 9]], id="numbers not in pairs"),
        pytest.param([[(0, 0), (9, 0), ("9", 9)]], id="text as number"),
        pytest.param([[(0, 0), (9, 0), (9, None)]], id="null as number"),
        pytest.param([[(0, 0), (9, 0), (True, 9)]], id="bool as number"),
        pytest.param([[(0, 0), (9, 0), (np.True_, 9)]], id="numpy bool as number"),
        pytest.param([[(0, 0), (9, 0), (9.0, 9)]], id="float"),
        pytest.param([[(0, 0), (9, 0), (math.nan, 9)]], id="nan"),
        pytest.param([np.array(SQUARE, float)], id="array of floats"),
        pytest.param([[(0, 0), (9, 0), (9, 10**400)]], id="enormous"),
        pytest.param([[(0, 0), (9, 9), (9, 0), (0, 9)]], id="crosses itself"),
        pytest.param([[(0, 0), (5, 5), (9, 9)]], id="on one line"),
    ],
)
def test_what_is_no_list_of_polygons_is_501(region: object) -> None:
    assert code_of(region=region) == Code.REGION
    assert list(CustomerCounter().run("there is no such.mp4", region)) == [  # type: ignore[arg-type]
        {"code": 501, "msg": "region format error", "status": 200, "data": None}
    ]


@pytest.mark.parametrize(
    "region",
    [
        pytest.param([SQUARE], id="tuples"),
        pytest.param((tuple(SQUARE),), id="tuple of tuples"),
        pytest.param([[list(point) for point in SQUARE]], id="lists"),
        pytest.param(np.array([SQUARE]), id="array"),
        pytest.param([np.array(SQUARE, np.int16)], id="array of points"),
        pytest.param([[np.array(point) for point in SQUARE]], id="arrays of numbers"),
        pytest.param([[(np.int64(x), np.uint8(y)) for x, y in SQUARE]], id="numpy numbers"),
        pytest.param([[*SQUARE, SQUARE[0]]], id="closed"),
    ],
)
def test_a_region_may_be_written_as_lists_tuples_or_arrays(region: object) -> None:
    (polygon,) = read(region=region).polygons
    assert polygon.tolist() == [list(point) for point in SQUARE]


def test_several_areas_and_points_outside_the_picture_are_fine() -> None:
    assert len(read(region=[SQUARE, [(-50, 0), (50, 900), (-50, 900)]]).polygons) == 2


@pytest.mark.parametrize("device", ["tpu", "GPU", "cuda", "", None, 0, ["cpu"]], ids=repr)
def test_another_device_is_502(device: object) -> None:
    assert code_of(device=device) == Code.DEVICE


@pytest.mark.parametrize("gpu_id", [-1, True, "0", 0.0, None, 10**30], ids=repr)
def test_a_gpu_that_cannot_be_is_502(gpu_id: object) -> None:
    assert code_of(device="gpu", gpu_id=gpu_id) == Code.DEVICE


@pytest.mark.skipif(cuda_device_count() > 0, reason="this machine has a GPU")
def test_a_gpu_on_a_machine_without_one_is_502() -> None:
    assert code_of(device="gpu") == Code.DEVICE
    assert list(CustomerCounter().run("there is no such.mp4", None, False, True, "gpu", 0)) == [
        {"code": 502, "msg": "CUDA device error", "status": 200, "data": None}
    ]


@pytest.mark.parametrize("gpu_id", [99, -1, None], ids=repr)
def test_the_number_of_a_gpu_means_nothing_on_the_cpu(gpu_id: object) -> None:
    assert read(gpu_id=gpu_id).device == "cpu"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("", [], False, True, "tpu"), 300),
        (("a.txt", [], False, True, "tpu"), 505),
        (("no such.mp4", [], False, True, "tpu"), 501),
        (("no such.mp4", None, False, True, "tpu"), 502),
        (("no such.mp4", None, False, True, "cpu"), 503),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "",
)
def test_of_several_faults_the_first_of_the_order_is_told_once(
    arguments: tuple[Any, ...], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [reply["code"] for reply in CustomerCounter().run(*arguments)] == [code]
    monkeypatch.setenv("STREAMSERVER_LICENSE", "required")
    assert list(CustomerCounter().run(*arguments)) == [
        {"code": 500, "msg": "SDK Not Authorized", "status": 200, "data": None}
    ]
