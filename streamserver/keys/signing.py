"""The key that signs licences: ``license.key`` of the state folder, and its public half ``license.pub``."""

from __future__ import annotations

import logging
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from streamserver.core.errors import StoreError
from streamserver.core.files import sync_folder, write_atomically
from streamserver.core.licences import public_key_to_text

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PRIVATE = "license.key"
PUBLIC = "license.pub"

_log = logging.getLogger(__name__)


class SigningKey:
    """The Ed25519 key of one state folder; made when it is first needed, by whichever process is first.

    Args:
        state_path: the state folder; it is made if need be.

    Raises:
        StoreError: the key cannot be read or made.
    """

    def __init__(self, state_path: Path) -> None:
        path = state_path / PRIVATE
        try:
            state_path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not path.exists():
                _make(path)
            self._key = _load(path)
            self._publish(state_path / PUBLIC)
        except OSError as e:
            raise StoreError(
                f"{path}: {e.strerror}", cure="state folder and keys must belong to the server's user"
            ) from e

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of the signature."""
        return self._key.sign(message)

    @property
    def public_text(self) -> str:
        """The public half in Base64, as the setting ``license_public_key`` takes it."""
        return public_key_to_text(self._key.public_key().public_bytes_raw())

    def _publish(self, path: Path) -> None:
        data = f"{self.public_text}\n".encode()
        if not path.exists() or path.read_bytes() != data:
            if path.exists():
                _log.warning("%s is replaced: licences that were signed before are no longer valid here", path)
            write_atomically(path, data, sync=True)
            sync_folder(path.parent)


def _make(path: Path) -> None:
    """Puts a new key at ``path``, whole and on the disk, unless another process was faster."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    try:
        write_atomically(temporary, pem, sync=True, private=True)
        os.link(temporary, path)  # unlike a rename, never in the place of another's
        _log.info("%s was made; keep a copy of it in a safe place", path)
    except FileExistsError:
        return
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def _load(path: Path) -> Ed25519PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as e:
        raise StoreError(f"{path} is no private key in PEM", cure="restore it from a copy") from e
    if not isinstance(key, Ed25519PrivateKey):
        raise StoreError(f"{path} is no Ed25519 key", cure="restore it from a copy")
    return key
