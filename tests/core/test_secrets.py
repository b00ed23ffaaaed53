"""Secrets that were registered are hidden in every form; a process of its own for each test, for they are kept."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from streamserver.core.secrets import hide

PASSWORD = "p@ss/w?rd#1:%&\"' ü"
ADDRESS = f"rtsp://admin:{PASSWORD}@10.0.0.1/1"


def said(script: str, tmp_path: Path, *arguments: str) -> str:
    """What a process writes into its log and on its standard output."""
    head = (
        "import logging, pathlib, sys\nfrom streamserver.core import logs, secrets\n"
        "from streamserver.core.settings import Settings\n"
        "logs.configure_file(Settings(log_level='DEBUG'), pathlib.Path(sys.argv[1]), 'x')\n"
        "log = logging.getLogger('x')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", head + script, str(tmp_path), *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout + done.stderr + (tmp_path / "logs" / "x.log").read_text()


@pytest.mark.parametrize(
    "form",
    [
        PASSWORD,
        quote(PASSWORD, safe=""),
        quote(PASSWORD),
        quote(PASSWORD, safe="").lower(),
        json.dumps(PASSWORD)[1:-1],
        repr(PASSWORD)[1:-1],
        base64.b64encode(f"admin:{PASSWORD}".encode()).decode(),
    ],
)
@pytest.mark.parametrize("address", [ADDRESS, ADDRESS.replace(PASSWORD, quote(PASSWORD, safe=""))])
def test_no_form_of_a_registered_password_reaches_the_log(form: str, address: str, tmp_path: Path) -> None:
    script = (
        "secrets.register(sys.argv[2])\nform = sys.argv[3]\n"
        "log.info('by itself: %s, twice: %s', form, form)\nlog.info('in an address: http://a:' + form + '@h/x')\n"
        "try:\n    raise ValueError(form)\nexcept ValueError:\n    log.exception('a traceback')\n"
    )
    text = said(script, tmp_path, address, form)
    assert form not in text
    assert text.count("by itself: ***, twice: ***") == 1
    assert "ValueError: ***" in text


def test_a_longer_secret_is_hidden_as_a_whole_and_a_short_one_is_left(tmp_path: Path) -> None:
    script = (
        "secrets.register_all(['rtsp://u:lake@h/', 'rtsp://u:lakeside@h/', 'rtsp://u:abc@h/', 'rtsp://h/?token=tok12'])\n"
        "print(secrets.hide('lakeside lake abc tok12 rtsp://u:abc@h/1'))\n"
    )
    assert said(script, tmp_path) == "*** *** abc *** rtsp://***@h/1\n"


@pytest.mark.parametrize(
    ("password", "text", "shown"),
    [
        ("cam1", "task cam12 of cam1: /clips/cam1/a.mp4, cam1.mp4, 'cam1', %3Acam1 and a\\ncam1.", None),
        ("password", "the user name or the password was refused; admin:password, Basic YWRtaW46cGFzc3dvcmQ=", None),
        ("12345", "frame 12345 of port 12345; admin:12345", "frame 12345 of port 12345; ***"),
        ("88888888", "frame 88888888", "frame ***"),
        ("video1920", "xvideo1920x", "x***x"),
    ],
)
def test_a_word_or_number_is_hidden_where_it_is_the_password(
    password: str, text: str, shown: str | None, tmp_path: Path
) -> None:
    expected = (
        shown
        or {
            "cam1": "task cam12 of ***: /clips/cam1/a.mp4, cam1.mp4, '***', %3A*** and a\\n***.",
            "password": "the user name or the password was refused; ***, Basic ***",
        }[password]
    )
    script = "secrets.register(f'rtsp://admin:{sys.argv[2]}@h/')\nprint(secrets.hide(sys.argv[3]))\n"
    assert said(script, tmp_path, password, text) == f"{expected}\n"


def test_secrets_that_overlap_leave_nothing_of_either(tmp_path: Path) -> None:
    script = (
        "secrets.register_all(['rtsp://u:abc!defgh@h/', 'rtsp://u:defgh!ijk@h/'])\n"
        "print(secrets.hide('<abc!defgh!ijk>'))\n"
    )
    assert said(script, tmp_path) == "<***>\n"


def test_a_secret_of_two_addresses_is_forgotten_with_the_second(tmp_path: Path) -> None:
    script = (
        "secrets._MOST_ADDRESSES = 2\nfor host in 'abcd':\n"
        "    secrets.register(f'rtsp://u:' + ('same-one' if host < 'c' else 'other-one') + f'@{host}/')\n"
        "    print(secrets.hide('same-one'))\n"
    )
    assert said(script, tmp_path) == "***\n***\n***\nsame-one\n"


def test_time_level_and_name_of_a_log_line_stay_whatever_a_password_is(tmp_path: Path) -> None:
    script = (
        "secrets.register('rtsp://u:WARNING-x@h/?token=WARNING')\nlogging.getLogger('WARNING').warning('WARNING')\n"
    )
    line = json.loads(said(script, tmp_path))
    assert (line["level"], line["logger"], line["message"]) == ("WARNING", "WARNING", "***")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("key ss_0123456789ab_" + 32 * "c4" + " is unknown", "key ss_0123456789ab_*** is unknown"),
        ("{'Authorization': 'Bearer abc.def'}", "{'Authorization': 'Bearer ***'}"),
        ("Authorization: Basic dTpw, next", "Authorization: Basic ***, next"),
        ("basic authorization failed: wrong bearer", "basic authorization failed: wrong bearer"),
    ],
    ids=["token", "bearer", "basic", "words"],
)
def test_tokens_are_hidden_though_nobody_has_registered_them(text: str, shown: str) -> None:
    assert hide(text) == shown


def test_what_nobody_catches_goes_through_the_log_and_not_to_standard_error(tmp_path: Path) -> None:
    script = (
        "import threading\nsecrets.register(sys.argv[2])\n"
        "def fail():\n    raise ValueError(sys.argv[2])\n"
        "one = threading.Thread(target=fail, name='reader')\none.start()\none.join()\n"
        "try:\n    raise ValueError(sys.argv[2])\nexcept ValueError as e:\n"
        "    sys.excepthook(type(e), e, e.__traceback__)\n"
    )
    text = said(script, tmp_path, ADDRESS)
    assert text.count("ValueError: rtsp://***@10.0.0.1/1") == 2
    assert "thread reader has ended" in text
    assert "w?rd#1" not in text


def test_the_oldest_addresses_are_forgotten_when_there_are_too_many(tmp_path: Path) -> None:
    script = (
        "secrets._MOST_ADDRESSES = 3\n"
        "for n in range(4):\n    secrets.register(f'rtsp://u:secret{n}@h/')\n    secrets.register('rtsp://u:kept@h/')\n"
        "print(secrets.hide('secret0 secret1 secret2 secret3 kept'))\n"
        "secrets._MOST_ADDRESSES = 0\nsecrets.register('rtsp://u:last@h/')\nprint(secrets._known._beginnings)\n"
    )
    assert said(script, tmp_path) == "secret0 secret1 *** *** ***\n{}\n"
