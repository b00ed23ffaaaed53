"""Copies of the project that break one promise each, to see whether the harness notices."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_LEFT_OUT = frozenset(
    {".venv", ".git", ".hypothesis", "alarms", "bench", "demo-output", "docs", "logs", "models", "state", "tests"}
)
"""Of the project's own folder; ``streamserver/models`` is another matter."""

_LINKED = (".venv", "models")


class RottenMutantError(Exception):
    """The text that a mutant replaces is not there exactly once: the code moved on, and the mutant has to follow."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One broken promise.

    Attributes:
        name: as in the table of the issue.
        edits: file -> pairs of old text, which must be there exactly once, and new text.
    """

    name: str
    edits: Mapping[str, tuple[tuple[str, str], ...]]


def copy_of(project: Path, folder: Path) -> Path:
    """A copy of the tree that can be run, without what is large or not part of it."""

    def left_out(path: str, names: list[str]) -> set[str]:
        caches = {name for name in names if name.endswith("_cache")}  # compiled modules save each tree a second or two
        return caches | (_LEFT_OUT & set(names) if Path(path) == project else set())

    def copy(source: str, target: str) -> None:
        with suppress(FileNotFoundError):  # somebody's file for a moment
            shutil.copy2(source, target, follow_symlinks=False)

    shutil.copytree(project, folder, ignore=left_out, symlinks=True, copy_function=copy)
    for name in _LINKED:
        if (project / name).exists() and not (folder / name).exists():
            (folder / name).symlink_to((project / name).resolve())
    return folder


def edited(mutant: Mutant, project: Path) -> dict[str, str]:
    """File -> its text with the mutant's edits.

    Raises:
        RottenMutantError: an edit does not fit the code any more.
    """
    texts = {}
    for name, edits in mutant.edits.items():
        path = project / name
        text = path.read_text("utf-8") if path.exists() else ""
        for old, new in edits:
            if (found := text.count(old)) != 1:
                raise RottenMutantError(f"mutant '{mutant.name}': {name} holds {found} times: {old.strip()[:80]!r}")
            text = text.replace(old, new)
        texts[name] = text
    return texts


def breed(mutant: Mutant, project: Path, folder: Path) -> Path:
    """A copy of ``project`` in ``folder`` with the mutant's edits.

    Raises:
        RottenMutantError: an edit does not fit the code any more.
    """
    texts = edited(mutant, project)
    tree = copy_of(project, folder)
    for name, text in texts.items():
        (tree / name).write_text(text, "utf-8")
    return tree
