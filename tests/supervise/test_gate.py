from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamserver.core.errors import BadRequestError, NotUpdatableError
from streamserver.core.settings import Settings
from streamserver.graph.demo import read_demo, write_demo
from streamserver.graph.gate import Gate
from streamserver.supervise.plan import plan
from streamserver.supervise.update import require_updatable
from tests.supervise.requests import request

SQUARE = [{"X": 10, "Y": 10}, {"X": 90, "Y": 10}, {"X": 90, "Y": 90}]
AREA = ((10.0, 10.0), (90.0, 10.0), (90.0, 90.0))


def gated(*types: int, address: str = "rtsp://cam/1", **extend: Any) -> dict[str, Any]:
    content = request(*types, address=address)
    content["Algorithm"][0]["Extend"] = {"Gate": "motion", **extend}
    return content


def gates(content: dict[str, Any], settings: Settings | None = None) -> list[Gate | None]:
    return [channel.gate for channel in plan(content, port=1, settings=settings or Settings()).demo.channels]


def test_there_is_no_gate_unless_it_is_asked_for() -> None:
    assert gates(request(1, 3)) == [None, None]
    assert gates(gated(1) | {"Extend": {"Gate": "off"}}) == [None]


def test_all_channels_have_the_same_gate_around_what_is_drawn_for_any_of_them() -> None:
    content = gated(6, 1, GateHold=30)
    content["Algorithm"][0]["DetectInfos"][0]["HotArea"] = SQUARE
    content["Algorithm"][1]["DetectInfos"][0]["HotArea"] = []
    content["Algorithm"][1]["DetectInfos"][0]["TripWire"] |= {
        "LineStart": {"X": 5, "Y": 0},
        "LineEnd": {"X": 5, "Y": 99},
    }
    expected = Gate(hold_s=30, areas=(AREA, ((5.0, 0.0), (5.0, 99.0))))
    assert gates(content) == [expected, expected]


def test_an_algorithm_without_areas_and_lines_watches_the_whole_picture() -> None:
    content = gated(6, 3)
    content["Algorithm"][0]["DetectInfos"][0]["HotArea"] = SQUARE
    content["Algorithm"][1]["DetectInfos"] = []
    assert {gate.areas for gate in gates(content) if gate} == {()}


@pytest.mark.parametrize(
    ("address", "settings", "message"),
    [
        ("base64://127.0.0.1:18080/cam1", Settings(), "pictures over HTTP has no key frames"),
        ("rtsp://cam/1", Settings(decoder="opencv"), "cannot leave out frames; set the setting decoder to av"),
    ],
    ids=["pictures over HTTP", "opencv"],
)
def test_what_cannot_have_a_gate_is_refused(address: str, settings: Settings, message: str) -> None:
    with pytest.raises(BadRequestError, match=message) as caught:
        gates(gated(3, address=address), settings)
    assert caught.value.path == "$.Algorithm[0].Extend.Gate"


def test_a_folder_of_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequestError, match="a folder of pictures has no key frames"):
        gates(gated(3, address=str(tmp_path)))


def test_areas_that_change_would_change_the_gate_and_are_refused_while_the_task_runs() -> None:
    old, new = gated(6), gated(6)
    old["Algorithm"][0]["DetectInfos"][0]["HotArea"] = SQUARE
    new["Algorithm"][0]["DetectInfos"][0]["HotArea"] = [*SQUARE, {"X": 10, "Y": 90}]
    with pytest.raises(NotUpdatableError, match="would change 'gate' of its channel"):
        require_updatable(old, new, Settings())


def test_a_channels_gate_is_written_as_it_was_read(tmp_path: Path) -> None:
    demo = plan(gated(6), port=1, settings=Settings()).demo
    write_demo(demo, tmp_path / "demo.json")
    assert read_demo(tmp_path / "demo.json").channels == demo.channels
