"""The application factory: wiring only."""

from __future__ import annotations

from flask import Flask

from streamserver.core.settings import Settings
from streamserver.plugins import known_types as types_of_project
from streamserver.store import TaskStore, store_url
from streamserver.web import access, errors, headers, metrics, services
from streamserver.web.alarms import blueprint as alarms
from streamserver.web.health import blueprint as health
from streamserver.web.license import blueprint as license_for_keys
from streamserver.web.log import blueprint as log
from streamserver.web.pages import blueprint as pages
from streamserver.web.preview import blueprint as preview
from streamserver.web.tasks import blueprint as tasks


def create_app(
    settings: Settings,
    *,
    store: TaskStore | None = None,
    check: services.Check = services.check_by_dry_run,
    known_types: services.KnownTypes = types_of_project,
    check_update: services.CheckUpdate = services.check_update_by_plans,
) -> Flask:
    """The web application.

    Args:
        settings: the server's settings.
        store: where tasks are kept; the state folder's database unless given.
        check: called with each canonical request before it is accepted.
        known_types: the algorithms of this server.
        check_update: called with the canonical requests before and after each update.

    Raises:
        StoreError: the task database cannot be opened.
    """
    app = Flask(__name__, static_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    app.jinja_env.policies["json.dumps_kwargs"] = {"sort_keys": False}
    opened = store or TaskStore(store_url(settings.state_path))
    services.attach(app, services.Services(settings, opened, check, known_types, check_update))
    metrics.register(app)
    errors.register(app)
    headers.register(app, settings)
    access.register(app, settings)
    app.register_blueprint(tasks)
    app.register_blueprint(log)
    app.register_blueprint(preview)
    app.register_blueprint(alarms)
    app.register_blueprint(health)
    app.register_blueprint(metrics.blueprint)
    app.register_blueprint(license_for_keys)
    app.register_blueprint(pages)
    return app
