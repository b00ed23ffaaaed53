"""Posts over TLS: whom http_push trusts, and who it says it is."""

from __future__ import annotations

import dataclasses
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamserver.core.errors import GraphError
from streamserver.elements.http_push import HttpPush
from tests.elements.pushing import context, make_frame, pushing_elements
from tests.elements.receiver import Receiver


@pytest.fixture
def start() -> Iterator[Any]:
    with pushing_elements() as make:
        yield make


def _self_signed(folder: Path) -> tuple[Path, Path, ssl.SSLContext]:
    openssl = shutil.which("openssl") or pytest.skip("needs the openssl program to make a certificate")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=a stream-server test"]
    subprocess.run([*command, "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True, timeout=60)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    return certificate, key, tls


def test_https_trusts_the_certificate_it_was_given_and_no_other(
    start: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificate, _, tls = _self_signed(tmp_path)
    with Receiver(tls=tls) as receiver:
        for trust in ({"cacert": str(certificate)}, {"verify": False}):
            pushing = start(context(port=receiver.port, scheme="https", **trust))
            pushing.push(make_frame())
            pushing.element.close()
        assert len(receiver.messages) == 2
        pushing = start(context(port=receiver.port, scheme="https", retry_s=0))
        pushing.push(make_frame())
    assert pushing.element.dropped == 1
    assert "certificate" in caplog.text.lower()
    assert len(receiver.messages) == 2


def test_a_receiver_that_wants_to_know_us_sees_our_certificate(
    start: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificate, key, tls = _self_signed(tmp_path)
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(certificate)
    ours: dict[str, Any] = {"cacert": "cert.pem", "cert": "cert.pem", "key": "key.pem"}
    with Receiver(tls=tls) as receiver:
        known = dataclasses.replace(context(port=receiver.port, scheme="https", **ours), base_dir=tmp_path)
        start(known).push(make_frame())
        assert len(receiver.messages) == 1
        stranger = start(context(port=receiver.port, scheme="https", cacert=str(certificate), retry_s=0))
        stranger.push(make_frame())
        assert len(receiver.messages) == 1
    assert stranger.element.dropped == 1
    assert key.exists()


def test_a_name_that_the_certificate_does_not_hold_is_refused(
    start: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificate, _, tls = _self_signed(tmp_path)
    with Receiver(tls=tls) as receiver:
        push = context(ip="localhost", port=receiver.port, scheme="https", cacert=str(certificate), retry_s=0)
        pushing = start(push)
        pushing.push(make_frame())
    assert pushing.element.dropped == 1
    assert "certificate is not valid for 'localhost'" in caplog.text


def test_an_encrypted_key_is_an_error_and_asks_nobody(tmp_path: Path) -> None:
    certificate, key, _ = _self_signed(tmp_path)
    locked = tmp_path / "locked.pem"
    openssl = shutil.which("openssl")
    assert openssl
    command = [openssl, "pkcs8", "-topk8", "-in", str(key), "-out", str(locked), "-passout", "pass:secret"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    with pytest.raises(GraphError, match="element 7 'http_push': key: is encrypted; give a key without a password"):
        HttpPush(context(scheme="https", cert=str(certificate), key=str(locked)))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"cert": 5}, "cert: expected a path, got 5"),
        ({"key": "key.pem"}, "key: has no certificate; name its file in 'cert'"),
        ({"verify": "no"}, "verify: expected true or false, got 'no'"),
    ],
)
def test_keys_of_tls_that_cannot_be_used_are_named(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(GraphError, match=f"push.json: element 7 'http_push': {words}"):
        HttpPush(context(scheme="https", **keys))
