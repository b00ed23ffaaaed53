"""Settings: where values come from, what is refused, and that the docs know every one."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from streamserver.core.errors import ConfigError
from streamserver.core.setting_options import OptionParser, add_settings, given_settings, strange_variables
from streamserver.core.settings import PROJECT_DIR, Settings, file_problems, load, load_with_sources
from streamserver.settings import main as settings_main


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
        ("a: [", "server.yaml:1: cannot be read: expected the node content"),
        ("port: 1\nhost: [x\n", "mend the YAML there or in the line before"),
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


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:0", "cuda:11", "tensorrt", "tensorrt:1"])
def test_devices_are_named_as_they_are_numbered(device: str, tmp_path: Path) -> None:
    assert load(file=tmp_path / "none", environment={"STREAMSERVER_DEVICE": device}).device == device


@pytest.mark.parametrize(
    "device", ["gpu", "cuda:", "cuda:x", "cuda:-1", "auto:0", "cpu:0", "CUDA", "cuda:0\n", ""], ids=repr
)
def test_another_word_for_a_device_is_refused_with_those_there_are(device: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"STREAMSERVER_DEVICE: got .*use one of auto, cpu, cuda, cuda:0, tensorrt"):
        load(file=tmp_path / "none", environment={"STREAMSERVER_DEVICE": device})


def test_each_value_knows_where_it_came_from(tmp_path: Path) -> None:
    file = yaml(tmp_path, "# first line\nport: 1\nlog_level: DEBUG\nauth: off\n")
    sourced = load_with_sources(
        file=file, environment={"STREAMSERVER_LOG_LEVEL": "ERROR"}, options={"device": "cpu", "host": None}
    )
    names = ("port", "auth", "log_level", "device", "host")
    assert [sourced.sources[name] for name in names] == [
        f"{file}:2", f"{file}:4", "STREAMSERVER_LOG_LEVEL", "--device", "default"
    ]  # fmt: skip
    assert (sourced.settings.auth, sourced.settings.log_level) == ("off", "ERROR")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("port: 1\nprot: 1", "server.yaml:2: unknown setting 'prot'"),
        ("port: 1\nhost: a\nport: 2", "server.yaml:3: 'port' stands in line 1 already"),
        ("models: [/a, '/b:c']", "server.yaml:1: models: '/b:c' is no item of the list"),
        ("host_names: [a, 5]", "5 is no item of the list"),
        ("log_level: [INFO]", "expected str"),
    ],
    ids=["unknown", "twice", "separator", "number", "no list"],
)
def test_what_is_wrong_in_the_file_is_found_by_its_line(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(expected)):
        load(file=yaml(tmp_path, text), environment={})


def test_lists_of_yaml_are_those_with_commas_and_colons(tmp_path: Path) -> None:
    file = yaml(tmp_path, "trusted_networks:\n- 10.0.0.5\n- 192.168.7.0/24\nmodels: [/a, /b]\nhost_names: []\n")
    settings = load(file=file, environment={})
    assert (settings.trusted_networks, settings.models) == ("10.0.0.5, 192.168.7.0/24", "/a:/b")
    assert settings.host_names == ""


def test_everything_that_is_wrong_with_a_file_is_told_at_once(tmp_path: Path) -> None:
    file = yaml(tmp_path, "prot: 1\nport: 2\ndevice: gpu\n")
    assert [problem.split(": ")[0] for problem in file_problems(file)] == [f"{file}:1", f"{file}:3"]


def test_variables_that_are_no_settings_are_told_with_the_nearest_name() -> None:
    environment = {"STREAMSERVER_PROT": "1", "STREAMSERVER_PORT": "2", "STREAMSERVER_CONFIG": "x", "HOME": "/"}
    (told,) = strange_variables(environment | {"STREAMSERVER_KEY": "k"})
    assert "STREAMSERVER_PROT is no setting" in told and "did you mean STREAMSERVER_PORT?" in told


def test_every_setting_but_secrets_is_an_option(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    parser = OptionParser(prog="test")
    add_settings(parser)
    monkeypatch.chdir(tmp_path)
    words = [f"--{row.name}=text" for row in fields(Settings) if row.name != "report_secret"]
    options = parser.parse_args(words)
    assert set(given_settings(options)) == {row.name for row in fields(Settings)} - {"report_secret"}
    from_here = given_settings(parser.parse_args(["--models=a:/b", "--host=h", "--event_dir="]), from_here=True)
    assert from_here == {"models": f"{tmp_path / 'a'}:/b", "host": "h", "event_dir": ""}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("--prot=1", "did you mean --port?"),
        ("--state-dir", "did you mean --state_dir?"),
        ("--report_secret=x", "STREAMSERVER_REPORT_SECRET"),
        ("--xyzzy", "--help shows all"),
    ],
)
def test_an_unknown_option_is_refused_with_the_nearest(
    word: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = OptionParser(prog="test")
    add_settings(parser)
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args([word])
    assert expected in capsys.readouterr().err


def test_settings_are_shown_with_their_sources_and_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STREAMSERVER_REPORT_SECRET", "hush-hush")
    monkeypatch.setenv("STREAMSERVER_CONFIG", str(yaml(tmp_path, "port: 9\n")))
    assert settings_main(["show", "--json", "--device", "cpu"]) == 0
    text = capsys.readouterr().out
    shown = {entry["name"]: entry for entry in json.loads(text)}
    assert "hush" not in text and shown["report_secret"]["value"] == "***"
    assert shown["port"] | {"meaning": ""} == {
        "name": "port", "value": 9, "default": 8001, "source": f"{tmp_path / 'server.yaml'}:1", "meaning": ""
    }  # fmt: skip
    assert shown["device"]["source"] == "--device"
    assert settings_main(["show"]) == 0
    assert re.search(rf"^port +9 +8001 +{tmp_path}", capsys.readouterr().out, re.MULTILINE)


def test_a_settings_file_is_checked_without_a_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert settings_main(["check", str(yaml(tmp_path, "port: 9\n"))]) == 0
    assert settings_main(["check", str(yaml(tmp_path, "prot: 9\ndevice: x\n"))]) == 1
    assert capsys.readouterr().err.count("error: ") == 2
    assert settings_main(["check", str(tmp_path / "nowhere")]) == 1
