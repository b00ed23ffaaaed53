"""Starts stream-server on this machine and keeps it running: the web process and the supervisor (docs/architecture.md).

``python3 start.py`` is enough; every option is also a setting (docs/settings.md).
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from streamserver import __version__
from streamserver.core import exitcodes, interpreter, logs, settings
from streamserver.core.errors import ConfigError, StreamServerError
from streamserver.core.processes import PARENT_PID_VARIABLE, harden
from streamserver.core.setting_options import OptionParser, add_settings, given_settings, strange_variables
from streamserver.core.settings import ENV_PREFIX, PROJECT_DIR, Settings
from streamserver.launchers.local import SECRETS
from streamserver.supervise import lock, preflight
from streamserver.supervise.guard import FolderWatch, Guard
from streamserver.supervise.notify import Notifier
from streamserver.supervise.pulse import Pulse, WebProbe, last_change, web_beat_file

_WEB_START_S = 60.0
"""Time until the API has to answer first; on a quiet machine it takes two seconds."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs until SIGTERM or SIGINT; returns the exit code."""
    if os.getpid() == 1:  # the kernel ignores for the first process of a container what it has no handler for
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    harden()
    options = _parser().parse_args(arguments)
    environment = _environment(options)
    try:
        if options.config and not Path(options.config).is_file():
            raise ConfigError(f"--config: there is no file '{options.config}'", cure="correct the path")
        chosen = settings.load(
            file=Path(options.config) if options.config else None, options=given_settings(options, from_here=True)
        )
        obstacle = preflight.obstacle(chosen)
    except StreamServerError as e:
        print(f"start.py: {e}", file=sys.stderr)
        return exitcodes.USAGE
    if obstacle:
        print(f"start.py: {obstacle}", file=sys.stderr)
        return exitcodes.PORT_TAKEN
    logs.configure_file(chosen, chosen.state_path, "start", console=True)
    for warning in strange_variables(os.environ):
        logging.getLogger("start").warning("%s", warning)
    guard = Guard(
        _commands(),
        environment=environment,
        cwd=PROJECT_DIR,
        patience_s=chosen.stop_timeout_s + 10,
        pulses={"supervisor": _supervisor_pulse(chosen), "web": _web_pulse(chosen)},
        fresh_start_code=exitcodes.STATE_LOST,
        folder=FolderWatch(chosen.state_path),
        notifier=Notifier(os.environ),
        withheld={"web": SECRETS},
    )
    guard.listen()
    host = f"[{chosen.host}]" if ":" in chosen.host else chosen.host
    scheme = "https" if chosen.tls_cert else "http"
    print(f"stream-server: API on {scheme}://{host}:{chosen.port}, state in {chosen.state_path}", flush=True)
    return guard.run()


def _parser() -> OptionParser:
    parser = OptionParser(
        prog="start.py",
        usage="start.py [--version] [--config FILE] [--port 8001] [--NAME VALUE …]",
        description="Starts stream-server and keeps it running.",
    )
    parser.add_argument("--version", action="version", version=f"stream-server {__version__}")
    parser.add_argument("--config", type=_absolute, help="the settings file instead of configs/server.yaml")
    add_settings(parser)
    return parser


def _absolute(path: str) -> str:
    """The children run in the project's folder, so a path means what it meant here."""
    return str(Path(path).expanduser().absolute()) if path else ""


def _environment(options: argparse.Namespace) -> dict[str, str]:
    """What the children get: this process's variables, with the options among them."""
    named = given_settings(options, from_here=True) | ({"config": options.config} if options.config else {})
    given = {f"{ENV_PREFIX}{name.upper()}": value for name, value in named.items()}
    path = os.pathsep.join(filter(None, [str(PROJECT_DIR), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, **given, "PYTHONPATH": path, PARENT_PID_VARIABLE: str(os.getpid())}


def _commands() -> dict[str, list[str]]:
    web = ["-m", "gunicorn", "-c", "python:streamserver.web.gunicorn_conf", "server:create_app()"]
    return {"web": [sys.executable, *web], "supervisor": [sys.executable, "-m", "streamserver.supervise"]}


def _supervisor_pulse(chosen: Settings) -> Pulse:
    file = lock.lock_file(chosen.state_path)
    return Pulse(
        read=lambda: lock.last_beat(file), first_s=chosen.start_timeout_s, silence_s=chosen.heartbeat_timeout_s
    )


def _web_pulse(chosen: Settings) -> Pulse:
    """Alive is who answers ``/livez``, or anybody else: in a burst of requests the question waits its turn."""
    probe, file = WebProbe(chosen.host, chosen.port, is_https=bool(chosen.tls_cert)), web_beat_file(chosen.state_path)
    probe.start()
    return Pulse(
        read=lambda: probe.answers + last_change(file),
        first_s=_WEB_START_S,
        silence_s=chosen.heartbeat_timeout_s,
        with_children=True,
    )


if __name__ == "__main__":
    interpreter.with_packages()
    sys.exit(main())
