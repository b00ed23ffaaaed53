"""The weights the server knows: configs/models.yaml, read and checked."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from streamserver.core.errors import ConfigError
from streamserver.core.model_address import ModelAddress
from streamserver.core.settings import CONFIGS_DIR
from streamserver.models.normalisation import Normalisation
from streamserver.models.package import Package

REGISTRY_FILE = CONFIGS_DIR / "models.yaml"

_FILE = ("file", "sha256")
_REQUIRED = ("task", "family", "licence")
_OPTIONAL = ("remote", "source", "url", "package", "labels", "preprocess", "options")
_PACKAGE = ("name", "version", "file")
_PREPROCESS = ("scale", "offset", "bgr")
_BMODEL = ("pattern", "model", "classes")
_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Both read the same; the one in C takes a tenth of the time, and each engine reads the list when it starts."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """One known model; the fields are the keys of configs/models.yaml.

    Attributes:
        file: its name; empty for a model on a server.
        remote: the model's address, if it is on a server; the keys of a file are empty then.
        url: where the file can be fetched; empty when nowhere.
        package: the Python package that carries the file; ``None`` for most.
        labels: class names in class order; empty for models without classes.
        preprocess: what the network wants to see; ``None`` when its family decides.
        options: what else its family must know to read it, e.g. the anchors of a yolov5.
    """

    name: str
    file: str = ""
    sha256: str = ""
    task: str
    family: str
    licence: str
    remote: ModelAddress | None = None
    source: str = ""
    url: str = ""
    package: Package | None = None
    labels: tuple[str, ...] = ()
    preprocess: Normalisation | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def offered(self) -> bool:
        """Whether the file can be fetched from somewhere."""
        return bool(self.url or self.package)


@dataclass(frozen=True, slots=True)
class BmodelRule:
    """Which model stands in for .bmodel files of one pattern, and the class numbers they know (``None``: all)."""

    pattern: str
    model: str
    classes: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Registry:
    """All entries by name, and the rules for .bmodel files in the order in which they are tried."""

    models: Mapping[str, ModelEntry]
    bmodels: tuple[BmodelRule, ...] = ()

    @classmethod
    def from_file(cls, path: Path = REGISTRY_FILE) -> Registry:
        """Reads and checks a registry file; raises ``ConfigError`` naming file and key."""
        content = _mapping(_read(path), f"{path}")
        _refuse_unknown(content, ("models", "bmodels"), f"{path}")
        models = {
            str(name): _entry(str(name), row, path)
            for name, row in _mapping(content.get("models") or {}, f"{path}: models").items()
        }
        rules = content.get("bmodels") or []
        if not isinstance(rules, list):
            raise ConfigError(f"{path}: bmodels: expected a list, got {type(rules).__name__}")
        return cls(models, tuple(_rule(row, models, f"{path}: bmodels[{i}]") for i, row in enumerate(rules)))

    def by_file(self, file: str) -> ModelEntry | None:
        """The entry whose file has this name."""
        return next((entry for entry in self.models.values() if entry.file and entry.file == file), None)

    def by_address(self, address: ModelAddress) -> ModelEntry | None:
        """The entry of a model on a server: that with its address, else that with its name there."""
        entries = self.models.values()
        return next((entry for entry in entries if entry.remote == address), self.models.get(address.model))

    def bmodel_rule(self, file: str) -> BmodelRule | None:
        """The first rule whose pattern matches the name of a .bmodel file."""
        low = file.lower()
        return next((rule for rule in self.bmodels if fnmatch.fnmatchcase(low, rule.pattern.lower())), None)


def read_labels(path: Path) -> tuple[str, ...]:
    """Class names of a file with one name a line; blank lines at the end do not count.

    Raises:
        ConfigError: the file cannot be read or names nothing.
    """
    try:
        text = path.read_text("utf-8-sig")
    except OSError as e:
        raise ConfigError(f"class names '{path}' cannot be read: {e.strerror or e}") from e
    except UnicodeDecodeError as e:
        raise ConfigError(f"class names '{path}' cannot be read: {e}", cure="save the file as UTF-8") from e
    names = tuple(line.strip() for line in text.rstrip().splitlines())
    if not names:
        raise ConfigError(f"class names '{path}': the file is empty", cure="write one class name a line")
    return names


def _read(path: Path) -> Any:
    try:
        return yaml.load(path.read_text("utf-8"), Loader=_LOADER) or {}  # noqa: S506 - _LOADER is a SafeLoader  # nosec B506
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as e:
        raise ConfigError(f"{path}: cannot be read: {e}") from e


def _entry(name: str, row: Any, path: Path) -> ModelEntry:
    where = f"{path}: models.{name}"
    values = _mapping(row, where)
    _refuse_unknown(values, (*_FILE, *_REQUIRED, *_OPTIONAL), where)
    texts = {key: _text(values, key, where) for key in (*_FILE, *_REQUIRED, "source", "url", "labels")}
    remote = _remote(values, where)
    for key in _REQUIRED if remote else (*_FILE, *_REQUIRED):
        if not texts[key]:
            raise ConfigError(f"{where}.{key}: is missing")
    if remote is None:
        _check_file(texts, where)
    labels = texts.pop("labels")
    preprocess = None if values.get("preprocess") is None else _preprocess(values["preprocess"], f"{where}.preprocess")
    return ModelEntry(
        name=name,
        labels=read_labels(path.parent / labels) if labels else (),
        preprocess=preprocess,
        package=_package(values.get("package"), f"{where}.package", url=texts["url"]),
        options=_mapping(values.get("options") or {}, f"{where}.options"),
        remote=remote,
        **texts,
    )


def _check_file(texts: Mapping[str, str], where: str) -> None:
    if not _SHA256.fullmatch(texts["sha256"]):
        raise ConfigError(f"{where}.sha256: expected 64 small hexadecimal digits, got '{texts['sha256']}'")
    if Path(texts["file"]).name != texts["file"]:
        raise ConfigError(f"{where}.file: expected a file name without folders, got '{texts['file']}'")
    if texts["url"] and not texts["url"].startswith(("https://", "http://")):
        raise ConfigError(f"{where}.url: expected an http(s) address, got '{texts['url']}'")


def _remote(values: Mapping[str, Any], where: str) -> ModelAddress | None:
    """The address of a model on a server, which has no file here."""
    text = _text(values, "remote", where)
    if not text:
        return None
    beside = [key for key in (*_FILE, "url", "package") if values.get(key)]
    if beside:
        raise ConfigError(f"{where}.remote: stands beside {beside[0]}", cure="say where the model is, once")
    try:
        return ModelAddress.from_text(text)
    except ValueError as e:
        raise ConfigError(f"{where}.remote: {e}") from e


def _package(row: Any, where: str, *, url: str) -> Package | None:
    if row is None:
        return None
    if url:
        raise ConfigError(f"{where}: stands beside url", cure="say one of them")
    values = _mapping(row, where)
    _refuse_unknown(values, _PACKAGE, where)
    texts = {key: _text(values, key, where) for key in _PACKAGE}
    for key, text in texts.items():
        if not text:
            raise ConfigError(f"{where}.{key}: is missing")
        if text.startswith("-"):
            raise ConfigError(f"{where}.{key}: expected no option, got '{text}'")
    if Path(texts["file"]).is_absolute() or ".." in Path(texts["file"]).parts:
        raise ConfigError(f"{where}.file: expected a path inside the package, got '{texts['file']}'")
    return Package(**texts)


def _preprocess(row: Any, where: str) -> Normalisation:
    values = _mapping(row, where)
    _refuse_unknown(values, _PREPROCESS, where)
    bgr = values.get("bgr", True)
    if not isinstance(bgr, bool):
        raise ConfigError(f"{where}.bgr: expected true or false, got {bgr!r}")
    try:
        return Normalisation.per_channel(scale=values.get("scale", 1.0), offset=values.get("offset", 0.0), rgb=not bgr)
    except ValueError as e:
        raise ConfigError(f"{where}: {e}") from e


def _rule(row: Any, models: Mapping[str, ModelEntry], where: str) -> BmodelRule:
    values = _mapping(row, where)
    _refuse_unknown(values, _BMODEL, where)
    pattern, model = _text(values, "pattern", where), _text(values, "model", where)
    if not pattern:
        raise ConfigError(f"{where}.pattern: is missing")
    if model not in models:
        raise ConfigError(f"{where}.model: '{model}' is no entry of models", cure=f"use one of {', '.join(models)}")
    names = values.get("classes")
    if names is None:
        return BmodelRule(pattern, model)
    labels = models[model].labels
    if not isinstance(names, list) or not names or any(name not in labels for name in names):
        raise ConfigError(f"{where}.classes: expected a list of class names of '{model}', got {names!r}")
    return BmodelRule(pattern, model, tuple(labels.index(name) for name in names))


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: expected 'name: value' lines, got {type(value).__name__}")
    return value


def _text(values: Mapping[str, Any], key: str, where: str) -> str:
    value = values.get(key)
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"{where}.{key}: expected text, got {value!r}")
    return value or ""


def _refuse_unknown(values: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    unknown = [key for key in values if key not in known]
    if unknown:
        raise ConfigError(f"{where}: unknown key '{unknown[0]}'", cure=f"use {', '.join(known)}")
