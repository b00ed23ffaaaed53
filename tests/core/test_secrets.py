"""Secrets that were registered are hidden in every form; a process of its own for each test, for they are kept."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

PASSWORD = "p@ss/w?rd#1:%&\"' ü"
ADDRESS = f"rtsp://admin:{PASSWORD}@10.0.0.1/1"


def said(script: str, tmp_path: Path, *arguments: str) -> str:
    """What a process writes into its log and on its standard output."""
    log = tmp_path / "log"
    head = (
        "import logging, pathlib, sys\nfrom streamserver.core import logs, secrets\n"
        "logs.configure(level='DEBUG', file=pathlib.Path(sys.argv[1]))\nlog = logging.getLogger('x')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", head + script, str(log), *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout + log.read_text()


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


def test_the_oldest_addresses_are_forgotten_when_there_are_too_many(tmp_path: Path) -> None:
    script = (
        "secrets._MOST_ADDRESSES = 3\n"
        "for n in range(4):\n    secrets.register(f'rtsp://u:secret{n}@h/')\n    secrets.register('rtsp://u:kept@h/')\n"
        "print(secrets.hide('secret0 secret1 secret2 secret3 kept'))\n"
    )
    assert said(script, tmp_path) == "secret0 secret1 *** *** ***\n"
