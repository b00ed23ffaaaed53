from __future__ import annotations

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
