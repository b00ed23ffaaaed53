from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from streamserver.business.config import ClientConfig, config_of, load_config, make_parser, parse_urls
from streamserver.core.errors import ConfigError
from streamserver.core.settings import Settings
from tests.business.support import write_config


def by_hand(state: Path, *options: str) -> ClientConfig:
    settings = Settings(state_dir=str(state))
    return config_of(make_parser().parse_args(options), settings, lambda: {1: "tripwire", 6: "area_intrusion"})


def test_client_json_is_read_as_architecture_gives_it(tmp_path: Path) -> None:
    written = write_config(tmp_path, ["http://a/x", "https://b:9/y"], [(1, "tripwire"), (6, "area_intrusion")])
    config = load_config(tmp_path / "client.json")
    assert (config.run, config.task_id, config.src_id, config.replayable) == ("abcd", "t1", "cam1", True)
    assert (config.host, config.port) == ("127.0.0.1", written["port"])
    assert config.report_urls == ("http://a/x", "https://b:9/y")
    assert [(a.index, a.type, a.name) for a in config.algorithms] == [(0, 1, "tripwire"), (1, 6, "area_intrusion")]
    assert config.algorithms[0].request["DetectInterval"] == 1
    assert config.outbox_file == tmp_path / "outbox.sqlite" and config.task_dir == tmp_path


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"port": "10001"}, r"\$\.port: expected int, got '10001'"),
        ({"port": 0}, r"\$\.port: 0 is no port"),
        ({"port": True}, r"\$\.port: expected int"),
        ({"report_urls": "http://a"}, r"\$\.report_urls: expected list"),
        ({"report_urls": ["ftp://u:secret@a"]}, r"\$\.report_urls: 'ftp://\*\*\*@a' is no http or https address"),
        ({"replayable": 1}, r"\$\.replayable: expected bool"),
        ({"algorithms": [{"index": 0}]}, r"\$\.algorithms\[0\]\.type is missing"),
        ({"algorithms": [{"index": 1, "type": 1, "name": "a", "request": {}}]}, "each index must be its position"),
        ({"algorithms": [5]}, r"\$\.algorithms\[0\]: expected an object"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_path(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    write_config(tmp_path, [], [(1, "tripwire")], **change)
    with pytest.raises(ConfigError, match=problem):
        load_config(tmp_path / "client.json")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_a_file_that_is_no_json_object_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "client.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"client\.json"):
        load_config(tmp_path / "client.json")


def test_the_old_server_s_options_are_understood(tmp_path: Path) -> None:
    urls = "['http://a/x', 'http://b/y']"
    config = by_hand(tmp_path, "--task_id", "任务/..", "--type=6", "--host=0.0.0.0", "--port=11123", "--url", urls, "--src_id=cam", "--id=0")  # fmt: skip  # noqa: E501
    assert (config.task_id, config.src_id, config.host, config.port) == ("任务/..", "cam", "0.0.0.0", 11123)
    assert config.report_urls == ("http://a/x", "http://b/y")
    assert [(a.index, a.type, a.name) for a in config.algorithms] == [(0, 6, "area_intrusion")]
    assert config.outbox_file.parent == tmp_path / "clients" and config.outbox_file.name.startswith("11123-")
    assert config.task_dir is None and config.replayable is False


@pytest.mark.parametrize(
    ("options", "interval"), [((), 1), (("--detect_interval=3",), 3), (("--detect_interval=0",), 1)]
)
def test_a_client_by_hand_is_told_which_frames_the_engine_looks_at(
    tmp_path: Path, options: tuple[str, ...], interval: int
) -> None:
    assert by_hand(tmp_path, "--type=6", *options).algorithms[0].request["DetectInterval"] == interval


def test_two_tasks_on_one_port_never_share_an_outbox(tmp_path: Path) -> None:
    first, second = (by_hand(tmp_path, "--type=1", f"--task_id={task}") for task in ("a", "b"))
    assert first.outbox_file != second.outbox_file
    assert (first.host, first.port, first.report_urls) == ("127.0.0.1", 11100, ())


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("", ()),
        ("  ", ()),
        ("[]", ()),
        ("http://a/x", ("http://a/x",)),
        ('["http://a/x"]', ("http://a/x",)),
        ("['http://a/x',\"http://b\"]", ("http://a/x", "http://b")),
    ],
)
def test_url_takes_a_list_or_one_address(text: str, urls: tuple[str, ...]) -> None:
    assert parse_urls(text) == urls


@pytest.mark.parametrize(
    "text", ["[open('pwned','w')]", "[1]", "['ftp://a']", "['http://a'", "[[]]", "x", "[" * 10_000, "['http://a'+'b']"]
)
def test_url_is_never_evaluated(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="--url"):
        parse_urls(text)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--type=9"], r"--type: 9 is no algorithm; use one of 1 \(tripwire\), 6 \(area_intrusion\)"),
        ([], "--type: 0 is no algorithm"),
        (["--type=1", "--port=70000"], "--port: 70000"),
        (["--type=x"], "invalid int value"),
        (["--nonsense"], "nonsense"),
    ],
)
def test_wrong_options_say_what_is_wrong(tmp_path: Path, options: list[str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        by_hand(tmp_path, *options)


def test_client_json_wins_over_the_other_options(tmp_path: Path) -> None:
    write_config(tmp_path, [], [(1, "tripwire")])
    config = by_hand(tmp_path, "--config", str(tmp_path / "client.json"), "--type=99")
    assert json.loads((tmp_path / "client.json").read_text())["port"] == config.port
