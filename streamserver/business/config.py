"""What a client process is to do: from client.json, or from the options of the old server's client.py."""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from streamserver.core.errors import ConfigError
from streamserver.core.revision import read_revision
from streamserver.core.secrets import register
from streamserver.core.settings import Settings
from streamserver.core.urls import is_http_url, mask_credentials, masked

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlgorithmSpec:
    """One algorithm of the task; ``request`` is its entry in the accepted request."""

    index: int
    type: int
    name: str
    request: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """One client process.

    Attributes:
        run: the key of the accepted task version; empty by hand.
        replayable: the same frames come again after a restart, so an event at the same place is the same event.
        outbox_file: where alarms wait.
        task_dir: the task's folder, for status and logs; ``None`` by hand: no status, log to stderr.
        revision: of the task's files, noted before they were read; 0 by hand.
    """

    run: str
    task_id: str
    src_id: str
    host: str
    port: int
    replayable: bool
    report_urls: tuple[str, ...]
    algorithms: tuple[AlgorithmSpec, ...]
    outbox_file: Path
    task_dir: Path | None
    revision: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Addressee:
    """Where the alarms of a task go, and in whose name."""

    task_id: str
    report_urls: tuple[str, ...]


def make_parser() -> argparse.ArgumentParser:
    """The command line of client.py; whatever is wrong with it becomes a ``ConfigError``."""
    parser = _Parser(prog="client.py", description="The business process of one task.")
    parser.add_argument("--config", type=Path, help="client.json of a task; the other options are for use by hand")
    parser.add_argument("--drain", action="store_true", help="take no frames, deliver what is pending and exit")
    parser.add_argument("--task_id", default="0", help="id of the task")
    parser.add_argument("--type", type=int, default=0, help="type of the algorithm, a key of map_type")
    parser.add_argument("--host", default=None, help="address to listen on; the setting client_host unless given")
    parser.add_argument("--port", type=int, default=11100, help="port to listen on")
    parser.add_argument("--url", default="", help="report addresses: one, or a JSON or Python list of them")
    parser.add_argument("--src_id", default="", help="SrcID of the reports")
    parser.add_argument("--detect_interval", type=int, default=1, help="sample_interval of the engine's channel")
    parser.add_argument("--id", default="0", help="position of the algorithm in its task; only shown in the log")
    return parser


def config_of(
    options: argparse.Namespace, settings: Settings, known_types: Callable[[], dict[int, str]]
) -> ClientConfig:
    """The configuration that the command line means.

    Args:
        options: parsed by ``make_parser``.
        settings: for the address and the outbox of a client started by hand.
        known_types: reads ``config_algorithm.map_type``; only called by hand.

    Raises:
        ConfigError: the file or an option cannot be used.
    """
    return load_config(options.config) if options.config else _config_by_hand(options, settings, known_types())


def load_config(file: Path) -> ClientConfig:
    """Reads client.json, as docs/architecture.md gives it; its folder is the task's folder."""
    task_dir = file.resolve().parent
    revision = read_revision(task_dir)
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as e:
        raise ConfigError(f"{file}: cannot be read: {e}") from e
    read = _Reader(str(file), "$", content)
    entries = read.get("algorithms", list)
    algorithms = tuple(_algorithm(_Reader(str(file), f"$.algorithms[{i}]", entry)) for i, entry in enumerate(entries))
    if [algorithm.index for algorithm in algorithms] != list(range(len(algorithms))):
        raise ConfigError(f"{file}: $.algorithms: each index must be its position")
    return ClientConfig(
        run=read.get("run", str),
        task_id=read.get("task_id", str),
        src_id=read.get("src_id", str),
        host=read.get("host", str),
        port=_port(read.get("port", int), f"{file}: $.port"),
        replayable=read.get("replayable", bool),
        report_urls=_report_urls(read.get("report_urls", list), f"{file}: $.report_urls"),
        algorithms=algorithms,
        outbox_file=task_dir / "outbox.sqlite",
        task_dir=task_dir,
        revision=revision,
    )


def load_addressee(folder: Path) -> Addressee:
    """Where the alarms of the task in ``folder`` go: as client.json says, or request.json where that is unreadable.

    Raises:
        ConfigError: neither file says it.
    """
    file = folder / "client.json"
    try:
        read = _Reader(str(file), "$", json.loads(file.read_bytes()))
        return _addressee(read.get("task_id", str), read.get("report_urls", list), f"{file}: $.report_urls")
    except (OSError, ValueError, RecursionError, ConfigError) as e:
        _log.debug("%s: %s", file, e)
    file = folder / "request.json"
    try:
        read = _Reader(str(file), "$", json.loads(file.read_bytes()))
        reporting = _Reader(str(file), "$.Reporting", read.get("Reporting", dict))
        return _addressee(read.get("TaskID", str), reporting.get("ReportUrlList", list), f"{file}: $.Reporting")
    except (OSError, ValueError, RecursionError, ConfigError) as e:
        raise ConfigError(f"{folder}: neither client.json nor request.json says where its alarms go: {e}") from e


def _addressee(task_id: str, urls: Sequence[Any], where: str) -> Addressee:
    return Addressee(task_id=task_id, report_urls=_report_urls(urls, where))


def parse_urls(text: str) -> tuple[str, ...]:
    """The ``--url`` option: a JSON list, the text of a Python list, or one address; empty for none. Never evaluated."""
    text = text.strip()
    if not text.startswith("["):
        return _report_urls([text] if text else [], "--url")
    for parse in (json.loads, ast.literal_eval):
        try:
            urls = parse(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            continue
        if isinstance(urls, list):
            return _report_urls(urls, "--url")
    raise ConfigError(f"--url: {mask_credentials(text)!r} is no list", cure="write '[\"http://host:port/path\"]'")


def _config_by_hand(options: argparse.Namespace, settings: Settings, names: dict[int, str]) -> ClientConfig:
    if options.type not in names:
        known = ", ".join(f"{number} ({name})" for number, name in sorted(names.items()))
        raise ConfigError(f"--type: {options.type} is no algorithm", cure=f"use one of {known or 'none'}")
    folder = settings.state_path / "clients"
    folder.mkdir(parents=True, exist_ok=True)
    task = hashlib.sha256(options.task_id.encode("utf-8", "backslashreplace")).hexdigest()[:8]
    request = {"Type": options.type, "DetectInterval": max(1, options.detect_interval)}
    return ClientConfig(
        run="",
        task_id=options.task_id,
        src_id=options.src_id,
        host=options.host or settings.client_host,
        port=_port(options.port, "--port"),
        replayable=False,
        report_urls=parse_urls(options.url),
        algorithms=(AlgorithmSpec(index=0, type=options.type, name=names[options.type], request=request),),
        outbox_file=folder / f"{options.port}-{task}.sqlite",
        task_dir=None,
    )


def _algorithm(read: _Reader) -> AlgorithmSpec:
    return AlgorithmSpec(
        index=read.get("index", int),
        type=read.get("type", int),
        name=read.get("name", str),
        request=read.get("request", dict),
    )


def _report_urls(urls: Sequence[Any], where: str) -> tuple[str, ...]:
    for url in urls:
        register(str(url))
        if not isinstance(url, str) or not is_http_url(url):
            raise ConfigError(f"{where}: {masked(str(url))!r} is no http or https address")
    return tuple(urls)


def _port(port: int, where: str) -> int:
    if not 1 <= port <= 65535:
        raise ConfigError(f"{where}: {port} is no port", cure="from 1 to 65535")
    return port


class _Reader:
    """Takes checked values out of a JSON object; the message names file and path."""

    def __init__(self, file: str, path: str, content: Any) -> None:
        self._file = file
        self._path = path
        if not isinstance(content, dict):
            raise ConfigError(f"{file}: {path}: expected an object, got {type(content).__name__}")
        self._content = content

    def get(self, key: str, kind: type[Any]) -> Any:
        """The value of ``key``, which must be there and of ``kind``."""
        if key not in self._content:
            raise ConfigError(f"{self._file}: {self._path}.{key} is missing")
        value = self._content[key]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise ConfigError(f"{self._file}: {self._path}.{key}: expected {kind.__name__}, got {value!r:.80}")
        return value


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(message, cure="see client.py --help")
