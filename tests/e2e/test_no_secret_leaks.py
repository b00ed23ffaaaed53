"""No password, key or token reaches a log, a reply, a process list, or a file that others can read."""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.e2e.harness import Server, deaf_port, free_port, server, task, wait_for
from tests.servers.clips import make_clip
from tests.servers.packages import needs
from tests.servers.rtsp import RtspServer

pytestmark = pytest.mark.e2e

PLATFORM = "34020000002000000001"
MAY_HOLD = {"client.json", "demo.json", "request.json", "tasks.journal", "tasks.sqlite", "tasks.sqlite-wal"}
MAY_HOLD |= {"tasks.sqlite.backup", "tasks.journal", "tasks.journal.1"}
"""Files, readable by their owner only, from which processes learn where to connect."""

REPORTS_NOTHING = ("streamserver.worker", "nursery engine", "gunicorn")
SIGNING_KEY = "Qzx70signs-reports"
SHORT = "Q~z7"
"""No Base64 holds it by chance."""

LINE = {"line": (580, 0, 580, 431), "direction": (100, 0)}


def password(number: int) -> str:
    """Words that are nowhere else, joined by every character that an address gives a meaning to."""
    marks = ["@", "/", "?", "#", ":", "%", " ", "&", '"', "'", "ü", "="]
    return "".join(f"Qzx{number}leak{index}{mark}" for index, mark in enumerate(marks)) + f"Qzx{number}leakend"


@dataclass
class Evidence:
    """Everything that could show a password, with the place where it was seen."""

    passwords: dict[str, str] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    seen: dict[str, str] = field(default_factory=dict)

    def fragments(self) -> list[str]:
        """Every word of every password: a mask that leaves one of them is a leak too; and Base64 of the whole."""
        found = []
        for user, secret in self.passwords.items():
            words = "".join(letter if letter.isalnum() and letter.isascii() else " " for letter in secret).split()
            found += [*words, *(_base64(text) for text in (secret, f"{user}:{secret}"))]
        return [*found, *self.keys]

    def leaks(self, text: str) -> list[str]:
        return [fragment for fragment in self.fragments() if fragment in text]

    def require_none(self) -> None:
        assert self.seen
        found = {place: leaks for place, text in self.seen.items() if (leaks := self.leaks(text))}
        assert not found


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode().rstrip("=")[:-1]


class _Refusing(BaseHTTPRequestHandler):
    """A camera or a receiver that wants another password."""

    logins: set[str] = set()

    def do_GET(self) -> None:
        self.logins.add(self.headers.get("Authorization", ""))
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="x"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def refusing() -> Iterator[int]:
    """The port of a server that refuses every password."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Refusing) as one:
        one.daemon_threads = True
        thread = threading.Thread(target=one.serve_forever, daemon=True)
        thread.start()
        try:
            yield one.server_address[1]
        finally:
            one.shutdown()
            thread.join()


@contextmanager
def process_list(one: Server, evidence: Evidence) -> Iterator[None]:
    """Writes down the command lines of all processes of the server, and what those that report nothing are given."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            for pid, command in one.processes().items():
                evidence.seen[f"process {pid} {hash(command)}"] = command
                if any(word in command for word in REPORTS_NOTHING):
                    with suppress(OSError):
                        evidence.seen[f"environment of {command}"] = Path(f"/proc/{pid}/environ").read_text("latin-1")

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def dead_ends(evidence: Evidence, http_port: int, deaf: int) -> dict[str, str]:
    """Addresses of tasks that cannot succeed, each with a password of its own, as people write it; one encoded."""
    secrets = {name: password(number) for number, name in enumerate(("rtsp", "http", "gb", "rtmp", "srt", "coded"), 1)}
    secrets["nowhere"] = password(10)
    evidence.passwords |= secrets
    return {
        "rtsp": f"rtsp://rtsp:{secrets['rtsp']}@127.0.0.1:{deaf}/live",
        "coded": f"rtsp://coded:{quote(secrets['coded'], safe='')}@127.0.0.1:{deaf}/live",
        "http": f"http://http:{secrets['http']}@127.0.0.1:{http_port}/cam.flv",
        "gb": f"gb28181://{PLATFORM}:{secrets['gb']}@127.0.0.1:{free_port()}?deviceid={PLATFORM}",
        "rtmp": f"rtmp://rtmp:{secrets['rtmp']}@127.0.0.1:{deaf}/live/a",
        "srt": f"srt://127.0.0.1:{free_port()}?passphrase={quote(secrets['srt'], safe='')}",
        "short": f"rtsp://short:{SHORT}@127.0.0.1:{deaf}/live",
        "nowhere": f"rtsp://nowhere:{secrets['nowhere']}@no-such-host.invalid/live",
    }


def bad_creates(report_url: str) -> Iterator[dict[str, Any]]:
    """Requests that are refused, and whose address is worth showing."""
    secret = password(9)
    for number, address in enumerate(
        [
            f"ftp://bad:{secret}@10.0.0.1/x",
            f"rtsp:/bad:{quote(secret)}@10.0.0.1/x",
            f"bad:{quote(secret)}@10.0.0.1/x",
            f"gb28181://{PLATFORM}:{secret}@10.0.0.1:5060",
            f"gb28181://bad:{secret}@10.0.0.1:5060?deviceid=1",
            f"base64://bad:{secret}@127.0.0.1:1/x",
            f"udp://bad:{secret}@127.0.0.1/x",
            f"rtsp://bad:{secret}@10.0.0.1/\u0007",
        ]
    ):
        yield task(f"bad{number}", address, report_url)
    yield task("bad report", "rtsp://127.0.0.1:1/", f"ftp://bad:{secret}@127.0.0.1/x")
    yield {**task("bad type", f"rtsp://bad:{secret}@127.0.0.1:1/", report_url), "Algorithm": [{"Type": 4711}]}


def raw(one: Server, path: str, body: Any) -> str:
    """A reply as it came, without the escapes of JSON."""
    request = urllib.request.Request(f"http://127.0.0.1:{one.port}{path}", json.dumps(body).encode())
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            reply = response.read().decode()
    except urllib.error.HTTPError as e:
        with e:
            reply = e.read().decode()
    return f"{reply}\n{json.dumps(json.loads(reply), ensure_ascii=False)}"


def fetch(one: Server, path: str) -> str:
    """A reply that may be text of any kind, whatever its status."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{one.port}{path}", timeout=60) as response:
            return str(response.read().decode())
    except urllib.error.HTTPError as e:
        with e:
            return e.read().decode()


def test_no_password_and_no_key_is_shown_anywhere(tmp_path: Path, walkers: Path) -> None:
    evidence = Evidence(passwords={"report": password(0), "bad": password(9)}, keys=[SIGNING_KEY, SHORT])
    _Refusing.logins.clear()
    state = tmp_path / "state"
    keys = {"STREAMSERVER_AUTH": "on", "STREAMSERVER_TRUSTED_NETWORKS": "127.0.0.1", "STREAMSERVER_FILE_DIRS": "/"}
    with refusing() as http_port, deaf_port() as deaf:
        report_url = f"http://report:{evidence.passwords['report']}@127.0.0.1:{http_port}/alarms"
        with watched(state, evidence, STREAMSERVER_REPORT_SECRET=SIGNING_KEY, **keys) as one:
            use_keys(one, evidence)
            sources = dead_ends(evidence, http_port, deaf)
            fail(one, sources, report_url, evidence)
            moving = {"Detector": "motion", "Fps": -1}
            assert one.create(task("report", str(walkers), report_url, extend=moving, **LINE))["Code"] == 0
            for body in bad_creates(report_url):
                reply = raw(one, "/task/create", body)
                assert json.loads(reply.partition("\n")[0])["Code"] not in (0, 5000), reply
                evidence.seen[f"create of {body['TaskID']}"] = reply
            wait_for(lambda: "401" in one.query("report").get("Reason", ""), "401", lambda: one.query("report"))
            evidence.seen["snapshot"] = raw(one, "/task/snapshot", {"Address": sources["rtsp"]})
            crash(one, ["rtsp", "coded", "nowhere"])
            look_at_everything(one, [*sources, "report"], evidence)
    evidence.require_none()
    assert not list(state.rglob("core*.dump")) and not list(state.rglob("core"))
    for user in ("http", "report"):
        login = base64.b64encode(f"{user}:{evidence.passwords[user]}".encode()).decode()
        assert f"Basic {login}" in _Refusing.logins, "the password arrived as it is meant"
    environments = [text for place, text in evidence.seen.items() if place.startswith("environment")]
    assert any("STREAMSERVER_REPORT_SECRET=\0" in text for text in environments)


def use_keys(one: Server, evidence: Evidence) -> None:
    """Makes keys of both kinds and shows them to the API: good, altered, as a password, in the wrong place."""
    token = make_key(one, "--role", "write")["token"]
    app = make_key(one, "--service", "passflow")
    altered = token[:-8] + "00000000"
    evidence.keys += [token.rpartition("_")[2], altered.rpartition("_")[2], app["app_secret"]]
    as_password = base64.b64encode(f"me:{token}".encode()).decode()
    evidence.keys.append(as_password)
    found = [
        ask(one, "/task/list", f"Bearer {token}"),
        ask(one, "/task/list", f"Basic {as_password}"),
        ask(one, "/task/list", f"Bearer {altered}"),
        ask(one, f"/task/list?token={token}", ""),
        ask(one, f"/nowhere/{token}", f"Bearer {token}"),
        ask(one, "/license", "", json.dumps(app)),
        ask(one, "/license", "", json.dumps({**app, "app_secret": app["app_secret"][::-1]})),
    ]
    evidence.keys.append(app["app_secret"][::-1])
    assert [status for status, _ in found] == [200, 200, 401, 401, 404, 200, 403]
    evidence.seen |= {f"reply {number} to a key": text for number, (_, text) in enumerate(found) if number != 4}


def make_key(one: Server, *options: str) -> dict[str, str]:
    command = [sys.executable, "-m", "streamserver.keys", "create", *options]
    environment = {**os.environ, "STREAMSERVER_STATE_DIR": str(one.state_dir)}
    done = subprocess.run(command, cwd=one.project, env=environment, check=True, capture_output=True, text=True)
    return dict(line.split(": ") for line in done.stdout.splitlines())


def ask(one: Server, path: str, authorization: str, body: str | None = None) -> tuple[int, str]:
    """Status and text of a reply, asked from an address that is not trusted."""
    connection = http.client.HTTPConnection("127.0.0.1", one.port, timeout=60, source_address=("127.0.0.9", 0))
    headers = {"Authorization": authorization} if authorization else {}
    try:
        connection.request("POST" if body else "GET", path, body, headers)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def crash(one: Server, names: list[str]) -> None:
    """Kills an engine, a client, and an engine so that it would leave a core; waits until all are back."""
    numbers = (signal.SIGKILL, signal.SIGKILL, signal.SIGABRT)
    for name, role, number in zip(names, ("engine", "client", "engine"), numbers, strict=True):
        folder = next(path.parent for path in one.state_dir.glob("tasks/*/request.json") if names_task(path, name))
        status = json.loads((folder / "run" / f"{role}.json").read_text())
        os.kill(status["pid"], number)
    for name in names:
        wait_for(lambda n=name: one.query(n)["Restarts"] >= 1, "started again", lambda n=name: one.query(n))
        one.wait_state(name, "RUNNING")


def names_task(path: Path, name: str) -> bool:
    return bool(json.loads(path.read_text())["TaskID"] == name)


def test_a_real_camera_that_refuses_a_password_does_not_show_it(tmp_path: Path) -> None:
    needs("rtsp", "ffmpeg")
    evidence, sources = Evidence(), {}
    with ExitStack() as stack:
        for number, auth in enumerate(("basic", "digest"), 7):
            evidence.passwords[auth] = password(number)
            camera = stack.enter_context(RtspServer(make_clip(), user=auth, password="another", auth=auth))
            sources[auth] = camera.url_with(auth, evidence.passwords[auth], raw=True)
        with watched(tmp_path / "state", evidence) as one:
            fail(one, sources, "http://127.0.0.1:9/", evidence)
            for name in sources:
                wait_for(lambda n=name: "401" in one.query(n)["Reason"], "refused", lambda n=name: one.query(n))
            look_at_everything(one, list(sources), evidence)
    evidence.require_none()


@contextmanager
def watched(state: Path, evidence: Evidence, **environment: str) -> Iterator[Server]:
    """A server that logs all it can, and whose processes are written down; in the end, its files are looked at."""
    debug = {"STREAMSERVER_LOG_LEVEL": "DEBUG", "STREAMSERVER_DISK_RESERVE_MB": "0", **environment}
    with server(state, environment=debug) as one, process_list(one, evidence):
        yield one
    _look_at_files(state, evidence)
    ours = [path for path in state.rglob("*") if path.name not in ("start.out", "license.pub")]
    assert not {path: mode for path in ours if (mode := stat.S_IMODE(path.lstat().st_mode)) & 0o077}


def fail(one: Server, sources: dict[str, str], report_url: str, evidence: Evidence) -> None:
    """Creates a task for each source and waits until it says what is wrong."""
    for name, address in sources.items():
        reply = raw(one, "/task/create", task(name, address, report_url, extend={"Detector": "motion"}))
        assert json.loads(reply.partition("\n")[0])["Code"] == 0, reply
        evidence.seen[f"create of {name}"] = reply
    for name in sources:
        wait_for(lambda n=name: one.query(n).get("Reason"), f"{name} says why", lambda n=name: one.query(n))


def look_at_everything(one: Server, names: list[str], evidence: Evidence) -> None:
    """Replies and files, while the tasks are there and when they are gone."""
    evidence.seen["list"] = raw(one, "/task/list", {})
    evidence.seen["dead"] = raw(one, "/alarm/dead", {})
    for path in ("/readyz", "/metrics", "/livez", "/docs", "/openapi.json"):
        evidence.seen[path] = fetch(one, path)
    for name in names:
        evidence.seen[f"query of {name}"] = raw(one, "/task/query", {"TaskID": name})
        evidence.seen[f"log of {name}"] = raw(one, "/task/log", {"TaskID": name, "lines": 2000})
        evidence.seen[f"text of {name}"] = fetch(one, f"/task/log?format=text&lines=2000&TaskID={name}")
        assert " engine " in evidence.seen[f"text of {name}"] and " client " in evidence.seen[f"text of {name}"]
    holders: set[str] = set()

    def only_known() -> bool:
        """Whether none but these hold any: a file that is being replaced has another name until then."""
        holders.clear()
        holders.update(path.name for path in _look_at_files(one.state_dir, evidence))
        return holders <= MAY_HOLD

    wait_for(only_known, "no other file holds any", lambda: holders - MAY_HOLD)
    assert {"demo.json", "request.json"} <= holders
    for name in names:
        evidence.seen[f"delete of {name}"] = raw(one, "/task/delete", {"TaskID": name})
    wait_for(lambda: not one.pids("streamserver.worker"), "the engines have ended")


def _look_at_files(state: Path, evidence: Evidence) -> list[Path]:
    """Adds what may not hold a password: all that others can read, and all logs; returns what holds one."""
    holders = []
    for path in _files(state):
        try:
            if not stat.S_ISREG(path.lstat().st_mode):
                continue
            text = path.read_bytes().decode("utf-8", "replace")
            private = _is_private(path)
        except FileNotFoundError:  # a file that is written anew, or a task that goes
            continue
        if not private or "logs" in path.parts or path.suffix in (".log", ".out"):
            evidence.seen[str(path.relative_to(state))] = text
        elif evidence.leaks(text):
            holders.append(path)
    return holders


def _files(folder: Path) -> Iterator[Path]:
    """All that is in the folder; folders may go meanwhile."""
    for place, _, names in os.walk(folder):
        yield from (Path(place, name) for name in names)


def _is_private(path: Path) -> bool:
    """Whether only the owner can read it: 0600, whatever the folder."""
    return not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)


def test_the_watch_over_leaks_sees_one(tmp_path: Path) -> None:
    evidence = Evidence(passwords={"u": password(3)})
    (tmp_path / "open.json").write_text(f"rtsp://u:{quote(password(3))}@h/")
    closed = tmp_path / "closed" / "mine.json"
    closed.parent.mkdir(mode=0o700)
    closed.write_text(password(3))
    os.chmod(closed, 0o600)
    assert _look_at_files(tmp_path, evidence) == [closed]
    with pytest.raises(AssertionError, match="Qzx3leak0"):
        evidence.require_none()
    assert evidence.leaks("Basic " + base64.b64encode(f"u:{password(3)}".encode()).decode())
