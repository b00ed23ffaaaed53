"""Settings: where values come from, what is refused, and that the docs know every one."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from streamserver.core.errors import ConfigError
from streamserver.core.settings import PROJECT_DIR, Settings, load


def yaml(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "server.yaml"
    path.write_text(text)
    return path


def test_later_sources_override_earlier_ones(tmp_path: Path) -> None:
    file = yaml(tmp_path, "port: 1\nclient_port_base: 2\nlog_level: DEBUG\n")
    settings = load(file=file, environment={"STREAMSERVER_CLIENT_PORT_BASE": "3"}, options={"log_level": "ERROR"})
    assert (settings.port, settings.client_port_base, settings.log_level) == (1, 3, "ERROR")


def test_an_absent_file_means_defaults(tmp_path: Path) -> None:
    assert load(file=tmp_path / "none.yaml", environment={}) == Settings()


def test_the_environment_can_name_the_file(tmp_path: Path) -> None:
    file = yaml(tmp_path, "port: 9\n")
    assert load(environment={"STREAMSERVER_CONFIG": str(file)}).port == 9


def test_an_option_that_was_not_given_changes_nothing(tmp_path: Path) -> None:
    assert load(file=tmp_path / "none", environment={"STREAMSERVER_PORT": "9"}, options={"port": None}).port == 9


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("prot: 1", "did you mean 'port'"),
        ("port: many", "expected int, got 'many'"),
        ("port: 0", "0 is out of range; from 1 to 65535"),
        ("port: 70000", "70000 is out of range; from 1 to 65535"),
        ("retention_h: -1", "-1 is out of range; at least 0.01"),
        ("detector: yolo", "auto, model, motion"),
        ("model_download: maybe", "expected bool"),
        ("- 1\n- 2", "expected 'name: value' lines"),
        ("a: [", "cannot be read"),
        ("port: [1]", "expected int"),
        ("port: 8001.5", "expected int"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_cure(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(expected)):
        load(file=yaml(tmp_path, text), environment={})


@pytest.mark.parametrize(("word", "expected"), [("0", False), ("false", False), ("Yes", True), ("on", True)])
def test_booleans_are_written_as_people_write_them(word: str, expected: bool, tmp_path: Path) -> None:
    settings = load(file=tmp_path / "none", environment={"STREAMSERVER_MODEL_DOWNLOAD": word})
    assert settings.model_download is expected


def test_model_directories_are_searched_in_order(tmp_path: Path) -> None:
    settings = Settings(models="/a:/b", model_cache="/c")
    assert settings.model_dirs == [PROJECT_DIR / "models", Path("/a"), Path("/b"), Path("/c")]


def test_the_engine_binary_counts_only_when_it_can_be_run(tmp_path: Path) -> None:
    binary = tmp_path / "samples" / "build" / "main"
    binary.parent.mkdir(parents=True)
    binary.write_text("#!/bin/sh\n")
    assert Settings(stream_path=str(tmp_path)).engine_binary is None
    binary.chmod(0o755)
    assert Settings(stream_path=str(tmp_path)).engine_binary == binary


def test_every_setting_is_documented_and_no_other() -> None:
    names = {row.name for row in fields(Settings)}
    documented = set(re.findall(r"^### `(\w+)`$", (PROJECT_DIR / "docs/settings.md").read_text(), re.MULTILINE))
    commented = set(re.findall(r"^#\s?(\w+):", (PROJECT_DIR / "configs/server.yaml").read_text(), re.MULTILINE))
    assert documented == names
    assert commented == names
    assert all(row.metadata["meaning"] for row in fields(Settings))


def test_the_documented_defaults_are_the_real_ones() -> None:
    text = (PROJECT_DIR / "docs/settings.md").read_text()
    for row in fields(Settings):
        shown = re.search(rf"^### `{row.name}`\nDefault (?:`([^`]*)`|(empty))", text, re.MULTILINE)
        assert shown, row.name
        value = shown.group(1) or ""
        expected = str(row.default).lower() if isinstance(row.default, bool) else str(row.default)
        assert value in (expected, expected.removesuffix(".0")), row.name
