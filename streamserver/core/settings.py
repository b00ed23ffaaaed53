"""Every setting in one table: its name, type, default and meaning.

A value comes from the last of: the default here, ``configs/server.yaml``, the environment (``STREAMSERVER_`` and the
name in capitals), the command line. Unknown names in the file are refused with the nearest known one.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from streamserver.core.errors import ConfigError

PROJECT_DIR = Path(__file__).resolve().parents[2]
"""The folder with server.py, samples/ and configs/; of an installed package, the one with the packages."""

_PACKAGED_CONFIGS = Path(__file__).resolve().parents[1] / "configs"

CONFIGS_DIR = _PACKAGED_CONFIGS if _PACKAGED_CONFIGS.is_dir() else PROJECT_DIR / "configs"
"""The list of weights, the labels and server.yaml; an installed package carries them within itself."""

ENV_PREFIX = "STREAMSERVER_"


def data_dir() -> Path:
    """Where state and weights go unless the settings say otherwise; an installed package keeps out of its own folder.

    The project's folder, or ``stream-server`` in the user's data folder (``XDG_DATA_HOME``).
    """
    if CONFIGS_DIR != _PACKAGED_CONFIGS:
        return PROJECT_DIR
    home = os.environ.get("XDG_DATA_HOME", "")
    return (Path(home) if Path(home).is_absolute() else Path.home() / ".local" / "share") / "stream-server"


def _row(
    default: Any, meaning: str, *, choices: tuple[str, ...] = (), low: float | None = None, high: float | None = None
) -> Any:
    return field(default=default, metadata={"meaning": meaning, "choices": choices, "low": low, "high": high})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an operator can set; ``docs/settings.md`` has a paragraph for each (a test compares them)."""

    host: str = _row("127.0.0.1", "address the API listens on; 0.0.0.0 for every interface")
    port: int = _row(8001, "port of the API", low=1, high=65535)
    state_dir: str = _row("state", "folder for tasks, logs and the database; relative to the project")
    client_host: str = _row(
        "127.0.0.1", "address the client processes listen on; anyone who reaches it can forge results"
    )
    client_port_base: int = _row(
        10001, "first port for client processes; the next free one upward is used", low=1, high=65535
    )
    models: str = _row("", "more model directories, separated by colons, searched after models/")
    model_cache: str = _row("", "where downloaded weights go; empty for models/ of the project")
    model_download: bool = _row(True, "fetch missing weights from the source named in configs/models.yaml")
    detector: str = _row(
        "auto",
        "which detector tasks use: the graph's model, motion, or auto (the model, motion where it is missing)",
        choices=("auto", "model", "motion"),
    )
    device: str = _row(
        "auto", "where models run: auto (CUDA where it works, else the CPU), cpu, cuda", choices=("auto", "cpu", "cuda")
    )
    inference_threads: int = _row(1, "threads of one model session; one task is one process", low=1, high=256)
    stream_path: str = _row("", "a sophon-stream tree; when it holds samples/build/main, that program is the engine")
    event_dir: str = _row("", "also keep every alarm here as JSON and JPEG; empty for no local copy")
    max_body_bytes: int = _row(1_000_000, "largest request body of the API", low=1000)
    log_level: str = _row("INFO", "DEBUG, INFO, WARNING or ERROR", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    heartbeat_timeout_s: float = _row(10.0, "silence after which a process counts as hung", low=1)
    start_timeout_s: float = _row(300.0, "time a process may take until it is ready (a model download included)", low=1)
    stop_timeout_s: float = _row(5.0, "time a process has to end after SIGTERM", low=0.1)
    drain_timeout_s: float = _row(
        60.0, "time the client of a task that is over has to deliver; then the courier goes on with what is left", low=0
    )
    memory_limit_mb: int = _row(
        4096, "memory of one process of a task, in megabytes, above which it is restarted as planned; 0 for off", low=0
    )
    decoder: str = _row(
        "av", "who reads videos and streams: av (PyAV) or opencv (without GPL parts)", choices=("av", "opencv")
    )
    stalled_after_s: float = _row(10.0, "a stream without a picture for so long counts as stalled", low=1)
    frozen_after_s: float = _row(60.0, "a stream with the same picture for so long counts as stalled; 0 for off", low=0)
    connects_per_s: float = _row(5.0, "connections to streams that all tasks together try in a second", low=0.1)
    report_connect_timeout_s: float = _row(3.0, "time to connect to a report address", low=0.1)
    report_timeout_s: float = _row(10.0, "time a report address has to answer", low=0.1)
    outbox_max_mb: int = _row(
        1024, "alarms of one task that wait for a receiver, in megabytes; the oldest go first", low=1
    )
    retention_h: float = _row(
        72.0, "hours of running for which an alarm that no receiver takes is kept; the oldest go first", low=0.01
    )
    report_concurrency: int = _row(
        10, "reports that all tasks together have under way to one address", low=1, high=1000
    )
    report_secret: str = _row("", "key of the X-Signature header of reports; empty for no signature")
    backup_interval_s: float = _row(3600.0, "time between two backups of each database", low=1)
    disk_reserve_mb: int = _row(
        64,
        "space kept free in a ballast file for a full disk; creates are refused below as much again; 0 for off",
        low=0,
    )
    license: str = _row(
        "open",
        "whether passflow counts without a licence: open (yes, where no Authorizer was used) or required (never)",
        choices=("open", "required"),
    )
    license_server: str = _row("http://127.0.0.1:8001", "the stream-server that passflow asks for a licence")
    license_public_key: str = _row(
        "", "public key that licences must be signed with, in Base64; empty for the one that is known here"
    )

    @property
    def state_path(self) -> Path:
        """``state_dir`` as an absolute path."""
        return (data_dir() / self.state_dir).resolve()

    @property
    def model_dirs(self) -> list[Path]:
        """Where weights are looked for, in order: the project's models/, ``models``, the cache."""
        named = [Path(part).expanduser() for part in self.models.split(":") if part]
        return list(dict.fromkeys([data_dir() / "models", *named, self.model_cache_path]))

    @property
    def model_cache_path(self) -> Path:
        """Where downloads go."""
        return Path(self.model_cache).expanduser() if self.model_cache else data_dir() / "models"

    @property
    def engine_binary(self) -> Path | None:
        """The sophon-stream program to run instead of our engine, or ``None``."""
        if not self.stream_path:
            return None
        binary = Path(self.stream_path) / "samples" / "build" / "main"
        return binary if os.access(binary, os.X_OK) else None


def load(
    *, file: Path | None = None, environment: Mapping[str, str] | None = None, options: Mapping[str, Any] | None = None
) -> Settings:
    """Settings from file, environment and options, each overriding the one before.

    Args:
        file: a YAML file; ``None`` means ``STREAMSERVER_CONFIG`` or configs/server.yaml, which may be absent.
        environment: ``os.environ`` unless given.
        options: values from the command line; ``None`` values are not set.

    Raises:
        ConfigError: a name is unknown or a value cannot be used; says where it came from.
    """
    env = os.environ if environment is None else environment
    path = file or Path(env.get(f"{ENV_PREFIX}CONFIG") or CONFIGS_DIR / "server.yaml")
    values: dict[str, Any] = {}
    for name, value in _read_yaml(path).items():
        values[name] = _convert(_find(name, str(path)), value, f"{path}: {name}")
    for row in fields(Settings):
        variable = ENV_PREFIX + row.name.upper()
        if variable in env:
            values[row.name] = _convert(row, env[variable], variable)
    for name, value in (options or {}).items():
        if value is not None:
            values[name] = _convert(_find(name, "options"), value, f"--{name}")
    return Settings(**values)


def to_environment(settings: Settings) -> dict[str, str]:
    """The variables from which ``load`` reads the same settings in another process, whatever its working directory."""
    values = {row.name: str(getattr(settings, row.name)) for row in fields(Settings)}
    values["state_dir"] = str(settings.state_path)
    values["models"] = ":".join(_absolute(part) for part in settings.models.split(":") if part)
    for name in ("model_cache", "stream_path", "event_dir"):
        values[name] = _absolute(values[name]) if values[name] else ""
    return {f"{ENV_PREFIX}{name.upper()}": value for name, value in values.items()}


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text("utf-8")) or {}
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as e:
        raise ConfigError(f"{path}: cannot be read: {e}") from e
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected 'name: value' lines, got {type(content).__name__}")
    return content


def _find(name: str, where: str) -> Field[Any]:
    rows = {row.name: row for row in fields(Settings)}
    if name in rows:
        return rows[name]
    near = difflib.get_close_matches(name, rows, n=1)
    cure = f"did you mean '{near[0]}'?" if near else "see docs/settings.md"
    raise ConfigError(f"{where}: unknown setting '{name}'", cure=cure)


def _convert(row: Field[Any], value: Any, where: str) -> Any:
    kind: type[Any] = type(row.default)
    try:
        result = _to_bool(value) if kind is bool else kind(_plain_text(value))
    except (TypeError, ValueError) as e:
        raise ConfigError(f"{where}: expected {kind.__name__}, got {value!r}") from e
    choices, low, high = row.metadata["choices"], row.metadata["low"], row.metadata["high"]
    if choices and result not in choices:
        raise ConfigError(f"{where}: got {value!r}", cure=f"use one of {', '.join(choices)}")
    if (low is not None and result < low) or (high is not None and result > high):
        raise ConfigError(
            f"{where}: {value!r} is out of range",
            cure=f"from {low} to {high}" if high is not None else f"at least {low}",
        )
    return result


def _plain_text(value: Any) -> str:
    if isinstance(value, (list, dict)):
        raise ValueError(f"{value!r} is not one value")
    return "" if value is None else str(value)


def _to_bool(value: Any) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    return words[str(value).strip().lower()] if str(value).strip().lower() in words else _fail(value)


def _fail(value: Any) -> bool:
    raise ValueError(f"{value!r} is neither true nor false")
