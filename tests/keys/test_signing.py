"""The signing key: made once, private, whole; and the licences that it signs."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from streamserver.core.errors import LicenceError, StoreError
from streamserver.core.licences import PUBLIC_KEY_BYTES, public_key_from_text, verified
from streamserver.core.settings import PROJECT_DIR
from streamserver.keys import KeyBook, SigningKey, issue

MAKE = """
import sys, time
from pathlib import Path
from streamserver.keys import SigningKey
from cryptography.hazmat.primitives.asymmetric import ed25519
print("ready", flush=True)
sys.stdin.readline()
print(SigningKey(Path(sys.argv[1])).public_text)
"""


def test_the_key_is_made_once_and_is_private(tmp_path: Path) -> None:
    state = tmp_path / "state"
    first = SigningKey(state).public_text
    assert SigningKey(state).public_text == first == (state / "license.pub").read_text().strip()
    assert len(public_key_from_text(first)) == PUBLIC_KEY_BYTES
    assert sorted(file.name for file in state.iterdir()) == ["license.key", "license.pub"]
    assert stat.S_IMODE((state / "license.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(state.stat().st_mode) == 0o700


def test_processes_that_make_it_at_once_have_the_same_one(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MAKE, str(tmp_path / "state")]
    makers = [
        subprocess.Popen(command, cwd=PROJECT_DIR, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert [maker.stdout.readline() for maker in makers if maker.stdout] == ["ready\n"] * 4
    for maker in makers:
        assert maker.stdin
        maker.stdin.write("\n")
        maker.stdin.flush()
    said = {maker.communicate(timeout=120)[0] for maker in makers}
    assert [maker.returncode for maker in makers] == [0] * 4
    assert said == {f"{SigningKey(tmp_path / 'state').public_text}\n"}
    assert sorted(file.name for file in (tmp_path / "state").iterdir()) == ["license.key", "license.pub"]


def test_a_lost_public_half_is_written_again(tmp_path: Path) -> None:
    public = SigningKey(tmp_path).public_text
    (tmp_path / "license.pub").unlink()
    assert SigningKey(tmp_path).public_text == public == (tmp_path / "license.pub").read_text().strip()


@pytest.mark.parametrize("content", [b"", b"no key", b"\0" * 100], ids=["empty", "text", "zeros"])
def test_a_spoilt_key_is_said_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "license.key").write_bytes(content)
    with pytest.raises(StoreError, match=r"license\.key is no private key in PEM; restore it from a copy"):
        SigningKey(tmp_path)
    assert (tmp_path / "license.key").read_bytes() == content


def test_a_licence_says_what_its_key_allows_and_for_how_long(tmp_path: Path) -> None:
    with KeyBook(tmp_path, clock=lambda: 1000.0) as book:
        new = book.create(name="", service="passflow", days=1)
    keys = {"app_key": new.key.app_key, "app_secret": new.app_secret, "service_key": new.key.service_key}
    content, public = issue(tmp_path, **keys, clock=lambda: 2000.9)
    licence = verified(content, public_key_from_text(public))
    assert (licence.app_key, licence.service_key) == (new.key.app_key, new.key.service_key)
    assert (licence.service, licence.issued, licence.expires) == ("passflow", 2000, new.key.expires)
    assert new.app_secret not in repr(content)
    again, _ = issue(tmp_path, **keys, clock=lambda: 2000.9)
    assert again["license_id"] != content["license_id"]
    with pytest.raises(LicenceError, match="expired"):
        issue(tmp_path, **keys, clock=lambda: 1000.0 + 86_400)
