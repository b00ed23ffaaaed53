from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import pytest

from streamserver.business.delivery import RECEIVERS_DIR
from streamserver.business.slots import Slots
from streamserver.core.files import write_json
from streamserver.supervise.folders import (
    has_outbox,
    make_folder,
    remove_folder,
    remove_old_slots,
    remove_orphans,
    tidy,
    tighten,
)

HALF_WRITTEN = (".demo.json.0123abcd", "run/.engine.json.deadbeef", "elements/.0_1_osd.json.00000000")
KEPT = (".hidden", "demo.json", "run/engine.json", "logs/.engine.log.0123abcd", ".demo.json.0123abcde", "run/drained")


def test_what_a_kill_left_half_written_goes_and_nothing_else(tmp_path: Path) -> None:
    for name in (*HALF_WRITTEN, *KEPT):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    tidy(tmp_path)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == set(KEPT)


def test_the_names_are_those_that_half_written_files_really_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
        killed.setattr(Path, "unlink", lambda *_, **__: None)
        with pytest.raises(OSError, match="full"):
            write_json(tmp_path / "demo.json", {})
    assert len(list(tmp_path.iterdir())) == 1
    tidy(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_tidying_a_folder_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    tidy(tmp_path / "nowhere")


def test_a_removal_that_was_killed_is_finished_even_when_there_is_no_task(tmp_path: Path) -> None:
    make_folder(tmp_path / "0123456789abcdef.removed")
    make_folder(tmp_path / "fedcba9876543210")
    remove_orphans(tmp_path, [])
    assert [path.name for path in tmp_path.iterdir()] == ["fedcba9876543210"]


def test_a_folder_is_removed_under_another_name(tmp_path: Path) -> None:
    folder = tmp_path / "0123456789abcdef"
    make_folder(folder)
    remove_folder(folder)
    remove_folder(folder)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "has"),
    [
        ("outbox.sqlite", True),
        ("outbox.sqlite.backup", True),
        ("outbox.sqlite.damaged-20261120T190000", True),
        ("outbox.sqlite.lock", False),
        ("demo.json", False),
    ],
)
def test_alarms_may_lie_in_the_outbox_and_in_what_a_mending_put_aside(tmp_path: Path, name: str, has: bool) -> None:
    (tmp_path / name).touch()
    assert has_outbox(tmp_path) is has


def test_slots_of_addresses_go_unless_somebody_holds_them(tmp_path: Path) -> None:
    remove_old_slots(tmp_path)  # a first start
    old, held = (Slots(tmp_path / RECEIVERS_DIR, f"http://{name}/", 1) for name in ("old", "held"))
    free = old.take()
    assert free is not None
    free.release()
    old.note(1.0, well=False)
    kept = held.take()
    remove_old_slots(tmp_path)
    assert len(list((tmp_path / RECEIVERS_DIR).iterdir())) == 1
    assert held.take() is None
    assert kept is not None
    kept.release()
    remove_old_slots(tmp_path)
    assert not list((tmp_path / RECEIVERS_DIR).iterdir())


@pytest.mark.parametrize("error", [FileNotFoundError, OSError], ids=["a file goes by itself", "a file comes again"])
def test_a_folder_in_which_a_dying_process_is_still_at_work_goes_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[OSError]
) -> None:
    """The moment cannot be forced, so the first removal is interrupted as it was seen to be."""
    make_folder(tmp_path / "k1.removed")
    remove = shutil.rmtree

    def interrupted(folder: Path) -> None:
        monkeypatch.setattr(shutil, "rmtree", remove)
        (folder / "run").rmdir()
        raise error(2, "as seen", str(folder / "run"))

    monkeypatch.setattr(shutil, "rmtree", interrupted)
    remove_orphans(tmp_path, ["k2"])
    assert not (tmp_path / "k1.removed").exists()


def modes(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mode & 0o777 for path in sorted(folder.rglob("*"))}


def test_what_an_older_version_left_open_is_closed_and_what_is_not_ours_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state, other = tmp_path / "state", tmp_path / "other"
    for folder in (other, state / "tasks" / "0123" / "run", state / "pictures"):
        folder.mkdir(parents=True, mode=0o755)
    files = ("tasks.sqlite", "tasks.sqlite-wal", "keys.sqlite", "tasks/0123/client.json", "tasks/0123/run/engine.json")
    kept = ("license.pub", "pictures/a.jpg", "mine.lock")
    for name in (*files, *kept):
        (state / name).touch(mode=0o644)
    (state / "logs").symlink_to(other)
    for path in state.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o664)
    state.chmod(0o755)
    with caplog.at_level(logging.WARNING):
        tighten(state)
    found = modes(state)
    assert {found[name] for name in files} == {0o600}
    assert {found[name] for name in kept} == {0o664}
    assert {found[name] for name in ("tasks", "tasks/0123", "tasks/0123/run")} == {0o700}
    assert (state.stat().st_mode & 0o777, other.stat().st_mode & 0o777) == (0o755, 0o755)
    first, second = [one.getMessage() for one in caplog.records]
    assert f"chmod 700 {state}" in first
    assert "is closed: keys.sqlite, tasks, tasks.sqlite, tasks.sqlite-wal" in second
    caplog.clear()
    state.chmod(0o700)
    tighten(state)
    assert caplog.records == []


def test_a_state_folder_of_another_user_is_told_of_with_the_cure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    owner = tmp_path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    tighten(tmp_path)
    assert f"belongs to user {owner}, and this is user {owner + 1}" in caplog.text
    assert f"chown -R {owner} {tmp_path}" in caplog.text


def test_folders_of_tasks_are_private_whatever_the_umask(tmp_path: Path) -> None:
    make_folder(tmp_path / "tasks" / "0123")
    assert set(modes(tmp_path).values()) == {0o700}
