"""Import foreign code without keeping it, and say where it failed."""

from __future__ import annotations

import importlib
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any

_lock = threading.RLock()


@contextmanager
def fresh_imports(project: Path, names: tuple[str, ...]) -> Iterator[None]:
    """Within it, modules are imported anew, from ``project``; afterwards ``sys.modules`` is as it was before.

    What was imported lives on in whoever holds it. One thread at a time.

    Args:
        project: where to import from.
        names: which top-level modules; a folder is a package with or without ``__init__.py``, which is not run.
    """
    with _lock:
        before = _take_modules(names)
        sys.path.insert(0, str(project))
        importlib.invalidate_caches()
        sys.modules.update({name: _package(name, project / name) for name in names if (project / name).is_dir()})
        try:
            yield
        finally:
            sys.path.remove(str(project))
            _take_modules(names)
            sys.modules.update(before)


def places_of(error: BaseException) -> list[tuple[Path, int]]:
    """The files and lines an error went through, outermost first; the place of a syntax error is the last."""
    places = [(Path(frame.filename), frame.lineno or 0) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        places.append((Path(error.filename), error.lineno or 0))
    return places


def describe_error(error: BaseException, project: Path) -> str:
    """What was raised, and the innermost line of the user's code (samples/, config_algorithm.py) that it came from."""
    user = [
        (file, line)
        for file, line in places_of(error)
        if file.is_relative_to(project / "samples") or file == project / "config_algorithm.py"
    ]
    where = f" ({user[-1][0].relative_to(project)}:{user[-1][1]})" if user else ""
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {text}{where}"


class BrokenModule(ModuleType):
    """Put into ``sys.modules`` for one that cannot be imported, so that the rest of who imports it can be had."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self


def _package(name: str, folder: Path) -> ModuleType:
    spec = ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    return module_from_spec(spec)


def _take_modules(names: tuple[str, ...]) -> dict[str, ModuleType]:
    taken = [name for name in sys.modules if name.partition(".")[0] in names]
    return {name: sys.modules.pop(name) for name in taken}
