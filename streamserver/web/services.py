"""What the views need, made once for an application."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Flask, current_app

from streamserver.core.settings import Settings
from streamserver.store import TaskStore
from streamserver.supervise.prepare import dry_run
from streamserver.supervise.update import require_updatable

_NAME = "streamserver"

Check = Callable[[dict[str, Any], Settings], None]
"""Raises what the user should know when a canonical request cannot be turned into processes."""

CheckUpdate = Callable[[dict[str, Any], dict[str, Any], Settings], None]
"""The same for the canonical requests before and after an update, and when a running engine cannot take it over."""

KnownTypes = Callable[[], dict[int, str]]
"""The algorithms of this server, name by number."""


@dataclass(frozen=True, slots=True)
class Services:
    """The rim of the application: where tasks are kept, and what else it asks."""

    settings: Settings
    store: TaskStore
    check: Check
    known_types: KnownTypes
    check_update: CheckUpdate


def attach(app: Flask, services: Services) -> None:
    """Makes ``services`` what ``current`` gives in requests of ``app``."""
    app.extensions[_NAME] = services


def current() -> Services:
    """The services of the application that answers this request."""
    services: Services = current_app.extensions[_NAME]
    return services


def check_by_dry_run(request: dict[str, Any], settings: Settings) -> None:
    """Builds the task's files without writing them; algorithms are first imported here, not when the server starts."""
    dry_run(request, settings)


def check_update_by_plans(old: dict[str, Any], new: dict[str, Any], settings: Settings) -> None:
    """Builds the files of both without writing them, and compares."""
    require_updatable(old, new, settings)


def is_readable_file(path: str) -> bool:
    """True when this server could play the file at ``path``, or show the pictures of the folder there."""
    if "\0" in path or not os.access(path, os.R_OK):
        return False
    return Path(path).is_file() or (Path(path).is_dir() and os.access(path, os.X_OK))
