"""Spoilt requests: each parses, and then to the same again, or is refused by an error of ours with a JSON path.

``PROPERTY_TESTS=search`` looks at a thousand of each.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamserver.core.alarm_requests import parse_dead, parse_replay
from streamserver.core.errors import BadRequestError
from streamserver.core.examples import NEW_TASK_BODY, edited_body, line_only_body, without_drawings_body
from streamserver.core.license_request import parse_license
from streamserver.core.list_request import parse_list
from streamserver.core.messages import canonical, parse_create, parse_task_id, spec_hash
from streamserver.core.rule_options import condition_options, rule_options
from streamserver.core.strict_json import parse_object
from streamserver.core.update_requests import merged, parse_update
from tests.fuzz.changes import JSON, changed
from tests.searching import examples

_MAX_BYTES = 1_000_000
_EXTEND: dict[str, Any] = {
    "Events": ["enter", "dwell"],
    "DwellTime": 3.5,
    "Lines": [{"Points": [{"X": 1, "Y": 1}, {"X": 9, "Y": 9}, {"X": 20, "Y": 1}], "DirectEnd": {"X": 0, "Y": 5}}],
    "ExcludeAreas": [[{"X": 0, "Y": 0}, {"X": 200, "Y": 0}, {"X": 200, "Y": 100}]],
    "Thresholds": {"person": 60, "2": 0.4},
    "Schedule": {"TimeZone": "Europe/Berlin", "Windows": [{"Days": ["Mon"], "From": "22:00", "To": "06:00"}]},
    "Classes": [0, "car"],
    "Loop": 2,
    "Fps": -1,
}
_RULES = NEW_TASK_BODY | {"Algorithm": [NEW_TASK_BODY["Algorithm"][0] | {"Extend": _EXTEND}]}
_CREATES = [NEW_TASK_BODY, edited_body(), line_only_body(), without_drawings_body(), _RULES]


def _create(body: bytes) -> Any:
    return parse_create(
        body,
        known_types={1: "tripwire", 3: "yolov5", 6: "area_intrusion"},
        max_bytes=_MAX_BYTES,
        events_kept_locally=False,
        source_exists=lambda path: True,
    )


def _refusal(parse: Callable[[bytes], object], body: bytes) -> str:
    """The JSON path of the refusal; empty when it is accepted. Any other exception goes through."""
    try:
        parse(body)
    except BadRequestError as e:
        assert e.path.startswith("$") and str(e).startswith(f"{e.path}: ") and e.message, str(e)
        return e.path
    return ""


def _text(value: Any) -> bytes:
    return json.dumps(value).encode()


@given(st.sampled_from(_CREATES).flatmap(changed))
@settings(max_examples=examples(120))
def test_a_spoilt_create_is_refused_with_a_path_or_stays_what_it_is(body: Any) -> None:
    if _refusal(_create, _text(body)):
        return
    content = canonical(_create(_text(body)))
    again = canonical(_create(_text(content)))
    assert again == content
    assert spec_hash(again) == spec_hash(content)
    for algorithm in content["Algorithm"]:
        for options in (rule_options, condition_options):
            _refusal(lambda _, options=options, given=algorithm: options(given), b"")


_OTHERS: dict[str, tuple[Callable[[bytes], object], Any]] = {
    "update": (lambda body: parse_update(body, max_bytes=_MAX_BYTES), _RULES),
    "name": (lambda body: parse_task_id(body, max_bytes=_MAX_BYTES), {"TaskID": "t1"}),
    "list": (
        lambda body: parse_list(body, max_bytes=_MAX_BYTES),
        {"Limit": 5, "After": "a", "TaskIDPrefix": "b", "State": "RUNNING"},
    ),
    "dead": (lambda body: parse_dead(body, max_bytes=_MAX_BYTES), {"TaskID": "t1", "Limit": 5, "After": "x"}),
    "replay": (
        lambda body: parse_replay(body, max_bytes=_MAX_BYTES),
        {"TaskID": "t1", "AlarmIDs": ["a", "b"], "All": False},
    ),
    "licence": (
        lambda body: parse_license(body, max_bytes=_MAX_BYTES),
        {"app_key": "a", "app_secret": "b", "service_key": "c"},
    ),
}


@pytest.mark.parametrize("kind", _OTHERS)
@given(data=st.data())
@settings(max_examples=examples(20))
def test_every_other_request_is_refused_with_a_path_or_accepted(kind: str, data: st.DataObject) -> None:
    parse, good = _OTHERS[kind]
    assert not _refusal(parse, _text(good))
    _refusal(parse, _text(data.draw(changed(good))))


@given(changed(_RULES))
@settings(max_examples=examples(30))
def test_an_update_that_parses_gives_a_create_that_parses_or_is_refused_with_a_path(body: Any) -> None:
    if _refusal(lambda text: parse_update(text, max_bytes=_MAX_BYTES), _text(body)):
        return
    stored = canonical(_create(_text(NEW_TASK_BODY)))
    _refusal(_create, merged(stored, parse_update(_text(body), max_bytes=_MAX_BYTES)))


@given(
    st.binary(max_size=60) | JSON.map(_text) | st.text(max_size=30).map(lambda text: text.encode("utf-8", "replace"))
)
@settings(max_examples=examples(80))
def test_any_bytes_are_an_object_or_are_refused(body: bytes) -> None:
    if not _refusal(lambda text: parse_object(text, max_bytes=_MAX_BYTES), body):
        assert parse_object(body, max_bytes=_MAX_BYTES) == json.loads(body.decode("utf-8-sig"))
