"""Starts stream-server on this machine and keeps it running: the web process and the supervisor (docs/architecture.md).

``python3 start.py`` is enough; every option is also a setting (docs/settings.md).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from streamserver.core import exitcodes, logs, settings
from streamserver.core.errors import ConfigError
from streamserver.core.settings import ENV_PREFIX, PROJECT_DIR, Settings
from streamserver.launchers.local import PARENT_PID_VARIABLE
from streamserver.supervise import lock, ports
from streamserver.supervise.guard import Guard

_PREDECESSOR_S = 3.0
"""Time for what a killed predecessor left behind to disappear."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs until SIGTERM or SIGINT; returns the exit code."""
    environment = _environment(_parser().parse_args(arguments))
    try:
        chosen = settings.load(environment=environment)
        obstacle = _obstacle(chosen)
    except (ConfigError, OSError) as e:
        print(f"start.py: {e}", file=sys.stderr)
        return exitcodes.USAGE
    if obstacle:
        print(f"start.py: {obstacle}", file=sys.stderr)
        return exitcodes.PORT_TAKEN
    logs.configure(level=chosen.log_level, role="start")
    guard = Guard(_commands(), environment=environment, cwd=PROJECT_DIR, patience_s=chosen.stop_timeout_s + 10)
    guard.listen()
    host = f"[{chosen.host}]" if ":" in chosen.host else chosen.host
    print(f"stream-server: API on http://{host}:{chosen.port}, state in {chosen.state_path}", flush=True)
    return guard.run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="start.py", description="Starts stream-server and keeps it running.")
    parser.add_argument("--host", help="address the API listens on")
    parser.add_argument("--port", type=int, help="port of the API")
    parser.add_argument("--state_dir", type=_absolute, help="folder for tasks, logs and the database")
    parser.add_argument("--stream_path", type=_absolute, help="a sophon-stream tree whose program is to be the engine")
    parser.add_argument("--config", type=_absolute, help="the settings file instead of configs/server.yaml")
    return parser


def _absolute(path: str) -> str:
    """The children run in the project's folder, so a path means what it meant here."""
    return str(Path(path).expanduser().absolute()) if path else ""


def _environment(options: argparse.Namespace) -> dict[str, str]:
    """What the children get: this process's variables, with the options among them."""
    given = {f"{ENV_PREFIX}{name.upper()}": str(value) for name, value in vars(options).items() if value is not None}
    path = os.pathsep.join(filter(None, [str(PROJECT_DIR), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, **given, "PYTHONPATH": path, PARENT_PID_VARIABLE: str(os.getpid())}


def _commands() -> dict[str, list[str]]:
    web = ["-m", "gunicorn", "-c", "python:streamserver.web.gunicorn_conf", "server:create_app()"]
    return {"web": [sys.executable, *web], "supervisor": [sys.executable, "-m", "streamserver.supervise"]}


def _obstacle(chosen: Settings) -> str:
    """Why nothing can be started here, with the cure; empty when it can."""
    if not _soon(lambda: ports.can_listen(chosen.host, chosen.port)):
        return (
            f"port {chosen.port} on {chosen.host} is taken (or the address is not this machine's); stop the program "
            f"that listens there, or choose another with --port or {ENV_PREFIX}PORT"
        )
    file = lock.lock_file(chosen.state_path)
    if not _soon(lambda: _is_free(file)):
        return (
            f"process {lock.holder(file)} already supervises {chosen.state_path}; stop it, or choose another folder "
            f"with --state_dir or {ENV_PREFIX}STATE_DIR"
        )
    return ""


def _is_free(file: Path) -> bool:
    held = lock.acquire(file)
    if held is None:
        return False
    held.release()
    return True


def _soon(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _PREDECESSOR_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


if __name__ == "__main__":
    sys.exit(main())
