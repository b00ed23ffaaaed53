"""The book of application keys: what proves one, what revokes one, and what survives."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from streamserver.core.errors import LicenceError, StoreError
from streamserver.durable import backup_of
from streamserver.keys import KeyBook, NewKey
from streamserver.keys.book import DATABASE

NOW = 1_800_000_000.0
DAY_S = 86_400


class Clock:
    """A wall clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def parts(new: NewKey, **changes: str) -> dict[str, str]:
    keys = {"app_key": new.key.app_key, "app_secret": new.app_secret, "service_key": new.key.service_key}
    return keys | changes


def test_a_key_is_proved_by_its_three_parts_also_after_a_restart(tmp_path: Path) -> None:
    with KeyBook(tmp_path, clock=lambda: NOW) as book:
        new = book.create(name="shop", service="passflow", days=30)
        assert book.prove(**parts(new)) == new.key
    with KeyBook(tmp_path, clock=lambda: NOW) as book:
        assert book.prove(**parts(new)) == new.key
        assert (new.key.name, new.key.service, new.key.expires) == ("shop", "passflow", NOW + 30 * DAY_S)


def test_every_mistake_in_the_three_parts_gets_the_same_answer(tmp_path: Path) -> None:
    with KeyBook(tmp_path) as book:
        new, other = (book.create(name=name, service="passflow", days=30) for name in "ab")
        wrong = [
            parts(new, app_key="f" * 24),
            parts(new, app_secret="f" * 64),
            parts(new, app_secret=""),
            parts(new, app_secret="é\U0001f600"),
            parts(new, service_key=other.key.service_key),
            parts(new, app_secret=other.app_secret),
            parts(new, app_key=other.key.app_key),
        ]
        said = set()
        for keys in wrong:
            with pytest.raises(LicenceError) as refused:
                book.prove(**keys)
            said.add(str(refused.value))
        assert len(said) == 1
        book.revoke(new.key.app_key)
        with pytest.raises(LicenceError) as refused:
            book.prove(**parts(new, app_secret="f" * 64))
        assert {str(refused.value)} == said


def test_a_key_gives_nothing_from_the_second_on_in_which_it_expires(tmp_path: Path) -> None:
    clock = Clock()
    with KeyBook(tmp_path, clock=clock) as book:
        new = book.create(name="", service="passflow", days=1)
        clock.now = NOW + DAY_S - 1
        assert book.prove(**parts(new)) == new.key
        clock.now = NOW + DAY_S
        with pytest.raises(LicenceError, match=r"expired at 2027-01-16T08:00:00Z; create another"):
            book.prove(**parts(new))


def test_a_revoked_key_gives_nothing_and_others_do(tmp_path: Path) -> None:
    clock = Clock()
    with KeyBook(tmp_path, clock=clock) as book:
        new, other = (book.create(name=name, service="passflow", days=30) for name in "ab")
        revoked = book.revoke(new.key.app_key)
        clock.now += 50
        assert revoked is not None and revoked.revoked == NOW
        assert book.revoke(new.key.app_key) == revoked
        assert book.revoke("nobody") is None
        with pytest.raises(LicenceError, match="was revoked at 2027-01-15T08:00:00Z"):
            book.prove(**parts(new))
        assert book.prove(**parts(other)) == other.key
        assert [key.revoked for key in book.all()] == [NOW, 0]


def test_the_file_is_private_and_holds_no_secret(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with KeyBook(state) as book:
        new = book.create(name="", service="passflow", days=1)
        assert stat.S_IMODE(state.stat().st_mode) == 0o700
        assert new.app_secret not in repr(new) and new.key.secret_hash not in repr(book.all())
        for file in state.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
            assert new.app_secret.encode() not in file.read_bytes()
            assert bytes.fromhex(new.app_secret) not in file.read_bytes()


def test_two_books_of_one_folder_see_each_others_keys(tmp_path: Path) -> None:
    with KeyBook(tmp_path) as one, KeyBook(tmp_path) as other:
        first = one.create(name="first", service="passflow", days=1)
        second = other.create(name="second", service="passflow", days=1)
        assert one.all() == other.all() == [first.key, second.key]
        assert len({first.key.app_key, first.key.service_key, second.key.app_key, second.key.service_key}) == 4
        assert first.app_secret != second.app_secret


@pytest.mark.parametrize("spoil", [lambda file: file.write_bytes(b"\0" * 8192), Path.unlink], ids=["zeros", "gone"])
def test_a_spoilt_or_lost_file_comes_back_with_its_keys_and_revocations(tmp_path: Path, spoil: object) -> None:
    with KeyBook(tmp_path) as book:
        new, gone = (book.create(name=name, service="passflow", days=30) for name in "ab")
        book.revoke(gone.key.app_key)
        before = book.all()
    assert callable(spoil)
    spoil(tmp_path / DATABASE)
    with KeyBook(tmp_path) as book:
        assert book.all() == before
        assert book.prove(**parts(new)) == new.key
    assert (tmp_path / "damage.jsonl").read_text().count(DATABASE)


@pytest.mark.parametrize("older", ["the backup", "the file itself"])
def test_what_is_restored_takes_no_revocation_back(tmp_path: Path, older: str) -> None:
    """Whichever of the two is from before it (the file, where its -wal was lost): revoked in one is revoked."""
    file = tmp_path / DATABASE
    restored = backup_of(file) if older == "the backup" else file
    with KeyBook(tmp_path) as book:
        new = book.create(name="", service="passflow", days=30)
    before = restored.read_bytes()
    with KeyBook(tmp_path) as book:
        book.revoke(new.key.app_key)
    restored.write_bytes(before)
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT revoked > 0 FROM keys").fetchone()[0] == (older == "the backup")
        connection.execute("PRAGMA user_version = 7")  # is damage, for the history says 1
    with KeyBook(tmp_path) as book:
        assert [bool(key.revoked) for key in book.all()] == [True]


def test_a_row_that_was_tampered_with_proves_nothing_and_hides_no_other(tmp_path: Path) -> None:
    with KeyBook(tmp_path) as book:
        new, other = (book.create(name=name, service="passflow", days=30) for name in "ab")
    with closing(sqlite3.connect(tmp_path / DATABASE)) as connection:
        connection.execute("UPDATE keys SET expires = expires + 1 WHERE app_key = ?", (new.key.app_key,))
        connection.commit()
    with KeyBook(tmp_path) as book:
        with pytest.raises(StoreError, match="wrong checksum; create another key"):
            book.prove(**parts(new))
        assert book.all() == [other.key]
        assert book.prove(**parts(other)) == other.key
