"""Elements, one per file: the file's name is the ``name`` in the element's JSON. None is imported before it is used."""

from __future__ import annotations

import difflib
import functools
import importlib
from pathlib import Path

from streamserver.core.errors import GraphError
from streamserver.engine.element import Element


@functools.cache
def available() -> frozenset[str]:
    """The names of all elements, found without importing any."""
    return frozenset(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))


def element_class(name: str) -> type[Element]:
    """The class of the element called ``name`` (without ``_group``).

    Raises:
        GraphError: there is no such element; says which is nearest.
    """
    names = available()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        cure = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(sorted(names))}"
        raise GraphError(f"there is no element '{name}'", cure=cure)
    element: type[Element] = importlib.import_module(f"streamserver.elements.{name}").ELEMENT
    return element
