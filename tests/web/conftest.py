"""An application over a store of its own, with three algorithms and a check that accepts everything."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from streamserver.core.examples import NEW_TASK_BODY
from streamserver.core.settings import Settings
from streamserver.store import TaskStore, store_url
from streamserver.web import create_app

TYPES = {1: "tripwire", 3: "yolov5", 6: "area_intrusion"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=str(tmp_path / "state"), file_dirs="/")


@pytest.fixture
def store(settings: Settings) -> Iterator[TaskStore]:
    opened = TaskStore(store_url(settings.state_path))
    yield opened
    opened.close()


@pytest.fixture
def app(settings: Settings, store: TaskStore) -> Flask:
    return create_app(settings, store=store, check=lambda request, settings: None, known_types=lambda: TYPES)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def body(**changes: Any) -> dict[str, Any]:
    """The body of a new task of application-web, with top-level keys replaced."""
    return copy.deepcopy(NEW_TASK_BODY) | changes
