"""Keys for the HTTP API: in the book, at the command line, and as a server proves them."""

from __future__ import annotations

import hmac
import json
import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from streamserver.core import audit
from streamserver.core.errors import StoreError
from streamserver.durable import backup_of
from streamserver.keys import KeyBook, KeyRing
from streamserver.keys import ring as ring_module
from streamserver.keys.__main__ import main
from streamserver.keys.api import TOKEN
from streamserver.keys.book import DATABASE

NOW = 1_800_000_000.0

VERSION_1 = """
CREATE TABLE keys (id INTEGER PRIMARY KEY, app_key TEXT NOT NULL UNIQUE, name TEXT NOT NULL, service TEXT NOT NULL,
  service_key TEXT NOT NULL UNIQUE, secret_hash TEXT NOT NULL, created INTEGER NOT NULL, expires INTEGER NOT NULL,
  revoked INTEGER NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE schema_history (version INTEGER PRIMARY KEY, program TEXT, at REAL);
INSERT INTO schema_history VALUES (1, '1.0.0', 0);
PRAGMA user_version = 1;
"""


@pytest.fixture
def command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STREAMSERVER_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("STREAMSERVER_CONFIG", str(tmp_path / "none.yaml"))
    monkeypatch.setattr("streamserver.core.logs.configure", lambda **options: None)
    return tmp_path / "state"


def audited(state: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in audit.audit_file(state).read_text("ascii").splitlines()]


def test_a_book_of_the_first_version_keeps_its_keys_and_takes_new_ones(tmp_path: Path) -> None:
    with KeyBook(tmp_path / "new") as book:
        old = book.create(name="shop", service="passflow", days=30)
    with closing(sqlite3.connect(tmp_path / "new" / DATABASE)) as source:
        row = source.execute("SELECT * FROM keys").fetchone()
    with closing(sqlite3.connect(tmp_path / DATABASE)) as target:
        target.executescript(VERSION_1)
        target.execute(f"INSERT INTO keys VALUES ({', '.join('?' * len(row))})", row)
        target.commit()
    with KeyBook(tmp_path) as book:
        assert book.all() == [old.key]
        new = book.create_api_key(name="", role="read")
        assert book.api_keys() == [new.key]


def test_a_token_proves_its_key_and_nothing_else_does(tmp_path: Path) -> None:
    with KeyBook(tmp_path) as book:
        new, other = book.create_api_key(name="a", role="write"), book.create_api_key(name="b", role="read")
        application = book.create(name="", service="passflow", days=1)
    ring = KeyRing(tmp_path)
    assert ring.prove(new.token) == (new.key, "")
    key_id, secret = TOKEN.fullmatch(new.token).groups()  # type: ignore[union-attr]
    other_secret = other.token.rpartition("_")[2]
    wrong = {
        "": "no token",
        secret: "no token",
        new.token.upper(): "no token",
        f"{new.token}\n": "no token",
        f"{new.token}\0": "no token",
        f"ss_{key_id}_{'١' * 64}": "no token",
        f"ss_{'f' * 12}_{secret}": "there is no key ffffffffffff",
        f"ss_{key_id}_{other_secret}": f"wrong secret for key {key_id}",
        f"ss_{application.key.app_key[:12]}_{application.app_secret}": "there is no key",
        f"ss_{application.key.app_key}_{application.app_secret}": "no token",
    }
    for token, says in wrong.items():
        key, problem = ring.prove(token)
        assert key is None and problem.startswith(says), token


def test_an_api_key_gives_no_licence(tmp_path: Path) -> None:
    from streamserver.core.errors import LicenceError

    with KeyBook(tmp_path) as book:
        new = book.create_api_key(name="", role="write")
        secret = new.token.rpartition("_")[2]
        for parts in ((new.key.id, secret), (new.token, new.token)):
            with pytest.raises(LicenceError, match="there is no such key"):
                book.prove(app_key=parts[0], app_secret=parts[1], service_key="")


def test_secrets_are_compared_in_constant_time_also_for_keys_that_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with KeyBook(tmp_path) as book:
        new = book.create_api_key(name="", role="write")
    compared: list[tuple[Any, Any]] = []
    really = hmac.compare_digest

    def compare(a: Any, b: Any) -> bool:
        compared.append((a, b))
        return really(a, b)

    monkeypatch.setattr(ring_module.hmac, "compare_digest", compare)  # type: ignore[attr-defined]
    ring = KeyRing(tmp_path)
    assert ring.prove(new.token)[0] and not ring.prove(f"ss_{'0' * 12}_{'0' * 64}")[0]
    assert [(len(a), len(b)) for a, b in compared] == [(64, 64), (64, 64)]


def test_a_revoked_or_expired_key_is_refused_at_once_and_told_apart_only_inside(tmp_path: Path) -> None:
    with KeyBook(tmp_path, clock=lambda: NOW) as book:
        brief = book.create_api_key(name="", role="read", days=1)
        lasting = book.create_api_key(name="", role="read")
        now = [NOW]
        ring = KeyRing(tmp_path, clock=lambda: now[0])
        assert ring.prove(brief.token) == (brief.key, "") and ring.has_keys()
        now[0] += 86_400
        assert ring.prove(brief.token) == (brief.key, f"key {brief.key.id} is expired")
        revoked = book.revoke_api_key(lasting.key.id)
        assert ring.prove(lasting.token) == (revoked, f"key {lasting.key.id} is revoked")
        assert book.revoke_api_key(lasting.key.id) == revoked
        assert book.revoke_api_key("nobody") is None
        assert not ring.has_keys()


def test_a_book_without_change_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with KeyBook(tmp_path) as book:
        new = book.create_api_key(name="", role="read")
    monkeypatch.setattr(ring_module, "_SETTLED_NS", -1)
    ring = KeyRing(tmp_path)
    assert ring.prove(new.token)[0] == new.key
    monkeypatch.setattr(ring_module, "KeyBook", None)
    for _ in range(3):
        assert ring.prove(new.token)[0] == new.key


def test_no_book_is_no_key_and_makes_no_file_until_there_was_one(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path)
    assert not ring.has_keys() and list(tmp_path.iterdir()) == []
    with KeyBook(tmp_path) as book:
        new = book.create_api_key(name="", role="read")
    assert ring.prove(new.token)[0] == new.key
    (tmp_path / DATABASE).unlink()
    assert ring.prove(new.token)[0] == new.key, "comes back from the backup"
    for file in (tmp_path / DATABASE, backup_of(tmp_path / DATABASE)):
        file.unlink()
    with pytest.raises(StoreError, match="is gone; restore it from a copy"):
        ring.prove(new.token)


def test_a_book_that_cannot_be_read_lets_nobody_in_and_one_that_is_well_again_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ring_module, "_TRY_AGAIN_S", 0.0)
    with KeyBook(tmp_path) as book:
        new = book.create_api_key(name="", role="read")
    ring = KeyRing(tmp_path)
    assert ring.prove(new.token)[0] == new.key
    shutil.move(tmp_path / DATABASE, tmp_path / "aside")
    (tmp_path / DATABASE).mkdir()
    (tmp_path / DATABASE / "full").touch()
    for _ in range(2):
        with pytest.raises(StoreError):
            ring.prove(new.token)
    shutil.rmtree(tmp_path / DATABASE)
    shutil.move(tmp_path / "aside", tmp_path / DATABASE)
    assert ring.prove(new.token)[0] == new.key


def test_a_spoilt_book_comes_back_with_its_api_keys_and_a_tampered_row_proves_nothing(tmp_path: Path) -> None:
    with KeyBook(tmp_path) as book:
        new, gone = (book.create_api_key(name=name, role="read") for name in "ab")
        book.revoke_api_key(gone.key.id)
        before = book.api_keys()
    (tmp_path / DATABASE).write_bytes(b"\0" * 8192)
    with KeyBook(tmp_path) as book:
        assert book.api_keys() == before
    with closing(sqlite3.connect(tmp_path / DATABASE)) as connection:
        connection.execute("UPDATE api_keys SET role = 'write' WHERE id = ?", (new.key.id,))
        connection.commit()
    assert KeyRing(tmp_path).prove(new.token)[0] is None


def test_the_command_line_shows_a_token_once_lists_and_revokes_it_and_all_is_audited(
    command_line: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["create", "--role", "write", "--name", "front end"]) == 0
    said = capsys.readouterr()
    token = said.out.removeprefix("token: ").strip()
    secret = token.rpartition("_")[2]
    assert "valid until it is revoked" in said.err and secret not in said.err
    ring = KeyRing(command_line)
    key, _ = ring.prove(token)
    assert key is not None and (key.role, key.name, key.expires) == ("write", "front end", 0)
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert key.id in listed and "front end" in listed and "never" in listed and secret not in listed
    assert main(["revoke", token]) == 0, "a whole token names its key too"
    assert f"key {key.id} was revoked" in capsys.readouterr().out
    assert ring.prove(token)[1] == f"key {key.id} is revoked"
    assert main(["revoke", f"ss_{'0' * 12}_{secret}"]) == 1
    assert secret not in capsys.readouterr().err
    entries = audited(command_line)
    assert [(e["action"], e["subject"]) for e in entries] == [("key created", key.id), ("key revoked", key.id)]
    assert "command line" in entries[0]["by"] and secret not in json.dumps(entries)
    assert stat.S_IMODE(audit.audit_file(command_line).stat().st_mode) == 0o600
    assert stat.S_IMODE(audit.audit_file(command_line).parent.stat().st_mode) == 0o700


def test_the_last_use_is_shown_by_list(command_line: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with KeyBook(command_line) as book:
        new = book.create_api_key(name="", role="read")
    KeyRing(command_line, clock=lambda: NOW).prove(new.token)
    assert main(["list"]) == 0
    assert "2027-01-15T08:00:00Z" in capsys.readouterr().out
    assert main(["list", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)["api_keys"]
    assert (listed["id"], listed["role"], listed["state"]) == (new.key.id, "read", "valid")
    assert (listed["expires"], listed["last_used"]) == (None, "2027-01-15T08:00:00Z")
    assert "secret" not in str(listed)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["create", "--role", "read", "--service", "passflow"], "--service is for keys of applications"),
        (["revoke", "nobody"], "there is no app_key 'nobody', nor an API key of this id"),
    ],
    ids=["both kinds", "nobody"],
)
def test_what_cannot_be_meant_is_an_error_in_words(
    command_line: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    assert says in capsys.readouterr().err
