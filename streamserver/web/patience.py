"""Lets a view that answers for long keep its connection: what it and the server it runs in agree on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

STAYS_KEY = "streamserver.stays"
"""Key of the WSGI environment: a function to be called now and then, False once the server ends."""

Stays = Callable[[], bool]


def stays(environ: dict[str, Any]) -> Stays:
    """What a long answer calls each time its reader has taken something, and asks whether to go on.

    A server without such limits has none to give, and its requests end with it.
    """
    given: Stays = environ.get(STAYS_KEY, lambda: True)
    return given
