"""The web server, and where nothing else supervises, the supervisor: ``python3 server.py --stream_path=…``.

``gunicorn 'server:create_app()'`` takes the application alone; ``start.py`` does, and runs the supervisor beside it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from streamserver.core import interpreter

if __name__ == "__main__":
    interpreter.with_packages()  # before the first import that needs one of them

from flask import Flask

from streamserver.core import settings as settings_module
from streamserver.core.settings import Settings
from streamserver.web import create_app as create_web_app
from streamserver.web import standalone


def create_app(settings: Settings | None = None) -> Flask:
    """The application, for gunicorn; settings come from configs/server.yaml and the environment unless given."""
    return create_web_app(settings or settings_module.load())


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until SIGTERM or SIGINT; the exit code is one of ``core.exitcodes``."""
    return standalone.run(standalone.read_options(arguments), create_app)


if __name__ == "__main__":
    sys.exit(main())
