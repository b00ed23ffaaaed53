"""The API keys of a book as a server needs them: at hand, and read anew as soon as the book has changed."""

from __future__ import annotations

import hmac
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from streamserver.core.errors import StoreError
from streamserver.core.files import read_json, write_json
from streamserver.durable import backup_of
from streamserver.keys.api import TOKEN, ApiKey, hash_of
from streamserver.keys.book import DATABASE, KeyBook

LAST_USES = "keys_used.json"

_log = logging.getLogger(__name__)

_NOBODY = "0" * 64
"""The hash that an unknown key is compared with, so that it takes as long as a wrong secret."""

_SETTLED_NS = 100_000_000
"""A file that changed so lately may change again without its time showing it."""

_NOTE_INTERVAL_S = 60.0
_TRY_AGAIN_S = 1.0

_Signature = tuple[tuple[int, int, int] | None, ...]


class KeyRing:
    """Proves tokens; for several threads.

    Args:
        state_path: the state folder; nothing is made in it while it has no book.
        clock: wall time in seconds since the epoch.
    """

    def __init__(self, state_path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._state_path = state_path
        self._file = state_path / DATABASE
        self._clock = clock
        self._lock = threading.Lock()
        self._signature: _Signature | None = None
        self._keys: dict[str, ApiKey] = {}
        self._trouble: StoreError | None = None
        self._try_again_at = 0.0
        self._uses: dict[str, int] = last_uses(state_path)
        self._noted_at = -_NOTE_INTERVAL_S

    def prove(self, token: str) -> tuple[ApiKey | None, str]:
        """The key whose token this is, and why it is refused: empty for one that is good.

        Raises:
            StoreError: the book cannot be read.
        """
        parts = TOKEN.fullmatch(token)
        if parts is None:
            return None, "no token of an API key"
        key_id, secret = parts.groups()
        key = self._current().get(key_id)
        is_right = hmac.compare_digest(key.secret_hash if key else _NOBODY, hash_of(secret))
        if key is None:
            return None, f"there is no key {key_id}"
        if not is_right:
            return None, f"wrong secret for key {key_id}"
        problem = key.problem(self._clock())
        if not problem:
            self._note_use(key_id)
        return key, f"key {key_id} is {problem}" if problem else ""

    def knows(self, key_id: str) -> bool:
        """True for the id of a key, good or not; raises ``StoreError`` when the book cannot be read."""
        return key_id in self._current()

    def has_keys(self) -> bool:
        """True when some key is good now; raises ``StoreError`` when the book cannot be read."""
        return any(not key.problem(self._clock()) for key in self._current().values())

    def _current(self) -> dict[str, ApiKey]:
        with self._lock:
            signature = self._look()
            if self._trouble is not None and time.monotonic() < self._try_again_at:
                raise self._trouble
            if signature != self._signature or self._trouble is not None:
                self._read(signature)
            return self._keys

    def _read(self, signature: _Signature) -> None:
        try:
            self._keys = self._keys_of_book()
        except StoreError as e:
            self._trouble, self._try_again_at = e, time.monotonic() + _TRY_AGAIN_S
            raise
        self._trouble = None
        changed_ns = max((part[2] for part in signature if part), default=0)
        is_settled = abs(time.time_ns() - changed_ns) > _SETTLED_NS
        was_there = signature[0] is not None  # else it may have come back from its backup while it was read
        self._signature = signature if is_settled and was_there else None

    def _keys_of_book(self) -> dict[str, ApiKey]:
        if not self._file.exists() and not backup_of(self._file).exists():
            if self._keys:
                raise StoreError(
                    f"{self._file} is gone", cure="restore it from a copy, or create keys anew and restart"
                )
            return {}
        with KeyBook(self._state_path) as book:
            return {key.id: key for key in book.api_keys()}

    def _look(self) -> _Signature:
        """What changes with every commit: the file, or the log before it."""
        return tuple(_stat(path) for path in (self._file, Path(f"{self._file}-wal")))

    def _note_use(self, key_id: str) -> None:
        with self._lock:
            self._uses[key_id] = int(self._clock())
            if time.monotonic() < self._noted_at + _NOTE_INTERVAL_S:
                return
            self._noted_at = time.monotonic()
            uses = {name: used for name, used in self._uses.items() if name in self._keys}
        try:
            write_json(self._state_path / LAST_USES, uses)
        except OSError as e:
            _log.debug("the last use of keys cannot be noted: %s", e)


def last_uses(state_path: Path) -> dict[str, int]:
    """When each API key was used last, in seconds since the epoch, to about a minute; by id."""
    content = read_json(state_path / LAST_USES)
    return {str(k): v for k, v in content.items() if isinstance(v, int)} if isinstance(content, dict) else {}


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns) if found.st_size else None
