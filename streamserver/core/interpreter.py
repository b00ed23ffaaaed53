"""Finds the Python that has the project's packages, for people who start a program with the system's own."""

from __future__ import annotations

import importlib.util
import os
import sys

from streamserver.core.settings import PROJECT_DIR

_NEEDED = ("flask", "gunicorn", "sqlalchemy", "pydantic", "numpy", "yaml")
_TRIED = "STREAMSERVER_VENV_TRIED"


def with_packages() -> None:
    """Returns under a Python that has the packages: this one, or after a re-exec the one of ``.venv``.

    Called first by the programs that people start by hand. Where neither has them, the program ends with the cure.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    tried = os.environ.pop(_TRIED, "")
    if not missing:
        return
    python = PROJECT_DIR / ".venv" / "bin" / "python"
    if tried or not os.access(python, os.X_OK):
        sys.exit(
            f"error: {sys.executable} has no {', '.join(missing)}; run ./start_server.sh, "
            f"which installs what is needed into {PROJECT_DIR / '.venv'}"
        )
    os.environ[_TRIED] = "1"
    os.execv(python, [str(python), *sys.orig_argv[1:]])  # noqa: S606 - this program again  # nosec B606
