"""The dearest requests of a megabyte, and texts: a second of processor time is far too much."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from streamserver.core.examples import NEW_TASK_BODY
from streamserver.core.secrets import hide
from streamserver.core.shapes import polygon_fault
from streamserver.core.urls import mask_credentials, masked
from tests.web.conftest import app, client, settings, store

__all__ = ["app", "client", "settings", "store"]  # pytest's fixtures

FAR_TOO_MUCH_S = 5.0
"""Of processor time, ten times what the dearest takes; before there were limits they took up to 53 s."""

POINT = {"X": 1, "Y": 1}


def _comb(corners: int) -> list[dict[str, int]]:
    """A polygon whose edges are nearly as long as the picture and all beside each other."""
    teeth = [
        {"X": x, "Y": 2 * i} for i in range(corners // 2 - 1) for x in ((0, 90_000) if i % 2 == 0 else (90_000, 0))
    ]
    return [*teeth, {"X": -50, "Y": corners}, {"X": -50, "Y": 0}]


def _task(count: int = 1, **algorithm: Any) -> dict[str, Any]:
    return copy.deepcopy(NEW_TASK_BODY) | {"Algorithm": [NEW_TASK_BODY["Algorithm"][0] | algorithm] * count}


DEAR: dict[str, tuple[Any, str]] = {
    "one comb": (_task(DetectInfos=[{"HotArea": _comb(1000)}]), "success"),
    "20 combs": (_task(20, DetectInfos=[{"HotArea": _comb(1000)}]), "$.Algorithm: the areas have 20000 corners"),
    "20 combs to leave out": (_task(20, Extend={"ExcludeAreas": [_comb(1000)]}), "the areas have 20080 corners"),
    "a comb that is too long": (_task(DetectInfos=[{"HotArea": [POINT] * 1001}]), "HotArea: expected a list of 0 to"),
    "lines": (_task(20, Extend={"Lines": [{"Points": _comb(1000)}]}), "the lines of Extend have 20000 points together"),
    "unknown keys": (_task(32, Extend={f"zz{i:x}": 0 for i in range(2000)}), "success"),
    "a long Extend": (_task(Extend={"x": ["a" * 4000] * 100}), "$.Algorithm[0].Extend: 400407 characters of JSON"),
    "classes": (_task(Extend={"Classes": list(range(1001))}), "Classes: expected a list of 0 to 1000"),
    "values": ({"TaskID": "a", "x": [[]] * 240_000}, "$: more than 100000 values; send less"),
    "deep lists": (b'{"a":[' + b",".join(b"[" * 29 + b"]" * 29 for _ in range(16_000)) + b"]}", "100000 values"),
    "keys": ({f"{i:x}": 0 for i in range(80_000)}, "$.TaskID: is missing"),
    "addresses": (_task() | {"Reporting": {"ReportUrlList": ["http://h/" + "a://x@" * 680] * 32}}, ""),
}


@pytest.mark.parametrize("name", DEAR)
def test_a_megabyte_is_answered_soon(client: FlaskClient, app: Flask, name: str) -> None:
    content, expected = DEAR[name]
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    assert len(data) <= 1_000_000
    start = time.process_time()
    reply = client.post("/task/create", data=data).get_json()
    assert time.process_time() - start < FAR_TOO_MUCH_S
    assert expected in reply["Msg"]


@pytest.mark.parametrize("mask", [mask_credentials, masked, hide])
@pytest.mark.parametrize("piece", ["a://x@", "@", "@a", "a:b@", "?key=", "=", "/pass=", "://", "a://b:c@d "])
def test_a_long_text_is_masked_soon(mask: Callable[[str], str], piece: str) -> None:
    start = time.process_time()
    mask((piece * 100_000)[:100_000])
    assert time.process_time() - start < FAR_TOO_MUCH_S


def test_of_very_many_addresses_none_shows_its_password() -> None:
    text = " ".join(f"rtsp://admin:hunter{i}@10.0.0.1/x" for i in range(500))
    assert "hunter" not in mask_credentials(text)


def test_a_comb_is_a_polygon_and_a_crossing_in_it_is_found() -> None:
    corners = [(point["X"], point["Y"]) for point in _comb(1000)]
    assert polygon_fault(corners) == ""
    assert "meets the edge" in polygon_fault([*corners[:500], (100, 3), *corners[500:]])
