"""Settings as options of a command line, and variables that were meant to be settings."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import NoReturn

from streamserver.core.settings import ENV_PREFIX, Settings, absolute
from streamserver.core.slips import nearest

_NO_SETTINGS = frozenset(
    {"CONFIG", "KEY", "PARENT_PID", "VENV_TRIED", "STARTED_ANEW", "PROJECT", "FAILPOINTS", "FAILPOINTS_DIR"}
    | {"REQUIRE_ASSETS", "CHAOS_SEED"}
)
"""What stands behind ``ENV_PREFIX`` in variables of ours that are no settings."""


class OptionParser(argparse.ArgumentParser):
    """An ``ArgumentParser`` that names the nearest option when one is unknown."""

    def parse_args(self, args: Sequence[str] | None = None, namespace: None = None) -> argparse.Namespace:  # type: ignore[override]
        """As of ``ArgumentParser``; ends the process where an option is unknown."""
        options, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self._refuse(unknown[0])
        return options

    def _refuse(self, word: str) -> NoReturn:
        name = word.partition("=")[0]
        secret = name.removeprefix("--")
        if secret in _SECRET:
            self.error(
                f"{name} is a secret, and everybody sees the options of a process; set {ENV_PREFIX}{secret.upper()} "
                "or write it into configs/server.yaml"
            )
        near = nearest(name.replace("-", "_").replace("__", "--", 1), self._option_string_actions)
        self.error(f"unknown option {name}; {f'did you mean {near}?' if near else '--help shows all there are'}")


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Gives ``parser`` an option for each setting that is no secret; they take texts, which ``load`` reads."""
    group = parser.add_argument_group("settings", "docs/settings.md says more about each")
    for row in fields(Settings):
        if row.name not in _SECRET:
            shown = str(row.default).lower() if isinstance(row.default, bool) else str(row.default)
            meaning = f"{row.metadata['meaning']} ({shown or 'empty'})".replace("%", "%%")
            group.add_argument(f"--{row.name}", metavar=type(row.default).__name__.upper(), help=meaning)


def given_settings(options: argparse.Namespace, *, from_here: bool = False) -> dict[str, str]:
    """The settings among parsed options, as ``load`` takes them.

    Args:
        options: what a parser with ``add_settings`` has read.
        from_here: relative paths count from the working directory, not from the project's folder.
    """
    given = {row.name: getattr(options, row.name, None) for row in fields(Settings)}
    return {name: absolute(name, text) if from_here else text for name, text in given.items() if text is not None}


_SECRET = frozenset(row.name for row in fields(Settings) if row.metadata["secret"])


def strange_variables(environment: Mapping[str, str]) -> list[str]:
    """A warning for each variable that looks like a setting and is none, with the nearest name."""
    known = {row.name.upper() for row in fields(Settings)}
    return [
        f"the environment variable {name} is no setting and has no effect; {_nearest(name.removeprefix(ENV_PREFIX))}"
        for name in sorted(environment)
        if name.startswith(ENV_PREFIX) and name.removeprefix(ENV_PREFIX) not in known | _NO_SETTINGS
    ]


def _nearest(word: str) -> str:
    near = difflib.get_close_matches(word.lower(), [row.name for row in fields(Settings)], n=1)
    return f"did you mean {ENV_PREFIX}{near[0].upper()}?" if near else "docs/settings.md has all there are"
