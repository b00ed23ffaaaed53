"""The Authorizer against a real server: the first time, offline afterwards, and everything that must be refused."""

from __future__ import annotations

import json
import logging
import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from werkzeug.serving import make_server

from passflow import licence as module
from passflow.licence import Authorizer, unauthorised
from streamserver.core.settings import Settings
from streamserver.keys import KeyBook, NewKey, SigningKey
from streamserver.web import create_app

DAY_S = 86_400
NOBODY = "http://127.0.0.1:9"


class House:
    """A licence server in ``state``, and a client's machine whose settings know only its address."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.state = folder / "state of the server"
        self.path = folder / "shop" / "licences" / "passflow.lic"
        self.asked = 0
        app = create_app(Settings(state_dir=str(self.state)), known_types=dict)
        app.before_request(self._count)
        self._server = make_server("127.0.0.1", 0, app, threaded=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self._monkeypatch = monkeypatch
        self.set(STATE_DIR=str(folder / "state of the client"), CONFIG=str(folder / "none.yaml"))
        self.set(LICENSE_SERVER=f"http://127.0.0.1:{self._server.server_port}/")

    def _count(self) -> None:
        self.asked += 1

    def set(self, **variables: str) -> None:
        for name, value in variables.items():
            self._monkeypatch.setenv(f"STREAMSERVER_{name}", value)

    def key(self, *, days: int = 30, service: str = "passflow", clock: Callable[[], float] | None = None) -> NewKey:
        with KeyBook(self.state, **({"clock": clock} if clock else {})) as book:
            return book.create(name="", service=service, days=days)

    def authorizer(self, new: NewKey, **changes: str) -> Authorizer:
        keys = {"app_key": new.key.app_key, "app_secret": new.app_secret, "service_key": new.key.service_key} | changes
        return Authorizer(keys["app_key"], keys["app_secret"], keys["service_key"], str(self.path))

    def at(self, new: NewKey, time_s: float) -> Authorizer:
        keys = (new.key.app_key, new.app_secret, new.key.service_key)
        return Authorizer(*keys, self.path, clock=lambda: time_s)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr(module, "_ANSWER_S", 60.0)  # a busy machine's server is no server that is away
    opened = House(tmp_path, monkeypatch)
    yield opened
    opened.close()
    module._latest.set(None)


@pytest.fixture(autouse=True)
def nobody_before() -> None:
    module._latest.set(None)


def test_the_first_time_asks_the_server_and_later_ones_need_none(house: House) -> None:
    new = house.key()
    first = house.authorizer(new)
    assert (first.authorization(), first.reason) == (True, "")
    files = sorted(house.path.parent.iterdir())
    assert [file.name for file in files] == ["passflow.lic", "passflow.lic.pub"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert house.path.with_name("passflow.lic.pub").read_text().strip() == SigningKey(house.state).public_text
    assert json.loads(house.path.read_text())["app_key"] == new.key.app_key
    house.set(LICENSE_SERVER=NOBODY)
    assert house.authorizer(new).authorization()
    assert unauthorised() == ""
    assert house.asked == 1


def test_keys_that_the_server_refuses_leave_nothing_behind_and_no_secret_in_the_log(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "5a" * 32
    with caplog.at_level(logging.DEBUG):
        refused = house.authorizer(house.key(), app_secret=secret)
        assert not refused.authorization()
    assert "refuses" in refused.reason and "do not belong together" in refused.reason
    assert refused.reason in caplog.text and secret not in caplog.text
    assert not house.path.parent.exists()
    assert unauthorised() == refused.reason


def test_a_server_that_is_not_there_is_a_reason_with_its_cure(house: House) -> None:
    house.set(LICENSE_SERVER=NOBODY)
    lonely = house.authorizer(house.key())
    assert not lonely.authorization()
    assert "http://127.0.0.1:9 cannot be asked" in lonely.reason and "license_server" in lonely.reason


@pytest.mark.parametrize("address", ["ftp://host", "host:8001", "http://127.0.0.1:1/x y", "http://[", "http://a b"])
def test_an_address_that_is_none_is_a_reason(house: House, address: str) -> None:
    house.set(LICENSE_SERVER=address)
    assert not house.authorizer(house.key()).authorization()


def test_a_server_of_another_kind_is_a_reason(house: House) -> None:
    house.set(LICENSE_SERVER=f"http://127.0.0.1:{house._server.server_port}/docs")
    lost = house.authorizer(house.key())
    assert not lost.authorization() and not house.path.exists()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 403 X\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nabc",
        b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 502 X\r\nContent-Length: 99\r\n\r\n<html>",
        b"HTTP/1.1 302 X\r\nLocation: /license\r\nContent-Length: 0\r\n\r\n",
        b"\0" * 100,
    ],
    ids=["cut off refusal", "no chunks", "cut off page", "redirect", "zeros"],
)
def test_a_broken_answer_is_a_reason_and_a_redirect_is_not_followed(house: House, answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        house.set(LICENSE_SERVER=f"http://127.0.0.1:{server.getsockname()[1]}")

        def serve() -> None:
            connection, _ = server.accept()
            with connection, connection.makefile("rb") as request:
                while request.readline().strip():
                    pass
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
                request.read()

        thread = threading.Thread(target=serve)
        thread.start()
        lost = house.authorizer(house.key())
        assert not lost.authorization()
        thread.join()
    assert ("correct license_server" in lost.reason or "cannot be asked" in lost.reason) and not house.path.exists()
    assert unauthorised() == lost.reason


def test_an_altered_licence_is_refused_and_the_server_not_asked(house: House) -> None:
    new = house.key()
    assert house.authorizer(new).authorization()
    good = house.path.read_bytes()
    for at in range(0, len(good), 7):
        house.path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        assert not house.authorizer(new).authorization(), at
    assert house.asked == 1
    assert unauthorised()
    house.path.write_bytes(good)
    assert house.authorizer(new).authorization() and unauthorised() == ""


def test_a_licence_for_another_key_is_refused_and_stays(house: House) -> None:
    one, other = house.key(), house.key()
    assert house.authorizer(one).authorization()
    kept = house.path.read_bytes()
    for stranger in (
        house.authorizer(other),
        house.authorizer(one, app_key=other.key.app_key),
        house.authorizer(one, service_key=other.key.service_key),
    ):
        assert not stranger.authorization()
        assert "is for another" in stranger.reason and "give each its own license_path" in stranger.reason
    assert (house.asked, house.path.read_bytes()) == (1, kept)


def test_a_licence_for_another_service_is_refused(house: House) -> None:
    foreign = house.authorizer(house.key(service="elsewhere"))
    assert not foreign.authorization()
    assert "is for 'elsewhere', not for passflow" in foreign.reason and not house.path.exists()


def test_a_licence_expires_and_a_clock_that_is_set_back_does_not_help(house: House) -> None:
    new = house.key(days=2)
    assert house.authorizer(new).authorization()
    house.set(LICENSE_SERVER=NOBODY)
    issued = new.key.created
    assert house.at(new, new.key.expires - 1).authorization()
    late = house.at(new, new.key.expires)
    assert not late.authorization()
    assert "expired at" in late.reason and "cannot be asked" in late.reason
    early = house.at(new, issued - DAY_S)
    assert not early.authorization()
    assert "in the future; set the clock" in early.reason
    assert house.at(new, issued - 60).authorization()


def test_an_expired_licence_makes_way_for_one_of_new_keys(house: House) -> None:
    old = house.key(days=1)
    assert house.authorizer(old).authorization()
    later = float(old.key.expires + DAY_S)
    fresh = house.key(days=30, clock=lambda: later)
    assert house.at(fresh, later).authorization()
    assert json.loads(house.path.read_text())["app_key"] == fresh.key.app_key


def test_an_expiry_is_seen_at_the_next_run_of_the_same_process(house: House) -> None:
    new, now = house.key(days=2), [0.0]
    now[0] = float(new.key.created)
    long_lived = Authorizer(new.key.app_key, new.app_secret, new.key.service_key, house.path, clock=lambda: now[0])
    assert long_lived.authorization() and unauthorised() == ""
    now[0] += 3 * DAY_S
    assert "expired at" in unauthorised()
    now[0] -= 3 * DAY_S
    assert unauthorised() == ""
    house.path.unlink()
    assert "there is no licence" in unauthorised()
    assert house.asked == 1


def test_a_configured_public_key_is_the_only_one_that_is_trusted(house: House, tmp_path: Path) -> None:
    new = house.key()
    house.set(LICENSE_PUBLIC_KEY=SigningKey(tmp_path / "another").public_text)
    assert not house.authorizer(new).authorization() and not house.path.exists()
    house.set(LICENSE_PUBLIC_KEY=SigningKey(house.state).public_text)
    assert house.authorizer(new).authorization()
    assert [file.name for file in house.path.parent.iterdir()] == ["passflow.lic"]
    house.set(LICENSE_PUBLIC_KEY=SigningKey(tmp_path / "another").public_text)
    strict = house.authorizer(new)
    assert not strict.authorization()
    assert "another server signed it" in strict.reason and "license_public_key" in strict.reason
    house.set(LICENSE_PUBLIC_KEY="nonsense")
    assert not house.authorizer(new).authorization()


def test_on_the_servers_own_machine_its_key_is_trusted(house: House, tmp_path: Path) -> None:
    house.set(STATE_DIR=str(house.state))
    new = house.key()
    SigningKey(house.state)
    assert house.authorizer(new).authorization()
    assert [file.name for file in house.path.parent.iterdir()] == ["passflow.lic"]
    house.set(STATE_DIR=str(tmp_path / "elsewhere"))
    moved = house.authorizer(new)
    assert not moved.authorization()
    assert "passflow.lic.pub is gone" in moved.reason


def test_the_key_of_the_first_licence_is_pinned(house: House, tmp_path: Path) -> None:
    new = house.key()
    assert house.authorizer(new).authorization()
    house.path.unlink()
    for file in house.state.glob("license.*"):
        file.unlink()  # the server gets another key, as an impostor would have
    assert not house.authorizer(new).authorization()
    assert not house.path.exists()
    house.path.with_name("passflow.lic.pub").unlink()
    assert house.authorizer(new).authorization()


@pytest.mark.parametrize(
    "arguments",
    [
        (None, "b", "c", "lic"),
        ("a", 5, "c", "lic"),
        ("a", "b", "", "lic"),
        ("a", "b", "c", None),
        ("a", "b", "c", ""),
        ("a", "b", "c", 3),
        ("a", "b", "c", "li\0c"),
        ("a", "b", "c", "~nobody-has-this-name/lic"),
        ("a", "b", "c", "/"),
        ("a", "b", "c", b"/proc/none/lic"),
        ("\udc00", "b", "c", "/proc/none/lic"),
    ],
    ids=[
        "none",
        "number",
        "empty",
        "no path",
        "empty path",
        "number path",
        "nul",
        "home",
        "folder",
        "bytes",
        "surrogate",
    ],
)
def test_nonsense_is_refused_and_never_raises(house: House, arguments: tuple[str, str, str, str]) -> None:
    odd = Authorizer(*arguments)
    assert odd.authorization() is False
    assert odd.reason and unauthorised() == odd.reason


def test_a_path_that_cannot_be_used_is_said_with_its_cure_and_a_pipe_is_not_waited_for(
    house: House, tmp_path: Path
) -> None:
    pipe, new = tmp_path / "pipe", house.key()
    os.mkfifo(pipe)
    house.set(LICENSE_PUBLIC_KEY=SigningKey(house.state).public_text)
    for path, words in ((pipe, "it is no JSON"), (tmp_path, "file that this user may"), ("/proc/no/lic", "/proc/no")):
        odd = Authorizer(new.key.app_key, new.app_secret, new.key.service_key, path)
        assert not odd.authorization()
        assert words in odd.reason and ("; name a file" in odd.reason or path == pipe)


def test_an_authorizer_that_was_only_made_decides_nothing(house: House) -> None:
    Authorizer("a", "b", "c", house.path)
    assert unauthorised() == ""


def test_nobody_used_is_open_unless_a_licence_is_required(house: House) -> None:
    assert unauthorised() == ""
    house.set(LICENSE="required")
    assert "a licence is required" in unauthorised()
    assert house.authorizer(house.key()).authorization()
    assert unauthorised() == ""


def test_settings_that_cannot_be_read_authorise_nothing(house: House) -> None:
    house.set(LICENSE="maybe")
    assert "use one of open, required" in unauthorised()
    assert not house.authorizer(house.key()).authorization()


def test_many_threads_at_once_get_one_licence_each_that_all_can_use(house: House) -> None:
    new = house.key()
    granted: list[bool] = []
    threads = [
        threading.Thread(target=lambda: granted.append(house.authorizer(new).authorization() and not unauthorised()))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert granted == [True] * 6
    assert sorted(file.name for file in house.path.parent.iterdir()) == ["passflow.lic", "passflow.lic.pub"]
