"""What is wrong with a certificate is said before anything starts."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from streamserver.core import tls
from streamserver.core.errors import ConfigError
from streamserver.core.settings import Settings
from tests.certificates import make_pair

_Pair = tuple[str, str]


def _other_key(folder: Path) -> _Pair:
    return str(make_pair(folder)[0]), str(make_pair(folder, "other")[1])


def _encrypted(folder: Path) -> _Pair:
    cert, key = make_pair(folder, password=b"secret")
    return str(cert), str(key)


def _no_pem(folder: Path) -> _Pair:
    cert, key = make_pair(folder)
    cert.write_text("nothing")
    return str(cert), str(key)


def _folder(folder: Path) -> _Pair:
    return str(make_pair(folder)[0]), str(folder)


_WRONG: dict[str, tuple[Callable[[Path], _Pair], str]] = {
    "no certificate": (lambda folder: (str(folder / "none"), str(folder / "none")), "tls_cert: there is no file '"),
    "no key": (lambda folder: (str(make_pair(folder)[0]), str(folder / "none")), "tls_key: there is no file '"),
    "only a certificate": (lambda folder: (str(make_pair(folder)[0]), ""), "tls_cert is set and tls_key is not"),
    "only a key": (lambda folder: ("", str(make_pair(folder)[1])), "tls_key is set and tls_cert is not"),
    "another key": (_other_key, "is not the key of the certificate"),
    "encrypted key": (_encrypted, "is encrypted, and nobody is there to type its password; write it without"),
    "no PEM": (_no_pem, "are no certificate and key in PEM"),
    "a folder": (_folder, "cannot be read by this user: Is a directory"),
}


@pytest.mark.parametrize(("make", "message"), _WRONG.values(), ids=_WRONG)
def test_what_does_not_do_is_named_with_the_cure(make: Callable[[Path], _Pair], message: str, tmp_path: Path) -> None:
    cert, key = make(tmp_path)
    with pytest.raises(ConfigError) as refused:
        tls.files(Settings(tls_cert=cert, tls_key=key))
    assert message in str(refused.value)
    assert refused.value.cure


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_key_of_another_user_is_named(tmp_path: Path) -> None:
    cert, key = make_pair(tmp_path)
    key.chmod(0)
    with pytest.raises(ConfigError, match="cannot be read by this user: Permission denied"):
        tls.files(Settings(tls_cert=str(cert), tls_key=str(key)))


def test_without_either_it_is_http(tmp_path: Path) -> None:
    assert tls.files(Settings()) is None
    cert, key = make_pair(tmp_path)
    assert tls.files(Settings(tls_cert=str(cert), tls_key=str(key))) == (str(cert), str(key))


def test_nothing_older_than_tls_1_2_is_spoken(tmp_path: Path) -> None:
    cert, key = make_pair(tmp_path)
    assert tls.server_context(str(cert), str(key)).minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_renewed_certificate_is_used_and_a_broken_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tls, "_LOOK_S", 0.0)
    cert, key = make_pair(tmp_path)
    certificate = tls.Certificate(str(cert), str(key))
    first = certificate.context()
    assert certificate.context() is first
    cert.write_text("half a certificate")
    assert certificate.context() is first
    assert "the new certificate is not used" in caplog.text
    for old, new in zip((cert, key), make_pair(tmp_path, "new"), strict=True):
        new.rename(old)
    assert certificate.context() is not first
