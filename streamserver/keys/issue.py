"""Keys become a licence."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from pathlib import Path

from streamserver.core.licences import Licence, signed
from streamserver.keys.book import KeyBook
from streamserver.keys.signing import SigningKey


def issue(
    state_path: Path, *, app_key: str, app_secret: str, service_key: str, clock: Callable[[], float] = time.time
) -> tuple[dict[str, str], str]:
    """A signed licence for these keys, and the public key in Base64 by which it can be checked.

    Args:
        state_path: the state folder with the book of keys and the signing key.
        app_key: as it was created.
        app_secret: as it was created.
        service_key: as it was created.
        clock: wall time in seconds since the epoch.

    Raises:
        LicenceError: the keys are unknown, wrong, revoked or expired.
        StoreError: book or signing key cannot be read.
    """
    with KeyBook(state_path, clock=clock) as book:
        key = book.prove(app_key=app_key, app_secret=app_secret, service_key=service_key)
    licence = Licence(
        license_id=secrets.token_hex(12),
        service=key.service,
        app_key=key.app_key,
        service_key=key.service_key,
        issued=int(clock()),
        expires=key.expires,
    )
    signing = SigningKey(state_path)
    return signed(licence, signing.sign), signing.public_text
