"""``POST /license``: who gets a licence, and that nobody else learns anything."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from streamserver.core.licences import from_file, public_key_from_text, to_file
from streamserver.core.settings import PROJECT_DIR, Settings
from streamserver.keys import KeyBook, NewKey
from streamserver.web.openapi_license import license_paths

SECRET = "1f" * 32


@pytest.fixture
def book(settings: Settings) -> Iterator[KeyBook]:
    with KeyBook(settings.state_path) as opened:
        yield opened


@pytest.fixture
def new(book: KeyBook) -> NewKey:
    return book.create(name="shop", service="passflow", days=30)


def keys(new: NewKey, **changes: Any) -> dict[str, Any]:
    sent = {"app_key": new.key.app_key, "app_secret": new.app_secret, "service_key": new.key.service_key}
    return {key: value for key, value in (sent | changes).items() if value is not None}


def test_keys_give_a_licence_that_can_be_checked_by_itself(
    client: FlaskClient, new: NewKey, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        response = client.post("/license", json=keys(new))
    reply = response.get_json()
    assert (response.status_code, reply["Code"], set(reply)) == (200, 0, {"Code", "Msg", "Result"})
    result = reply["Result"]
    assert result["PublicKey"] == (settings.state_path / "license.pub").read_text().strip()
    licence = from_file(to_file(result["License"]), public_key_from_text(result["PublicKey"]))
    assert (licence.app_key, licence.service_key) == (new.key.app_key, new.key.service_key)
    assert (licence.service, licence.expires) == ("passflow", new.key.expires)
    assert result["License"]["license_id"] in caplog.text
    assert new.app_secret not in caplog.text + response.text


def test_unknown_and_wrong_keys_get_the_same_answer_and_no_log_shows_the_secret(
    client: FlaskClient, new: NewKey, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = [keys(new, app_secret=SECRET), keys(new, app_key="0" * 24, app_secret=SECRET), keys(new, service_key="x")]
    with caplog.at_level(logging.DEBUG):
        answers = [client.post("/license", json=sent) for sent in wrong]
    assert {(answer.status_code, answer.text) for answer in answers} == {(403, answers[0].text)}
    assert answers[0].get_json()["Code"] == 5019
    assert "do not belong together, or there is no such key; send all three" in answers[0].get_json()["Msg"]
    assert SECRET not in caplog.text and new.app_secret not in caplog.text


def test_a_server_without_any_key_answers_as_one_that_does_not_know_it(client: FlaskClient) -> None:
    response = client.post("/license", json={"app_key": "a", "app_secret": "b", "service_key": "c"})
    assert (response.status_code, response.get_json()["Code"]) == (403, 5019)


def test_a_revoked_key_is_told_so(client: FlaskClient, new: NewKey, book: KeyBook) -> None:
    book.revoke(new.key.app_key)
    reply = client.post("/license", json=keys(new)).get_json()
    assert reply["Code"] == 5019
    assert "was revoked at" in reply["Msg"] and "create another" in reply["Msg"]


def test_an_expired_key_is_told_so(client: FlaskClient, settings: Settings) -> None:
    with KeyBook(settings.state_path, clock=lambda: 1_000_000.0) as book:
        old = book.create(name="", service="passflow", days=1)
    reply = client.post("/license", json=keys(old)).get_json()
    assert (reply["Code"], "expired at 1970-01-13T13:46:40Z" in reply["Msg"]) == (5019, True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"app_secret": None}, "$.app_secret: is missing"),
        ({"app_key": None, "App_Key": "x"}, "did you mean 'app_key'"),
        ({"app_secret": 12345678901}, "$.app_secret: expected a text of 1 to 256 printable characters; send it as"),
        ({"app_secret": [SECRET]}, "$.app_secret: expected a text"),
        ({"app_secret": ""}, "$.app_secret: expected a text"),
        ({"app_secret": SECRET * 5}, "$.app_secret: expected a text"),
        ({"app_secret": f"{SECRET}\n"}, "$.app_secret: expected a text"),
    ],
    ids=["missing", "misspelt", "number", "list", "empty", "long", "line break"],
)
def test_a_body_that_is_not_as_it_should_be_is_told_without_showing_a_secret(
    client: FlaskClient, new: NewKey, changes: dict[str, Any], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        response = client.post("/license", json=keys(new, **changes))
    assert (response.status_code, response.get_json()["Code"]) == (400, 4000)
    assert message in response.get_json()["Msg"]
    assert not any(secret in caplog.text + response.text for secret in (SECRET, "12345678901", new.app_secret))


def test_a_body_that_is_too_large_is_not_read_whole(client: FlaskClient) -> None:
    response = client.post("/license", data=b" " * 1_000_001)
    assert (response.status_code, response.get_json()["Code"]) == (413, 4001)


def test_a_broken_signing_key_is_an_error_of_the_server_with_its_cure(
    client: FlaskClient, new: NewKey, settings: Settings
) -> None:
    (settings.state_path / "license.key").write_text("no key")
    response = client.post("/license", json=keys(new))
    assert (response.status_code, response.get_json()["Code"]) == (500, 5008)
    assert "restore it from a copy" in response.get_json()["Msg"]


def test_the_example_of_the_document_has_the_keys_of_a_real_reply(client: FlaskClient, new: NewKey) -> None:
    real = client.post("/license", json=keys(new)).get_json()
    answers = license_paths()["/license"]["post"]["responses"]
    [example] = answers["200"]["content"]["application/json"]["examples"].values()
    assert set(example["value"]) == set(real)
    assert set(example["value"]["Result"]) == set(real["Result"])
    assert set(example["value"]["Result"]["License"]) == set(real["Result"]["License"])


def test_the_web_process_loads_what_signs_only_when_it_is_needed() -> None:
    code = "import server, sys; print(sorted({'cryptography', 'streamserver.keys'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_DIR, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
