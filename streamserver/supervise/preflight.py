"""What keeps a server from being started here, found before anything runs: one clear line instead of a crash loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from streamserver.core import tls
from streamserver.core.errors import ConfigError
from streamserver.core.settings import ENV_PREFIX, Settings
from streamserver.supervise import lock, ports

_PREDECESSOR_S = 3.0
"""Time for what a killed predecessor left behind to disappear."""


def obstacle(chosen: Settings) -> str:
    """Why nothing can be started with these settings, with the cure; empty when it can.

    Raises:
        ConfigError: the state folder cannot be made or written, or certificate and key do not do.
    """
    tls.files(chosen)
    if not _soon(lambda: ports.can_listen(chosen.host, chosen.port)):
        return (
            f"port {chosen.port} on {chosen.host} is taken (or the address is not this machine's); stop the program "
            f"that listens there, or choose another with --port or {ENV_PREFIX}PORT"
        )
    file = lock.lock_file(chosen.state_path)
    try:
        is_free = _soon(lambda: _is_free(file))
    except OSError as e:
        raise ConfigError(
            f"the state folder {chosen.state_path} cannot be used: {e.strerror}",
            cure=f"mend its owner or disk, or choose another with --state_dir or {ENV_PREFIX}STATE_DIR",
        ) from e
    if not is_free:
        return (
            f"process {lock.holder(file)} already supervises {chosen.state_path}; stop it, or choose another folder "
            f"with --state_dir or {ENV_PREFIX}STATE_DIR"
        )
    return ""


def _is_free(file: Path) -> bool:
    held = lock.acquire(file)
    if held is None:
        return False
    held.release()
    return True


def _soon(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _PREDECESSOR_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
