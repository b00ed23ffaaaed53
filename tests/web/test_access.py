"""Who may ask what: keys, roles, addresses, names, limits; and what an attacker gets."""

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from streamserver.core import audit
from streamserver.core.errors import ConfigError
from streamserver.core.settings import Settings
from streamserver.keys import KeyBook
from streamserver.store import TaskStore
from streamserver.web import access_rules as rules
from streamserver.web import create_app
from streamserver.web.access_rules import NEEDED, Role
from streamserver.web.audit import ACTIONS
from tests.web.conftest import TYPES, body

OPEN = [path for path, role in NEEDED.items() if role is Role.NONE and path not in ("/license", "/readyz")]


class House:
    """An application with settings of its own, a key of each role, and callers from anywhere."""

    def __init__(self, state: Path, store: TaskStore, **settings: Any) -> None:
        self.settings = Settings(state_dir=str(state), **({"host": "0.0.0.0"} | settings))
        self.app = create_app(
            self.settings, store=store, check=lambda request, settings: None, known_types=lambda: TYPES
        )
        self.book = KeyBook(state)
        self.write = self.book.create_api_key(name="front end", role="write")
        self.read = self.book.create_api_key(name="wall", role="read")

    def ask(
        self,
        path: str,
        *,
        token: str = "",
        basic: str = "",
        method: str = "GET",
        address: str = "203.0.113.9",
        content: Any = None,
        **headers: str,
    ) -> TestResponse:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            sent["Authorization"] = f"Bearer {token}"
        if basic:
            sent["Authorization"] = "Basic " + base64.b64encode(f"any:{basic}".encode()).decode()
        client: FlaskClient = self.app.test_client()
        return client.open(path, method=method, headers=sent, json=content, environ_overrides={"REMOTE_ADDR": address})

    def create(self, **options: Any) -> TestResponse:
        return self.ask("/task/create", method="POST", content=body(), **options)

    def audited(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in audit.audit_file(self.settings.state_path).read_text().splitlines()]


@pytest.fixture
def house(settings: Settings, store: TaskStore) -> Iterator[House]:
    made = House(settings.state_path, store)
    yield made
    made.book.close()


def code(response: TestResponse) -> tuple[int, int]:
    return response.status_code, response.get_json()["Code"]


def test_every_rule_of_the_application_is_in_the_table_and_every_change_is_audited(house: House) -> None:
    served = {rule.rule for rule in house.app.url_map.iter_rules()}
    assert served <= set(NEEDED), "say in web/access_rules.py who may ask it"
    changes = {path.rpartition(" ")[2] for path, role in NEEDED.items() if role is Role.WRITE}
    assert changes - {"/task/snapshot"} | {"/license"} == set(ACTIONS)


def test_a_rule_that_the_table_lacks_is_refused_to_everybody(house: House) -> None:
    house.app.add_url_rule("/new", view_func=lambda: "open by accident")
    assert code(house.ask("/new", token=house.write.token)) == (403, 4030)
    assert house.ask("/new").status_code == 403


def test_without_a_key_only_what_is_open_answers(house: House) -> None:
    for rule, needed in NEEDED.items():
        method, _, path = rule.rpartition(" ")
        reply = house.ask(path, method=method or ("POST" if needed is Role.WRITE else "GET"))
        if needed is not Role.NONE:
            assert code(reply) == (401, 4010), rule
            assert reply.get_json()["Msg"].startswith("this needs an API key; send a token, 'ss_…', in the header Auth")
            assert "Bearer" in reply.headers["WWW-Authenticate"]
    assert {path: house.ask(path).status_code for path in OPEN} == dict.fromkeys(OPEN, 200) | {"/": 302}
    assert house.ask("/readyz").status_code in (200, 503)
    assert code(house.ask("/no/such/path")) == (401, 4010)
    assert code(house.ask("/no/such/path", token=house.read.token)) == (404, 4000)


def test_roles(house: House) -> None:
    assert code(house.ask("/task/list", token=house.read.token)) == (200, 0)
    assert code(house.create(token=house.read.token)) == (403, 4030)
    assert code(house.create(token=house.write.token)) == (200, 0)
    assert code(house.ask("/task/list", basic=house.write.token)) == (200, 0)
    assert code(house.create(basic=house.write.token)) == (403, 4030)
    content = {"Address": "rtsp://192.0.2.1/x"}
    assert code(house.ask("/task/snapshot", token=house.read.token, method="POST", content=content)) == (403, 4030)


def test_a_browser_is_asked_for_a_password_only_where_one_helps(house: House) -> None:
    assert [c.split()[0] for c in house.ask("/task/list").headers.getlist("WWW-Authenticate")] == ["Bearer", "Basic"]
    assert [c.split()[0] for c in house.create().headers.getlist("WWW-Authenticate")] == ["Bearer"]


def test_expired_revoked_and_unknown_keys_look_the_same_and_the_log_tells_them_apart(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    with KeyBook(house.settings.state_path, clock=lambda: 1_000_000.0) as book:
        old = book.create_api_key(name="", role="read", days=1)
    assert house.ask("/task/list", token=house.read.token).status_code == 200
    house.book.revoke_api_key(house.read.key.id)
    unknown = f"ss_{'0' * 12}_{'0' * 64}"
    with caplog.at_level(logging.WARNING):
        answers = [house.ask("/task/list", token=token) for token in (old.token, house.read.token, unknown)]
    assert {(answer.status_code, answer.text) for answer in answers} == {(401, answers[0].text)}
    for told in (f"key {old.key.id} is expired", f"key {house.read.key.id} is revoked", "there is no key 000000000000"):
        assert told in caplog.text
    assert not any(token.rpartition("_")[2] in caplog.text for token in (old.token, house.read.token, unknown))


@pytest.mark.parametrize(
    "header",
    [
        "Bearer {0}, Bearer {0}",
        "Bearer {0},{0}",
        "Bearer",
        "Bearer {0}\u00b2",
        "Bearer {0}" + "0" * 100_000,
        "Bearer ss_{1}_",
        "Token {0}",
        "{0}",
        "Basic {0}",
        "Basic " + "A" * 100_000,
        "Basic \u0661\u0662",
    ],
    ids=[
        "twice",
        "list",
        "empty",
        "digit",
        "huge",
        "no secret",
        "scheme",
        "bare",
        "not base64",
        "huge basic",
        "arabic",
    ],
)
def test_a_header_that_is_not_exactly_a_token_opens_nothing(house: House, header: str) -> None:
    sent = header.format(house.write.token, house.write.key.id).encode("utf-8").decode("latin-1")
    assert house.ask("/task/list", Authorization=sent).status_code == 401


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer  "])
def test_the_scheme_may_be_written_in_any_case(house: House, scheme: str) -> None:
    assert house.ask("/task/list", Authorization=f"{scheme} {house.read.token}").status_code == 200


def test_a_token_in_the_address_or_a_cookie_opens_nothing(house: House) -> None:
    for name in ("token", "key", "access_token", "Authorization"):
        assert house.ask(f"/task/list?{name}={house.write.token}").status_code == 401
    assert house.ask("/task/list", Cookie=f"token={house.write.token}").status_code == 401


def test_keys_of_applications_open_nothing(house: House) -> None:
    new = house.book.create(name="", service="passflow", days=1)
    for token in (
        new.app_secret,
        f"ss_{new.key.app_key}_{new.app_secret}",
        f"ss_{new.key.app_key[:12]}_{new.app_secret}",
    ):
        assert house.ask("/task/list", token=token).status_code == 401


@pytest.mark.parametrize(
    ("chosen", "address", "headers", "status"),
    [
        ({"host": "127.0.0.1"}, "127.0.0.1", {}, 200),
        ({"host": "::1"}, "::1", {}, 200),
        ({"host": "localhost"}, "::ffff:127.0.0.1", {}, 200),
        ({"host": "127.0.0.1"}, "192.168.1.7", {}, 401),
        ({"host": "127.0.0.1"}, "", {}, 401),
        ({"host": "127.0.0.1"}, "127.0.0.1", {"X_Forwarded_For": "127.0.0.1"}, 401),
        ({"host": "127.0.0.1", "auth": "on"}, "127.0.0.1", {}, 401),
        ({"host": "0.0.0.0"}, "127.0.0.1", {}, 401),
        ({"host": ""}, "127.0.0.1", {}, 401),
        ({"auth": "off"}, "203.0.113.9", {}, 200),
        ({"auth": "off"}, "", {}, 200),
        ({"trusted_networks": "10.0.0.5, 192.168.7.0/24"}, "192.168.7.9", {}, 200),
        ({"trusted_networks": "10.0.0.5"}, "::ffff:10.0.0.5", {}, 200),
        ({"trusted_networks": "10.0.0.5"}, "10.0.0.6", {"X_Forwarded_For": "10.0.0.5"}, 401),
        ({"trusted_networks": "fd00::/8", "auth": "on"}, "fd00::7%eth0", {}, 200),
    ],
    ids=lambda value: str(value).replace("'", "") if not isinstance(value, int) else None,
)
def test_who_needs_a_key(
    tmp_path: Path, store: TaskStore, chosen: dict[str, str], address: str, headers: dict[str, str], status: int
) -> None:
    house = House(tmp_path / "state", store, **chosen)
    assert house.ask("/task/list", address=address, **headers).status_code == status
    house.book.close()


def test_a_network_that_is_none_is_refused_at_the_start(tmp_path: Path, store: TaskStore) -> None:
    with pytest.raises(ConfigError, match="trusted_networks"):
        create_app(Settings(state_dir=str(tmp_path), trusted_networks="10.0.0.300"), store=store)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8001", 200),
        ("[::1]:8001", 200),
        ("localhost", 200),
        ("gateway:8001", 200),
        ("stream.example.com", 200),
        ("STREAM.example.com:80", 200),
        ("evil.example:8001", 403),
        ("127.0.0.1.evil.example", 403),
        ("a b.c", 403),
        ("[::1].evil.example", 403),
        ("evil.example@127.0.0.1", 403),
    ],
)
def test_without_keys_no_name_that_others_own_is_answered(
    tmp_path: Path, store: TaskStore, host: str, status: int
) -> None:
    house = House(tmp_path / "state", store, host="127.0.0.1", host_names="other.example, stream.example.com")
    assert house.ask("/task/list", address="127.0.0.1", Host=host).status_code == status
    house.book.close()


@pytest.mark.parametrize(
    ("environ", "foreign"),
    [
        ({}, False),
        ({"HTTP_SEC_FETCH_SITE": "same-origin"}, False),
        ({"HTTP_SEC_FETCH_SITE": "same-site", "HTTP_ORIGIN": "http://cam:8089", "HTTP_HOST": "cam:8001"}, False),
        ({"HTTP_SEC_FETCH_SITE": "Cross-Site"}, True),
        ({"HTTP_ORIGIN": "http://10.0.0.5:8089", "HTTP_HOST": "10.0.0.5:8001"}, False),
        ({"HTTP_ORIGIN": "http://evil.example", "HTTP_HOST": "10.0.0.5:8001"}, True),
        ({"HTTP_ORIGIN": "null", "HTTP_HOST": "10.0.0.5:8001"}, True),
    ],
    ids=["program", "own", "other port", "cross", "same host", "older browser", "null"],
)
def test_what_browsers_say_of_the_page(environ: dict[str, str], foreign: bool) -> None:
    assert rules.is_from_other_site(environ) is foreign


def test_ten_wrong_keys_lock_an_address_out_but_not_the_keys_that_there_are(house: House) -> None:
    """Behind a proxy everybody has one address: whoever has no key must not keep the others from using theirs."""
    wrong, near, far = f"ss_{'0' * 12}_{'0' * 64}", "2001:db8:0:1::5", "2001:db8:0:2::5"
    began_at = time.monotonic()
    said = [house.ask("/task/list", token=wrong, address=f"2001:db8:0:1::{n}").status_code for n in range(11)]
    assert said == [401] * 10 + [429]
    locked = house.ask("/task/list", token="what is no token", address=near)
    assert code(locked) == (429, 4290)
    assert 59 - (time.monotonic() - began_at) <= int(locked.headers["Retry-After"]) <= 60
    assert house.ask("/task/list", token=house.read.token, address=near).status_code == 200
    assert house.ask("/task/list", token=wrong, address=far).status_code == 401
    assert house.ask("/livez", address=near).status_code == 200


def test_ten_wrong_secrets_of_a_key_lock_it_there_unless_it_was_good_from_there(house: House) -> None:
    near, far = "203.0.113.1", "203.0.113.2"
    assert house.ask("/task/list", token=house.read.token, address=near).status_code == 200
    for key in (house.read, house.write):
        wrong = f"{key.token[:16]}{'0' * 64}"
        assert [house.ask("/task/list", token=wrong, address=near).status_code for _ in range(10)] == [401] * 10
    assert code(house.ask("/task/list", token=house.write.token, address=near)) == (429, 4290)
    assert house.ask("/task/list", token=house.write.token, address=far).status_code == 200
    assert house.ask("/task/list", token=house.read.token, address=near).status_code == 200


def test_who_asks_too_often_is_told_when_to_come_back_and_others_are_answered(tmp_path: Path, store: TaskStore) -> None:
    house = House(tmp_path / "state", store, rate_per_s=0.001)
    assert [house.ask("/task/list", token=house.read.token).status_code for _ in range(3)] == [200, 429, 429]
    refused = house.ask("/task/list", token=house.read.token)
    assert code(refused) == (429, 4290) and 900 < int(refused.headers["Retry-After"]) <= 1000
    assert house.ask("/task/list", token=house.write.token).status_code == 200
    assert [house.ask("/docs").status_code for _ in range(3)] == [200, 429, 429]
    assert house.ask("/livez").status_code == 200
    house.book.close()


def test_a_book_that_cannot_be_read_lets_nobody_in_and_the_server_goes_on(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    assert house.ask("/task/list", token=house.read.token).status_code == 200
    file = house.settings.state_path / "keys.sqlite"
    house.book.close()
    for path in house.settings.state_path.glob("keys.sqlite*"):
        path.unlink()
    assert code(house.ask("/task/list", token=house.read.token)) == (503, 5021)
    assert f"nobody is let in, for {file} is gone; restore it" in caplog.text
    assert house.ask("/task/list").status_code == 401
    assert house.ask("/livez").status_code == 200
    assert not file.exists()


def test_changes_and_refusals_are_audited_with_who_and_what(house: House) -> None:
    house.create(token=house.write.token)
    house.create(token=house.write.token)
    house.ask("/task/create", method="POST", token=house.write.token, content=body(TaskID="x\ny", Algorithm=[]))
    house.ask("/task/delete", method="POST", token=house.write.token, content={"TaskID": "nobody"})
    house.create(token=house.read.token)
    house.ask("/license", method="POST", content={"app_key": "a", "app_secret": "b", "service_key": "c"})
    told = [(e["action"], e["by"], e["name"], e["subject"], e["code"]) for e in house.audited()]
    writer, reader = f"key {house.write.key.id}", f"key {house.read.key.id}"
    assert told == [
        ("create", writer, "front end", body()["TaskID"], 0),
        ("create", writer, "front end", None, 4000),
        ("delete", writer, "front end", "nobody", -1),
        ("refused", reader, "wall", "POST /task/create", 4030),
    ]
    assert {e["address"] for e in house.audited()} == {"203.0.113.9"}
    assert ["TaskID" in e.get("detail", "") for e in house.audited()] == [False, True, True, False]


def test_a_flood_of_refusals_is_counted_and_not_written(house: House) -> None:
    for _ in range(200):
        house.ask("/task/list?token=x")
    assert 50 <= len(house.audited()) <= 60


def test_an_audit_log_that_cannot_be_written_stops_no_change(house: House, caplog: pytest.LogCaptureFixture) -> None:
    audit.audit_file(house.settings.state_path).mkdir(parents=True)
    assert code(house.create(token=house.write.token)) == (200, 0)
    assert "audit.log cannot be written" in caplog.text and body()["TaskID"] in caplog.text


@pytest.mark.parametrize(
    ("chosen", "level", "says"),
    [
        ({"host": "127.0.0.1"}, "INFO", "no API keys are needed"),
        ({"host": "0.0.0.0"}, "INFO", "none exists yet: python -m streamserver.keys create --role write"),
        ({"host": "0.0.0.0", "auth": "off"}, "WARNING", "auth is off: whoever reaches 0.0.0.0"),
    ],
    ids=["loopback", "everywhere", "off"],
)
def test_the_start_says_what_holds(
    tmp_path: Path,
    store: TaskStore,
    caplog: pytest.LogCaptureFixture,
    chosen: dict[str, str],
    level: str,
    says: str,
) -> None:
    with caplog.at_level(logging.INFO):
        create_app(Settings(state_dir=str(tmp_path / "state"), **chosen), store=store)  # type: ignore[arg-type]
    assert [(r.levelname, says in r.getMessage()) for r in caplog.records if "access" in r.name] == [(level, True)]


def test_headers_keep_browsers_from_guessing_framing_and_keeping(tmp_path: Path, store: TaskStore) -> None:
    house = House(tmp_path / "state", store, host="127.0.0.1", tls_cert="x")
    for path in ("/task/list", "/docs", "/nowhere", "/livez"):
        headers = house.ask(path, address="127.0.0.1", Origin="http://evil.example").headers
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["Cache-Control"] == "no-store"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Strict-Transport-Security"] == "max-age=86400"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert not [name for name, _ in headers if name.startswith("Access-Control")]
    page = house.ask("/docs", address="127.0.0.1")
    nonce = page.headers["Content-Security-Policy"].partition("'nonce-")[2].partition("'")[0]
    assert f'<style nonce="{nonce}">' in page.text and "unsafe" not in page.headers["Content-Security-Policy"]
    assert " style=" not in page.text and nonce not in house.ask("/docs", address="127.0.0.1").text
    preflight = house.ask("/task/create", method="OPTIONS", address="127.0.0.1", Origin="http://evil.example")
    assert (preflight.text, set(preflight.headers["Allow"].split(", "))) == ("", {"POST", "OPTIONS"})
    assert not [name for name, _ in preflight.headers if name.startswith("Access-Control")]
    house.book.close()


def test_the_document_says_what_each_operation_needs(house: House) -> None:
    document = house.ask("/openapi.json").get_json()
    assert set(document["components"]["securitySchemes"]) == {"bearer", "basic"}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            needed = rules.needed(path, method.upper())
            assert needed is not None, path
            assert bool(operation["security"]) is (needed is not Role.NONE), path
            assert ("401" in operation["responses"]) is (needed is not Role.NONE), path
            assert "403" in operation["responses"], path
