"""Every setting in one table: its name, type, default and meaning.

A value comes from the last of: the default here, ``configs/server.yaml``, the environment (``STREAMSERVER_`` and the
name in capitals), the command line. Unknown names are refused with the nearest known one; in the environment, where
others may have variables of their own, they are told of. ``python -m streamserver.settings show`` tells the sources.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from streamserver.core.errors import ConfigError
from streamserver.core.networks import parse_networks
from streamserver.core.settings_yaml import read_yaml

PROJECT_DIR = Path(__file__).resolve().parents[2]
"""The folder with server.py, samples/ and configs/; of an installed package, the one with the packages."""

_PACKAGED_CONFIGS = Path(__file__).resolve().parents[1] / "configs"

CONFIGS_DIR = _PACKAGED_CONFIGS if _PACKAGED_CONFIGS.is_dir() else PROJECT_DIR / "configs"
"""The list of weights, the labels and server.yaml; an installed package carries them within itself."""

ENV_PREFIX = "STREAMSERVER_"

DEFAULT = "default"
"""The source of a value that nobody has set."""


def data_dir() -> Path:
    """Where state and weights go unless the settings say otherwise; an installed package keeps out of its own folder.

    The project's folder, or ``stream-server`` in the user's data folder (``XDG_DATA_HOME``).
    """
    if CONFIGS_DIR != _PACKAGED_CONFIGS:
        return PROJECT_DIR
    home = os.environ.get("XDG_DATA_HOME", "")
    return (Path(home) if Path(home).is_absolute() else Path.home() / ".local" / "share") / "stream-server"


def _row(
    default: Any,
    meaning: str,
    *,
    choices: tuple[str, ...] = (),
    low: float | None = None,
    high: float | None = None,
    form: tuple[str, str] = (".*", ""),
    separator: str = "",
    path: bool = False,
    secret: bool = False,
) -> Any:
    """A setting.

    Args:
        default: its value where nobody sets it; its type is the setting's.
        meaning: one line for people.
        choices: the only words there are.
        low: the least number.
        high: the greatest number.
        form: what a text looks like, as a pattern of all of it and in examples.
        separator: what stands between the items of a list; in YAML it may be a list.
        path: a file or folder, or with ``separator`` several.
        secret: never shown, and no option, for everybody sees the options of a process.
    """
    metadata = {"meaning": meaning, "choices": choices, "low": low, "high": high, "form": form}
    metadata |= {"separator": separator, "path": path, "secret": secret}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an operator can set; ``docs/settings.md`` has a paragraph for each (a test compares them)."""

    host: str = _row("127.0.0.1", "address the API listens on; 0.0.0.0 for every interface")
    port: int = _row(8001, "port of the API", low=1, high=65535)
    auth: str = _row(
        "auto",
        "who needs an API key: auto (everybody, unless host is a loopback address), on (everybody), off (nobody)",
        choices=("auto", "on", "off"),
    )
    trusted_networks: str = _row(
        "",
        "addresses and networks, separated by commas, from where no key is needed; e.g. 10.0.0.5, 192.168.7.0/24",
        separator=",",
    )
    host_names: str = _row(
        "",
        "names with dots, separated by commas, under which the API may be asked while it needs no keys",
        separator=",",
    )
    rate_per_s: float = _row(
        100.0, "requests a second of one key, or of one address without; four times as many at once; 0 for off", low=0
    )
    tls_cert: str = _row("", "certificate chain of the API (PEM); with tls_key it speaks https", path=True)
    tls_key: str = _row("", "private key of tls_cert (PEM)", path=True)
    deny_networks: str = _row(
        "169.254.0.0/16, fe80::/10, 100.100.100.200, 192.0.0.192, 168.63.129.16, "
        "fd00:ec2::254, fd20:ce::254, 0.0.0.0/8, ::",
        "networks that no stream or report address of a task may lead to; link-local and metadata services by default",
        separator=",",
    )
    allow_networks: str = _row(
        "", "the only networks that such addresses may lead to; empty for all but deny_networks", separator=","
    )
    file_dirs: str = _row(
        "media:/data:/srv:/mnt:/media",
        "directories, separated by colons, below which files and folders of a task must lie; / for everywhere",
        separator=":",
        path=True,
    )
    state_dir: str = _row("state", "folder for tasks, logs and the database; relative to the project", path=True)
    client_host: str = _row(
        "127.0.0.1", "address the client processes listen on; anyone who reaches it can forge results"
    )
    client_port_base: int = _row(
        10001, "first port for client processes; the next free one upward is used", low=1, high=65535
    )
    models: str = _row(
        "", "more model directories, separated by colons, searched after models/", separator=":", path=True
    )
    model_cache: str = _row("", "where downloaded weights go; empty for models/ of the project", path=True)
    model_download: bool = _row(True, "fetch missing weights from the source named in configs/models.yaml")
    model_tuning: bool = _row(
        True, "run networks in a faster form with the same weights, made once and kept in the cache"
    )
    detector: str = _row(
        "auto",
        "which detector tasks use: the graph's model, motion, or auto (the model, motion where it is missing)",
        choices=("auto", "model", "motion"),
    )
    device: str = _row(
        "auto",
        "where models run: auto (CUDA where it works, else the CPU), cpu, cuda, tensorrt; cuda:1 is the second GPU",
        form=(r"auto|cpu|(cuda|tensorrt)(:\d{1,2})?", "auto, cpu, cuda, cuda:0, tensorrt, tensorrt:0"),
    )
    remote_timeout_s: float = _row(
        10.0, "time a model server has to answer; heartbeat_timeout_s, where that is shorter", low=0.1
    )
    inference_threads: int = _row(1, "threads of one model session; one task is one process", low=1, high=256)
    stream_path: str = _row(
        "", "a sophon-stream tree; when it holds samples/build/main, that program is the engine", path=True
    )
    event_dir: str = _row("", "also keep every alarm here as JSON and JPEG; empty for no local copy", path=True)
    max_body_bytes: int = _row(1_000_000, "largest request body of the API", low=1000)
    log_level: str = _row("INFO", "DEBUG, INFO, WARNING or ERROR", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    log_console: str = _row("text", "what the console gets: text, for people, or json", choices=("text", "json"))
    log_max_mb: float = _row(10.0, "size of a log file at which the next is begun, in megabytes", low=0.1)
    log_backups: int = _row(3, "full log files that are kept of each process", low=1, high=100)
    heartbeat_timeout_s: float = _row(10.0, "silence after which a process counts as hung", low=1)
    start_timeout_s: float = _row(300.0, "time a process may take until it is ready (a model download included)", low=1)
    stop_timeout_s: float = _row(5.0, "time a process has to end after SIGTERM", low=0.1)
    drain_timeout_s: float = _row(
        60.0, "time the client of a task that is over has to deliver; then the courier goes on with what is left", low=0
    )
    memory_limit_mb: int = _row(
        4096, "memory of one process of a task, in megabytes, above which it is restarted as planned; 0 for off", low=0
    )
    nurseries: bool = _row(
        True, "fork the processes of tasks from ones that have imported everything; false starts each as a program"
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
    report_secret: str = _row("", "key of the X-Signature header of reports; empty for no signature", secret=True)
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
    def file_paths(self) -> list[Path]:
        """``file_dirs`` as absolute paths; relative ones count from the project's folder."""
        return [(data_dir() / Path(part).expanduser()).resolve() for part in self.file_dirs.split(":") if part]

    @property
    def engine_binary(self) -> Path | None:
        """The sophon-stream program to run instead of our engine, or ``None``."""
        if not self.stream_path:
            return None
        binary = Path(self.stream_path) / "samples" / "build" / "main"
        return binary if os.access(binary, os.X_OK) else None


@dataclass(frozen=True, slots=True)
class Sourced:
    """Settings, and where each value came from: ``DEFAULT``, ``<file>:<line>``, a variable or an option."""

    settings: Settings
    sources: Mapping[str, str]


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
    return load_with_sources(file=file, environment=environment, options=options).settings


def load_with_sources(
    *, file: Path | None = None, environment: Mapping[str, str] | None = None, options: Mapping[str, Any] | None = None
) -> Sourced:
    """As ``load``, with the source of each value."""
    env = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    sources = dict.fromkeys((row.name for row in fields(Settings)), DEFAULT)
    for row, value, source in _given(file or settings_file(env), env, options or {}):
        where = f"{source}: {row.name}" if source.rpartition(":")[2].isdecimal() else source
        values[row.name] = _convert(row, value, where)
        sources[row.name] = source
    return Sourced(Settings(**values), sources)


def settings_file(environment: Mapping[str, str]) -> Path:
    """The YAML file that ``load`` reads; it may be absent."""
    return Path(environment.get(f"{ENV_PREFIX}CONFIG") or CONFIGS_DIR / "server.yaml")


def file_problems(file: Path) -> list[str]:
    """Everything that is wrong with a YAML file of settings, one line each; empty when the server can use it."""
    problems = []
    try:
        read = read_yaml(file)
    except ConfigError as e:
        return [str(e)]
    for name, (value, line) in read.items():
        try:
            _convert(_find(name, f"{file}:{line}"), value, f"{file}:{line}: {name}")
        except ConfigError as e:
            problems.append(str(e))
    return problems


def _given(file: Path, env: Mapping[str, str], options: Mapping[str, Any]) -> Iterator[tuple[Field[Any], Any, str]]:
    """What is set, the strongest last: the setting, its raw value and where it came from."""
    for name, (value, line) in read_yaml(file).items():
        yield _find(name, f"{file}:{line}"), value, f"{file}:{line}"
    for row in fields(Settings):
        variable = ENV_PREFIX + row.name.upper()
        if variable in env:
            yield row, env[variable], variable
    for name, value in options.items():
        if value is not None:
            yield _find(name, "options"), value, f"--{name}"


def to_environment(settings: Settings) -> dict[str, str]:
    """The variables from which ``load`` reads the same settings in another process, whatever its working directory."""
    values = {row.name: str(getattr(settings, row.name)) for row in fields(Settings)}
    for row in fields(Settings):
        if row.metadata["path"]:
            values[row.name] = absolute(row.name, values[row.name])
    values["state_dir"] = str(settings.state_path)
    values["file_dirs"] = ":".join(str(path) for path in settings.file_paths)
    return {f"{ENV_PREFIX}{name.upper()}": value for name, value in values.items()}


def absolute(name: str, value: str) -> str:
    """The value of a setting that is a path, or several, as seen from the working directory; others as they are."""
    metadata = Settings.__dataclass_fields__[name].metadata
    if not metadata["path"]:
        return value
    return ":".join(_absolute(part) for part in (value.split(":") if metadata["separator"] else [value]) if part)


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())


def _find(name: str, where: str) -> Field[Any]:
    rows = {row.name: row for row in fields(Settings)}
    if name in rows:
        return rows[name]
    near = difflib.get_close_matches(name, rows, n=1)
    cure = f"did you mean '{near[0]}'?" if near else "see docs/settings.md"
    raise ConfigError(f"{where}: unknown setting '{name}'", cure=cure)


def _convert(row: Field[Any], value: Any, where: str) -> Any:
    kind: type[Any] = type(row.default)
    if isinstance(value, list) and row.metadata["separator"]:
        value = _joined(value, row.metadata["separator"], where)
    if kind is str and isinstance(value, bool):
        value = "on" if value else "off"  # what YAML makes of these words
    try:
        result = _to_bool(value) if kind is bool else kind(_plain_text(value))
    except (TypeError, ValueError) as e:
        raise ConfigError(f"{where}: expected {kind.__name__}, got {value!r}") from e
    choices, low, high = row.metadata["choices"], row.metadata["low"], row.metadata["high"]
    if choices and result not in choices:
        raise ConfigError(f"{where}: got {value!r}", cure=f"use one of {', '.join(choices)}")
    pattern, examples = row.metadata["form"]
    if kind is str and not re.fullmatch(pattern, str(result), re.DOTALL):
        raise ConfigError(f"{where}: got {value!r}", cure=f"use one of {examples}")
    if (low is not None and result < low) or (high is not None and result > high):
        raise ConfigError(
            f"{where}: {value!r} is out of range",
            cure=f"from {low} to {high}" if high is not None else f"at least {low}",
        )
    if row.name.endswith("_networks"):
        parse_networks(str(result), setting=where)  # a slip is told at the start, not by what it lets through
    return result


def _joined(items: list[Any], separator: str, where: str) -> str:
    """A list of YAML as the text that it would be on one line."""
    for item in items:
        if not isinstance(item, str) or separator in item or not item.strip():
            raise ConfigError(f"{where}: {item!r} is no item of the list", cure=f"use texts without '{separator}'")
    return f"{separator} ".join(items) if separator == "," else separator.join(items)


def _plain_text(value: Any) -> str:
    if isinstance(value, (list, dict)):
        raise ValueError(f"{value!r} is not one value")
    return "" if value is None else str(value)


def _to_bool(value: Any) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    return words[str(value).strip().lower()] if str(value).strip().lower() in words else _fail(value)


def _fail(value: Any) -> bool:
    raise ValueError(f"{value!r} is neither true nor false")
