"""``python -m streamserver check``: looks for whatever keeps a server on this machine from working.

Nothing but the standard library is imported until the line about packages has been printed.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from streamserver.cli import machine, packages
from streamserver.cli.findings import FAIL, Finding, fail, ok, warn
from streamserver.cli.output import COLOURS, say, show_json
from streamserver.core.errors import StreamServerError
from streamserver.core.log_lines import plain
from streamserver.core.setting_options import strange_variables
from streamserver.core.settings import DEFAULT, ENV_PREFIX, PROJECT_DIR, Settings, load_with_sources, settings_file


def check(options: argparse.Namespace) -> int:
    """Prints a line for each finding, as soon as it is known; 1 when something fails."""
    _take_the_servers_python()
    if options.config:
        os.environ[f"{ENV_PREFIX}CONFIG"] = str(options.config.absolute())
    findings = []
    for finding in _findings(options):
        findings.append(finding)
        if not options.json:
            _print(finding)
    if options.json:
        show_json([dataclasses.asdict(finding) for finding in findings])
    return 1 if any(finding.level == FAIL for finding in findings) else 0


def _take_the_servers_python() -> None:
    """Goes on under the Python of .venv, which runs the server, where this one has no packages of it."""
    folder = PROJECT_DIR / ".venv"
    python = folder / "bin" / "python"
    if not packages.is_bare() or Path(sys.prefix) == folder or not os.access(python, os.X_OK):
        return
    try:
        os.execv(python, [str(python), *sys.orig_argv[1:]])  # noqa: S606 - this program again  # nosec B606
    except OSError:
        return  # its own line says what is wrong


def _print(finding: Finding) -> None:
    level = finding.level.ljust(4)
    if sys.stdout.isatty():
        number = {"green": 32, "yellow": 33, "red": 31}[COLOURS[finding.level]]
        level = f"\x1b[{number}m{level}\x1b[0m"
    say(f"{level}  {finding.what.ljust(14)} {plain(finding.found)}")
    if finding.cure:
        say(f"{'':22}-> {plain(finding.cure)}")


def _findings(options: argparse.Namespace) -> Iterator[Finding]:
    yield machine.python()
    installed = list(packages.findings())
    yield from installed
    settings = None
    for found in _settings():
        if isinstance(found, Settings):
            settings = found
        else:
            yield found
    yield machine.clock()
    yield from machine.limits()
    if settings is None:
        return
    yield from _whole("folders", lambda: machine.folders(settings))
    if any(finding.level == FAIL for finding in installed):
        yield warn("the rest", "was not looked at, for packages are missing", "mend the packages, then run it again")
        return
    yield from _with_packages(options, settings)


def _with_packages(options: argparse.Namespace, settings: Settings) -> Iterator[Finding]:
    from streamserver.cli import places, server

    yield from _whole("device", lambda: packages.devices(settings))
    yield from _whole("models", lambda: packages.models(settings))
    yield from _whole("server", lambda: server.findings(options, settings))
    yield from _whole("stream", lambda: places.stream(options.stream, settings))
    yield from _whole("report", lambda: places.report(options.report, settings, send=options.send))


def _whole(what: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What ``look`` finds; where it cannot go on, that is a finding, too, and the others are still looked at."""
    try:
        yield from look()
    except BrokenPipeError:
        raise
    except StreamServerError as e:
        yield fail(what, e.message, e.cure or "see docs/operations.md")
    except OSError as e:
        yield fail(what, f"cannot be looked at: {e}", "run it as the server's user")


def _settings() -> Iterator[Finding | Settings]:
    file = settings_file(os.environ)
    try:
        sourced = load_with_sources()
    except ImportError:
        yield fail("settings", "cannot be read without the package pyyaml", "mend the packages")
        return
    except StreamServerError as e:
        yield fail(
            "settings", e.message, e.cure or "python -m streamserver settings check FILE shows all that is wrong"
        )
        return
    named = os.environ.get(f"{ENV_PREFIX}CONFIG")
    if named and not file.is_file():
        yield fail("settings", f"there is no file {file}", f"correct {ENV_PREFIX}CONFIG or --config")
    set_by_hand = [name for name, source in sourced.sources.items() if source != DEFAULT]
    yield ok("settings", f"{file}; not the default: {', '.join(set_by_hand) or 'none'}")
    secret_in_file = sourced.settings.report_secret and sourced.sources["report_secret"].startswith(str(file))
    if secret_in_file and file.stat().st_mode & 0o077:
        yield warn("settings", f"others can read report_secret in {file}", f"chmod 600 {file}")
    for text in strange_variables(os.environ):
        found, _, cure = text.partition("; ")
        yield warn("settings", found, cure)
    yield sourced.settings
