from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from streamserver.business.slots import LONGEST_TURN_S, TURN_S, WATCHED_S, Slots, turn_s
from tests.business.support import REPOSITORY

URL = "http://h/upload"


def test_there_are_so_many_and_no_more_for_all_who_share_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "receivers"
    one, other = Slots(folder, URL, 3), Slots(folder, URL, 3)
    held = [one.take(), other.take(), one.take()]
    assert all(held) and one.take() is None and other.take() is None
    first = held[0]
    assert first is not None
    first.release()
    first.release()
    again = other.take()
    assert again is not None and one.take() is None
    for slot in [again, *held]:
        assert slot is not None
        slot.release()
    assert len(list(folder.iterdir())) == 3


def test_each_address_has_its_own(tmp_path: Path) -> None:
    a, b = Slots(tmp_path, URL, 1).take(), Slots(tmp_path, URL + "?other", 1).take()
    assert a is not None and b is not None
    a.release()
    b.release()


def test_a_slot_goes_with_the_process_that_held_it(tmp_path: Path) -> None:
    take = (
        "import sys, time; from pathlib import Path; from streamserver.business.slots import Slots;"
        "slot = Slots(Path(sys.argv[1]), sys.argv[2], 1).take(); print(slot is not None, flush=True); time.sleep(600)"
    )
    slots = Slots(tmp_path, URL, 1)
    with subprocess.Popen(
        [sys.executable, "-c", take, str(tmp_path), URL], stdout=subprocess.PIPE, cwd=REPOSITORY
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"True\n"
        assert slots.take() is None
        process.kill()
        process.wait()
    slot = slots.take()
    assert slot is not None
    slot.release()


def test_without_a_folder_there_is_no_limit_which_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    slots = Slots(tmp_path / "file", URL, 2)
    for _ in range(10):
        slot = slots.take()
        assert slot is not None
        slot.release()
    assert len(caplog.records) == 1 and "not limited" in caplog.text


def test_one_process_at_a_time_tries_a_broken_address_and_all_do_when_it_is_well(tmp_path: Path) -> None:
    one, other, now = Slots(tmp_path / "new", URL, 1), Slots(tmp_path / "new", URL, 1), 1000.0
    assert one.may_try(now)
    assert not other.may_try(now) and not other.may_try(now + TURN_S - 0.01)
    assert other.may_try(now + TURN_S) and not one.may_try(now + TURN_S)
    one.note(now + 2, well=False)
    assert not other.may_try(now + 2.1)
    one.note(now + 3, well=True)
    assert one.may_try(now + 3) and other.may_try(now + 3)
    other.note(now + 4, well=False)
    assert not one.may_try(now + 4)
    assert one.may_try(5.0), "the machine has started anew"


@pytest.mark.parametrize(
    ("away_s", "expected"),
    [
        (0.0, TURN_S),
        (WATCHED_S, TURN_S),
        (WATCHED_S + 120, 10.0),
        (3600.0, LONGEST_TURN_S),
        (1e6, LONGEST_TURN_S),
        (float("inf"), LONGEST_TURN_S),
    ],
)
def test_what_is_away_for_long_is_tried_rarely(away_s: float, expected: float) -> None:
    assert turn_s(away_s) == expected


def test_the_length_of_an_outage_is_known_to_all_and_forgotten_with_it(tmp_path: Path) -> None:
    one, other, now = Slots(tmp_path, URL, 1), Slots(tmp_path, URL, 1), 1000.0
    while now < 4600.0:
        if one.may_try(now):
            one.note(now + 0.1, well=False)
        now += 1.4
    assert other.is_out(now) and sum(other.may_try(now + second) for second in range(60)) <= 3
    one.note(now, well=True)
    assert not other.is_out(now) and other.may_try(now)
    one.note(now + 1, well=False)
    assert not other.may_try(now + 1.5) and other.may_try(now + 1 + TURN_S), "another outage"
    assert not Slots(tmp_path, URL + "2", 1).is_out(now)


def test_somebody_who_reads_the_file_makes_an_outage_young_and_no_more(tmp_path: Path) -> None:
    slots = Slots(tmp_path, URL, 1)
    slots.note(1000.0, well=False)
    [file] = tmp_path.iterdir()
    os.utime(file, (1.7e9, 1000.0))
    slots.note(1001.0, well=False)
    assert file.stat().st_atime == file.stat().st_mtime == 1001.0


def test_an_outage_that_nobody_saw_to_its_end_is_over(tmp_path: Path) -> None:
    slots = Slots(tmp_path, URL, 1)
    for second in range(0, 4000, 10):
        slots.note(1000.0 + second, well=False)
    assert not slots.may_try(5000.0)
    assert slots.may_try(9000.0) and slots.may_try(9000.0 + TURN_S)


def test_where_nothing_can_be_noted_everybody_tries(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    slots = Slots(tmp_path / "file", URL, 1)
    slots.note(1000.0, well=False)
    assert slots.may_try(1000.0) and slots.may_try(1000.0)
