"""Import foreign code without keeping it, and say where it failed."""

from __future__ import annotations

import importlib
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

_lock = threading.RLock()


@contextmanager
def fresh_imports(project: Path, packages: tuple[str, ...]) -> Iterator[None]:
    """Within it, ``packages`` are imported anew, from ``project``; afterwards ``sys.modules`` is as it was before.

    What was imported lives on in whoever holds it. One thread at a time.
    """
    with _lock:
        before = _take_modules(packages)
        sys.path.insert(0, str(project))
        importlib.invalidate_caches()
        try:
            yield
        finally:
            sys.path.remove(str(project))
            _take_modules(packages)
            sys.modules.update(before)


def places_of(error: BaseException) -> list[tuple[Path, int]]:
    """The files and lines an error went through, outermost first; the place of a syntax error is the last."""
    places = [(Path(frame.filename), frame.lineno or 0) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        places.append((Path(error.filename), error.lineno or 0))
    return places


def describe_error(error: BaseException, project: Path) -> str:
    """What was raised, and the innermost line of the user's code (not of this package) that it came from."""
    ours = project / "streamserver"
    user = [
        place for place in places_of(error) if place[0].is_relative_to(project) and not place[0].is_relative_to(ours)
    ]
    where = f" ({user[-1][0].relative_to(project)}:{user[-1][1]})" if user else ""
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {text}{where}"


def _take_modules(packages: tuple[str, ...]) -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name.startswith(tuple(f"{p}." for p in packages)) or name in packages]
    return {name: sys.modules.pop(name) for name in names}
