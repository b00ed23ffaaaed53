"""What keeps a server from being started is one clear line before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamserver.core.errors import ConfigError
from streamserver.core.settings import Settings
from streamserver.supervise import preflight
from tests.certificates import make_pair
from tests.servers.ports import free_port


def test_a_certificate_that_does_not_do_is_found_before_the_start(tmp_path: Path) -> None:
    cert, key = make_pair(tmp_path)
    with pytest.raises(ConfigError, match="is not the key of the certificate"):
        preflight.obstacle(_settings(tmp_path, cert, make_pair(tmp_path, "other")[1]))
    assert preflight.obstacle(_settings(tmp_path, cert, key)) == ""


def _settings(folder: Path, cert: Path, key: Path) -> Settings:
    return Settings(port=free_port(), state_dir=str(folder / "state"), tls_cert=str(cert), tls_key=str(key))
