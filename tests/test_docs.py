"""The manuals are true: what they name exists, and what exists is named."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from streamserver import elements
from streamserver.core import counters
from streamserver.core.list_request import parse_list
from streamserver.core.log_request import parse_log
from streamserver.core.messages import parse_create, parse_task_id
from streamserver.core.settings import PROJECT_DIR, Settings
from streamserver.core.update_requests import parse_update
from streamserver.elements.http_push import RETRY_S
from streamserver.engine.element import ElementContext
from streamserver.geometry.rules.rule import RuleKind, RuleSpec
from streamserver.geometry.rules.spec import FilterSpec
from streamserver.geometry.tracking.byte_tracker import ByteTrackOptions
from streamserver.vision.motion import MotionOptions
from tests.element_configurations import CONFIGURATIONS
from tests.web.test_metrics import NAMES

MANUALS = sorted([*PROJECT_DIR.glob("*.md"), *PROJECT_DIR.glob("docs/*.md"), *PROJECT_DIR.glob("samples/*/README.md")])
_REFERS_TO = {"yolov5": ["yolox"], "yolov7": ["yolov5", "yolox"], "yolov8": ["yolox"]}
"""Sections that say of some keys only that they are as in another one."""

_NOT_IN_TABLES = {"rules", "channel_id", "filters"}
"""Keys of the filter that its example shows."""


class _Recorder(dict[str, Any]):
    """A configuration that notes which keys are asked for, in the objects within it too."""

    def __init__(self, content: Mapping[str, Any], asked: set[str]) -> None:
        super().__init__({key: _recording(value, asked) for key, value in content.items()})
        self._asked = asked

    def get(self, key: str, default: Any = None) -> Any:
        self._asked.add(key)
        return super().get(key, default)

    def __getitem__(self, key: str) -> Any:
        self._asked.add(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self._asked.add(str(key))
        return super().__contains__(key)


def _recording(value: Any, asked: set[str]) -> Any:
    if isinstance(value, dict):
        return _Recorder(value, asked)
    return [_recording(item, asked) for item in value] if isinstance(value, list) else value


def keys_read_by(name: str) -> set[str]:
    """The keys that an element's constructor asks for."""
    asked: set[str] = set()
    for content in CONFIGURATIONS[name]:
        context = ElementContext(
            element_id=1,
            name=name,
            config_file="test",
            configure=_Recorder(content, asked),
            settings=Settings(),
            base_dir=PROJECT_DIR,
        )
        elements.element_class(name)(context)
    return asked


def section(name: str) -> str:
    """The part of docs/elements.md about an element."""
    text = (PROJECT_DIR / "docs" / "elements.md").read_text("utf-8")
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        if name in re.split(r", *", title):
            return body
    raise AssertionError(f"docs/elements.md has no section '## {name}'")


def default_of(name: str, key: str) -> str:
    """What the table of an element says is the default of ``key``; keys that share a row share its order."""
    for keys, default in re.findall(r"^\| (`[^|]+) \| ([^|]+) \|", section(name), re.MULTILINE):
        names = re.findall(r"`(\w+)`", keys)
        if key in names:
            values = [value.strip() for value in default.split(", ")]
            return values[names.index(key)] if len(values) == len(names) else default.strip()
    raise AssertionError(f"docs/elements.md, '{name}', has no row for {key}")


@pytest.mark.parametrize("name", sorted(elements.available()))
def test_every_element_has_a_section_that_names_each_key_it_reads(name: str) -> None:
    text = "".join(map(section, (name, *_REFERS_TO.get(name, ()))))
    assert name in CONFIGURATIONS, f"tell CONFIGURATIONS how to make '{name}' read all its keys"
    for key in keys_read_by(name) - _NOT_IN_TABLES:
        assert re.search(rf'[`"]{key}["`]', text), f"docs/elements.md, '{name}', does not name {key}"


def test_the_manual_names_no_element_that_does_not_exist() -> None:
    text = (PROJECT_DIR / "docs" / "elements.md").read_text("utf-8")
    titles = re.findall(r"^## (.+)$", text, re.MULTILINE)
    named = {name.strip().removesuffix("_group") for title in titles for name in title.split(",")}
    assert named == elements.available()


@pytest.mark.parametrize(
    ("name", "key", "default"),
    [
        *(("bytetrack", key, getattr(ByteTrackOptions(), key)) for key in ByteTrackOptions.__dataclass_fields__),
        ("motion", "min_area", MotionOptions().min_area),
        ("motion", "history", MotionOptions().history_frames),
        ("motion", "warmup_frames", MotionOptions().warmup_frames),
        ("filter", "alert_first_frame", FilterSpec.__dataclass_fields__["first"].default),
        ("filter", "alert_frame_skip_nums", FilterSpec.__dataclass_fields__["every"].default),
        ("filter", "trajectory_interval", FilterSpec.__dataclass_fields__["interval"].default),
        ("filter", "max_lost", FilterSpec.__dataclass_fields__["max_lost"].default),
        *(
            ("filter", key, getattr(RuleSpec(kind=RuleKind.AREA), key))
            for key in ("share", "dwell_s", "occupancy_above", "cooldown_s", "rearm_s", "both_ways", "best_picture")
        ),
        ("http_push", "retry_s", RETRY_S),
    ],
)
def test_the_defaults_of_elements_are_those_of_the_code(name: str, key: str, default: Any) -> None:
    assert json.loads(default_of(name, key)) == default


@pytest.mark.parametrize("number", [0, 1], ids=["sophon-stream's", "ours"])
def test_the_examples_of_a_filter_are_some(number: int) -> None:
    examples = re.findall(r"^```json\n(.*?)^```", section("filter"), re.MULTILINE | re.DOTALL)
    assert len(examples) == 2
    configure = json.loads(examples[number])
    if number:
        configure = {"configure": {"rules": [{"channel_id": 0, "filters": [configure]}]}}
    context = ElementContext(
        element_id=1,
        name="filter",
        config_file="docs",
        configure=configure["configure"],
        settings=Settings(),
        base_dir=PROJECT_DIR,
    )
    elements.element_class("filter")(context)


@pytest.mark.parametrize("manual", MANUALS, ids=lambda path: str(path.relative_to(PROJECT_DIR)))
def test_every_relative_link_leads_somewhere(manual: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", manual.read_text("utf-8")):
        if "://" not in target:
            assert (manual.parent / target).exists(), f"{manual.name}: {target}"


def _headings(manual: Path) -> set[str]:
    """The anchors of a manual, as GitHub makes them of its headings."""
    text = re.sub(r"^```.*?^```", "", manual.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title) for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("manual", MANUALS, ids=lambda path: str(path.relative_to(PROJECT_DIR)))
def test_every_anchor_is_a_heading(manual: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", manual.read_text("utf-8")):
        if "://" not in target:
            there = manual.parent / target if target else manual
            assert anchor in _headings(there), f"{target}#{anchor}"


def command_lines() -> Iterator[tuple[str, str]]:
    """Each line that starts a program of ours, in a block or between backticks: the manual and the words."""
    for manual in MANUALS:
        for line in re.split(r"\n|`", manual.read_text("utf-8").replace("\\\n", " ")):
            line = re.sub(r"\s+#.*", "", line.strip())
            if re.match(r"(\./[\w./]+\.sh|samples/\w+\.sh|(\S*/)?python3? )", line):
                yield manual.name, line


@pytest.mark.parametrize(("manual", "line"), sorted(set(command_lines())))
def test_commands_in_the_manuals_exist_with_their_options(manual: str, line: str) -> None:
    words = line.split()
    if words[0].endswith(".sh"):
        script = PROJECT_DIR / words[0]
        assert os.access(script, os.X_OK), line
        program = ["-m", "streamserver.demo"] if "--demo" in words else ["start.py"]
        if script.name != "start_server.sh":
            return
    elif words[1] == "-m":
        program = words[1:3]
        package = words[2].split(".")[0]
        if not (PROJECT_DIR / package).is_dir():
            return
        path = PROJECT_DIR / words[2].replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), line
        if package not in ("streamserver", "passflow"):
            return
    else:
        program = [words[1]]
        assert (PROJECT_DIR / words[1]).is_file(), line
    known = _help_of(tuple(program))
    for word in words[3:]:
        commands = re.search(r"\{([\w,]+)\}", known)
        if not commands or word not in commands[1].split(","):
            break
        program.append(word)
        known = _help_of(tuple(program))
    for option in re.findall(r"--\w+", line):
        assert option in known or option == "--demo", f"{manual}: {line}: {option} is unknown"


_helps: dict[tuple[str, ...], str] = {}


def _help_of(program: tuple[str, ...]) -> str:
    if program not in _helps:
        command = [sys.executable, *program, "--help"]
        result = subprocess.run(command, cwd=PROJECT_DIR, capture_output=True, text=True, timeout=300)
        assert result.returncode == 0, result.stderr
        _helps[program] = result.stdout
    return _helps[program]


def bodies() -> Iterator[tuple[str, str, str]]:
    """Each body that a manual sends with curl: the manual, the endpoint and the text."""
    for manual in MANUALS:
        for endpoint, body in re.findall(r"curl \S+ \S+(/task/\w+) -d '([^']*)'", manual.read_text("utf-8")):
            yield manual.name, endpoint, body


@pytest.mark.parametrize(("manual", "endpoint", "body"), list(bodies()))
def test_bodies_in_the_manuals_are_accepted(manual: str, endpoint: str, body: str) -> None:
    if endpoint == "/task/create":
        known = {
            1: "tripwire",
            2: "license_area_intrusion",
            3: "yolov5",
            6: "area_intrusion",
            7: "passenger_flow",
            16: "license_plate_recognition",
        }
        parse_create(
            body.encode(),
            known_types=known,
            max_bytes=1_000_000,
            events_kept_locally=False,
            source_exists=lambda path: True,
        )
    elif endpoint == "/task/update":
        parse_update(body.encode(), max_bytes=1_000_000)
    elif endpoint in ("/task/query", "/task/delete"):
        parse_task_id(body.encode(), max_bytes=1_000_000)
    elif endpoint == "/task/log":
        parse_log(body.encode(), max_bytes=1_000_000)
    elif endpoint == "/task/list" and json.loads(body):
        assert parse_list(body.encode(), max_bytes=1_000_000) is not None
    else:
        assert json.loads(body) == {}


def test_both_readmes_show_the_same_commands_and_the_same_algorithms() -> None:
    def facts(name: str) -> list[str]:
        text = (PROJECT_DIR / name).read_text("utf-8")
        blocks = "\n".join(re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
        commands = [re.sub(r"\s*# .*", "", line) for line in blocks.splitlines()]
        return [*filter(None, commands), *re.findall(r"^\| (\d+ \w+) \|", text, re.MULTILINE)]

    assert facts("README.zh-CN.md") == facts("README.md")


def test_settings_named_in_the_manuals_exist() -> None:
    others = {"CONFIG", "KEY", "PROJECT", "PARENT_PID", "FAILPOINTS", "CHAOS_SEED"}
    rows = {row.upper() for row in Settings.__dataclass_fields__} | others
    for manual in MANUALS:
        for name in re.findall(r"STREAMSERVER_([A-Z_]*[A-Z])", manual.read_text("utf-8")):
            assert name in rows, f"{manual.name}: STREAMSERVER_{name}"


def test_the_manual_lists_every_metric_with_its_labels_and_words() -> None:
    text = (PROJECT_DIR / "docs" / "monitoring.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `(streamserver_\w+)` \| (.+) \|$", text, re.MULTILINE))
    labels = {name.removesuffix("_count"): labels for name, labels in NAMES.items()}
    assert rows.keys() == labels.keys()
    for name, row in rows.items():
        assert all(f"`{label}`" in row for label in labels[name]), name
    words = {
        "frames_total": counters.FRAME_RESULTS,
        "stream_reconnects_total": counters.RECONNECT_REASONS,
        "delivery_attempts_total": counters.ATTEMPT_OUTCOMES,
        "alarms_dropped_total": counters.DROP_REASONS,
        "process_restarts_total": (*counters.RESTART_ROLES, *counters.RESTART_REASONS),
    }
    for name, expected in words.items():
        assert set(expected) <= set(re.findall(r"\w+", rows[f"streamserver_{name}"])), name
