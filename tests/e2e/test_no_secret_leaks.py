"""No password of an address reaches a log, a reply, a process list, or a file that others can read."""

from __future__ import annotations

import base64
import json
import os
import stat
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.e2e.harness import Server, free_port, server, task, wait_for
from tests.servers.clips import make_clip
from tests.servers.packages import needs
from tests.servers.rtsp import RtspServer

pytestmark = pytest.mark.e2e

PLATFORM = "34020000002000000001"
MAY_HOLD = {"client.json", "demo.json", "request.json", "tasks.journal", "tasks.sqlite", "tasks.sqlite-wal"}
MAY_HOLD |= {"tasks.sqlite.backup", "tasks.journal", "tasks.journal.1"}
"""Files, readable by their owner only, from which processes learn where to connect."""

LINE = {"line": (580, 0, 580, 431), "direction": (100, 0)}


def password(number: int) -> str:
    """Words that are nowhere else, joined by every character that an address gives a meaning to."""
    marks = ["@", "/", "?", "#", ":", "%", " ", "&", '"', "'", "ü", "="]
    return "".join(f"Qzx{number}leak{index}{mark}" for index, mark in enumerate(marks)) + f"Qzx{number}leakend"


@dataclass
class Evidence:
    """Everything that could show a password, with the place where it was seen."""

    passwords: dict[str, str] = field(default_factory=dict)
    seen: dict[str, str] = field(default_factory=dict)

    def fragments(self) -> list[str]:
        """Every word of every password: a mask that leaves one of them is a leak too; and Base64 of the whole."""
        found = []
        for user, secret in self.passwords.items():
            words = "".join(letter if letter.isalnum() and letter.isascii() else " " for letter in secret).split()
            found += [*words, *(_base64(text) for text in (secret, f"{user}:{secret}"))]
        return found

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
    """Writes down the command lines of all processes of the server, again and again."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            for pid, command in one.processes().items():
                evidence.seen[f"process {pid} {hash(command)}"] = command

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def dead_ends(evidence: Evidence, http_port: int) -> dict[str, str]:
    """Addresses of tasks that cannot succeed, each with a password of its own, as people write it; one encoded."""
    secrets = {name: password(number) for number, name in enumerate(("rtsp", "http", "gb", "rtmp", "srt", "coded"), 1)}
    evidence.passwords |= secrets
    return {
        "rtsp": f"rtsp://rtsp:{secrets['rtsp']}@127.0.0.1:{free_port()}/live",
        "coded": f"rtsp://coded:{quote(secrets['coded'], safe='')}@127.0.0.1:{free_port()}/live",
        "http": f"http://http:{secrets['http']}@127.0.0.1:{http_port}/cam.flv",
        "gb": f"gb28181://{PLATFORM}:{secrets['gb']}@127.0.0.1:{free_port()}?deviceid={PLATFORM}",
        "rtmp": f"rtmp://rtmp:{secrets['rtmp']}@127.0.0.1:{free_port()}/live/a",
        "srt": f"srt://127.0.0.1:{free_port()}?passphrase={quote(secrets['srt'], safe='')}",
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


def test_no_password_of_any_address_is_shown_anywhere(tmp_path: Path, walkers: Path) -> None:
    evidence = Evidence(passwords={"report": password(0), "bad": password(9)})
    _Refusing.logins.clear()
    state = tmp_path / "state"
    with refusing() as http_port:
        report_url = f"http://report:{evidence.passwords['report']}@127.0.0.1:{http_port}/alarms"
        with watched(state, evidence) as one:
            sources = dead_ends(evidence, http_port)
            fail(one, sources, report_url, evidence)
            moving = {"Detector": "motion", "Fps": -1}
            assert one.create(task("report", str(walkers), report_url, extend=moving, **LINE))["Code"] == 0
            for body in bad_creates(report_url):
                reply = raw(one, "/task/create", body)
                assert json.loads(reply.partition("\n")[0])["Code"] not in (0, 5000), reply
                evidence.seen[f"create of {body['TaskID']}"] = reply
            wait_for(lambda: "401" in one.query("report").get("Reason", ""), "401", lambda: one.query("report"))
            evidence.seen["snapshot"] = raw(one, "/task/snapshot", {"Address": sources["rtsp"]})
            look_at_everything(one, [*sources, "report"], evidence)
    evidence.require_none()
    for user in ("http", "report"):
        login = base64.b64encode(f"{user}:{evidence.passwords[user]}".encode()).decode()
        assert f"Basic {login}" in _Refusing.logins, "the password arrived as it is meant"


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
def watched(state: Path, evidence: Evidence) -> Iterator[Server]:
    """A server that logs all it can, and whose processes are written down; in the end, its files are looked at."""
    with server(state, environment={"STREAMSERVER_LOG_LEVEL": "DEBUG"}) as one, process_list(one, evidence):
        yield one
    _look_at_files(state, evidence)


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
    for name in names:
        evidence.seen[f"query of {name}"] = raw(one, "/task/query", {"TaskID": name})
    holders = _look_at_files(one.state_dir, evidence)
    assert {"demo.json", "request.json"} <= {path.name for path in holders} <= MAY_HOLD
    for name in names:
        evidence.seen[f"delete of {name}"] = raw(one, "/task/delete", {"TaskID": name})
    wait_for(lambda: not one.pids("streamserver.worker"), "the engines have ended")


def _look_at_files(state: Path, evidence: Evidence) -> list[Path]:
    """Adds what may not hold a password: all that others can read, and all logs; returns what holds one."""
    holders = []
    for path in state.rglob("*"):
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
