"""``python -m streamserver.keys`` as an operator uses it."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamserver.keys import KeyBook
from streamserver.keys.__main__ import main


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STREAMSERVER_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("STREAMSERVER_CONFIG", str(tmp_path / "none.yaml"))
    monkeypatch.setattr("streamserver.core.logs.configure", lambda **options: None)
    return tmp_path / "state"


def test_a_key_is_shown_once_listed_without_its_secret_and_revoked(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["create", "--name", "shop 1", "--days", "7"]) == 0
    created = dict(line.split(": ") for line in capsys.readouterr().out.splitlines())
    assert list(created) == ["app_key", "app_secret", "service_key"]
    with KeyBook(state) as book:
        assert book.prove(**created).name == "shop 1"
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert created["app_secret"] not in listed
    assert [created[key] in listed for key in ("app_key", "service_key")] == [True, True]
    assert "valid" in listed and "shop 1" in listed and "passflow" in listed
    assert main(["revoke", created["app_key"]]) == 0
    assert "was revoked at" in capsys.readouterr().out
    assert main(["list"]) == 0
    assert "revoked" in capsys.readouterr().out


def test_revoking_nobody_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["revoke", "nobody"]) == 1
    assert "there is no app_key 'nobody'" in capsys.readouterr().err


def test_the_public_key_is_printed(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["public"]) == 0
    assert capsys.readouterr().out == (state / "license.pub").read_text()


@pytest.mark.parametrize(
    "arguments",
    [["create", "--days", "0"], ["create", "--days", "x"], ["create", "--days", "99999"], ["create", "--name", "a\nb"]],
    ids=["no days", "a word", "too many", "a line break"],
)
def test_what_cannot_be_meant_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "expected" in capsys.readouterr().err


def test_a_folder_that_cannot_be_is_an_error_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STREAMSERVER_STATE_DIR", str(tmp_path / "file" / "state"))
    for command in ("create", "public"):
        assert main([command]) == 1
        assert capsys.readouterr().err.startswith("error: ")
