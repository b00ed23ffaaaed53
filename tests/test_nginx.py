"""deploy/nginx.conf: nginx takes it, and requests go through it."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any

import pytest

from bench.tables.slow import served
from streamserver.core.settings import PROJECT_DIR, Settings
from tests.certificates import make_pair
from tests.servers.nginx import temporary_paths
from tests.servers.packages import program
from tests.servers.ports import free_port
from tests.servers.process import ServerProcess, port_is_open

_EXAMPLE = PROJECT_DIR / "deploy" / "nginx.conf"
_MAIN = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 256; }}
http {{
  access_log off;
  {temporary}
  include {folder}/stream-server.conf;
}}
"""


class _Nginx(ServerProcess):
    """The example with other ports, names and files, and a rate that a busy machine exceeds; nothing else changed."""

    def __init__(self, folder: Path, upstream: int) -> None:
        super().__init__()
        self.folder, self.http, self.https = folder, free_port(), free_port()
        self.cert, key = make_pair(folder)
        text = _EXAMPLE.read_text()
        for wanted, given in {
            "127.0.0.1:8001": f"127.0.0.1:{upstream}",
            "listen 80;": f"listen 127.0.0.1:{self.http};",
            "listen 443 ssl;": f"listen 127.0.0.1:{self.https} ssl;",
            "listen [::]:80;": "",
            "rate=20r/s": "rate=1r/s",
            "listen [::]:443 ssl;": "",
            "/etc/letsencrypt/live/stream.example.com/fullchain.pem": str(self.cert),
            "/etc/letsencrypt/live/stream.example.com/privkey.pem": str(key),
        }.items():
            assert wanted in text
            text = text.replace(wanted, given)
        (folder / "stream-server.conf").write_text(text)
        (folder / "nginx.conf").write_text(_MAIN.format(folder=folder, temporary=temporary_paths(folder)))

    def command(self) -> list[str]:
        return [*self.test_command()[:-1]]

    def test_command(self) -> list[str]:
        nginx = program("nginx") or "nginx"
        return [nginx, "-p", str(self.folder), "-e", "stderr", "-c", str(self.folder / "nginx.conf"), "-t"]

    def is_up(self) -> bool:
        return port_is_open(self.https)

    def ask(self, method: str, path: str, content: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        context = ssl.create_default_context(cafile=str(self.cert))
        with closing(HTTPSConnection("localhost", self.https, timeout=60, context=context)) as connection:
            connection.request(method, path, content, headers)
            response = connection.getresponse()
            return response.status, response.read()


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[_Nginx]:
    if program("nginx") is None:
        pytest.skip("nginx is not installed: apt-get install nginx-light, or let ./run_tests.sh do it as root")
    with served("") as (port, _), _Nginx(tmp_path, port) as running:
        yield running


def test_nginx_takes_the_example_and_requests_go_through_it(nginx: _Nginx) -> None:
    tried = subprocess.run(nginx.test_command(), capture_output=True, text=True, timeout=60, check=False)
    assert tried.returncode == 0, tried.stderr
    assert "warn" not in tried.stderr
    status, reply = nginx.ask("POST", "/task/query", b'{"TaskID":"x"}', Authorization="Bearer ss_x")
    assert (status, "Code" in json.loads(reply)) in [(200, True), (401, True)]
    assert nginx.ask("GET", "/livez")[0] == 200
    assert nginx.ask("POST", "/task/create", b" " * 1_200_000)[0] == 413
    assert _plain(nginx) == (301, f"https://localhost{'/livez'}")
    answers = [nginx.ask("GET", "/livez")[0] for _ in range(80)]
    assert set(answers) == {200, 429}


def _plain(nginx: _Nginx) -> tuple[int, Any]:
    with closing(HTTPConnection("localhost", nginx.http, timeout=60)) as connection:
        connection.request("GET", "/livez")
        response = connection.getresponse()
        return response.status, response.headers["Location"]


def test_it_lets_through_what_the_settings_do() -> None:
    text = _EXAMPLE.read_text()
    megabytes = re.search(r"client_max_body_size\s+(\d+)m;", text)
    assert megabytes
    assert int(megabytes[1]) * 1024**2 >= Settings().max_body_bytes
    assert f"server 127.0.0.1:{Settings().port};" in text
