"""/task/preview and /task/snapshot, with the engine's real socket at the other end."""

from __future__ import annotations

import io
import os
import select
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from streamserver.core.errors import PreviewError, SourceError
from streamserver.core.settings import Settings
from streamserver.core.states import TaskState
from streamserver.store import TaskRecord, TaskStore
from streamserver.vision.codec import decode_jpeg
from streamserver.web import address_picture, create_app
from streamserver.web import preview as preview_module
from streamserver.web.address_picture import take_picture
from streamserver.worker.overlay import Overlay
from streamserver.worker.preview import PreviewServer, listen
from streamserver.worker.studio import Studio
from tests.media.clips import write_clip
from tests.web.conftest import TYPES, body
from tests.worker.pictures import PATIENCE_S, STREAMING, ZONE, feeding, wait_for

SECRET = "pa55word-of-a-camera"


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long one waits for another is not the subject here; a busy machine lets both wait."""
    for name in (
        "web.engine_link._CONNECT_TIMEOUT_S",
        "web.engine_link.SILENCE_S",
        "worker.preview._ASK_TIMEOUT_S",
        "worker.preview._TAKE_TIMEOUT_S",
        "worker.studio.SNAPSHOT_PATIENCE_S",
    ):
        monkeypatch.setattr(f"streamserver.{name}", PATIENCE_S)
    monkeypatch.setattr(preview_module, "take_picture", partial(take_picture, limit_s=PATIENCE_S))


def task(store: TaskStore, state: TaskState = TaskState.RUNNING, reason: str = "") -> TaskRecord:
    """A task of two algorithms in ``state``."""
    algorithms = [{"Type": 1}, {"Type": 6}]
    record, _ = store.create("t", "cam", body(Algorithm=algorithms), "hash")
    store.set_state(record.key, state, reason=reason)
    return record


@contextmanager
def engine(settings: Settings, record: TaskRecord, *, fed: bool = True) -> Iterator[PreviewServer]:
    """The preview of the task's engine, with frames that come by."""
    folder = settings.state_path / "tasks" / record.key
    (folder / "run").mkdir(parents=True)
    studio = Studio([Overlay(channel_id=0, places=[ZONE]), Overlay(channel_id=1)], lambda: STREAMING)
    server = PreviewServer(folder, studio)
    server.open()
    try:
        with feeding(studio, every_s=0.02 if fed else 60):
            yield server
    finally:
        server.close()


class Parts:
    """The pictures of a preview, taken apart as a browser does."""

    def __init__(self, response: TestResponse) -> None:
        self._chunks = iter(response.response)
        self._held = b""

    def next(self) -> bytes:
        """The next picture, with its boundary behind it."""
        self._read_until(b"\r\n\r\n")
        head, _, self._held = self._held.partition(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if line and not line.startswith(b"--")]
        headers = dict(line.split(b": ") for line in lines)
        assert headers[b"Content-Type"] == b"image/jpeg"
        length = int(headers[b"Content-Length"])
        end = b"\r\n--picture\r\n"
        while len(self._held) < length + len(end):
            self._held += next(self._chunks)
        jpeg, self._held = self._held[:length], self._held[length:]
        assert self._held.startswith(end)
        return jpeg

    def _read_until(self, mark: bytes) -> None:
        while mark not in self._held:
            chunk = next(self._chunks)
            assert isinstance(chunk, bytes)
            self._held += chunk


def reply_of(response: TestResponse, status: int) -> tuple[int, str]:
    """``Code`` and ``Msg`` of an error with this HTTP status."""
    assert (response.status_code, response.mimetype) == (status, "application/json"), response.data[:200]
    content = response.get_json()
    assert SECRET not in str(content)
    return content["Code"], content["Msg"]


def test_a_preview_is_a_row_of_pictures_that_nobody_keeps(
    client: FlaskClient, store: TaskStore, settings: Settings
) -> None:
    with engine(settings, task(store)) as server:
        response = client.get("/task/preview?TaskID=t&Fps=25&Width=160", buffered=False)
        assert response.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=picture"
        assert response.headers["Cache-Control"] == "no-store"
        parts = Parts(response)
        pictures: list[bytes] = []

        def are_four() -> bool:
            pictures.append(parts.next())  # where no frame has come for a second it is grey, or the same again
            return len(set(pictures)) == 4

        wait_for(are_four, "four pictures, each another")
        assert decode_jpeg(pictures[-1]).shape == (120, 160, 3)
        assert server.viewers() == 1
        response.close()
        wait_for(lambda: server.viewers() == 0, "the viewer to leave")


def test_a_preview_ends_with_its_engine(client: FlaskClient, store: TaskStore, settings: Settings) -> None:
    with engine(settings, task(store)) as server:
        response = client.get("/task/preview?TaskID=t", buffered=False)
        Parts(response).next()
        server.close()
        for _ in response.response:
            pass
        response.close()


def test_a_snapshot_is_a_plain_picture_in_full_size_unless_it_is_to_be_drawn(
    client: FlaskClient, store: TaskStore, settings: Settings
) -> None:
    with engine(settings, task(store)):
        plain, drawn = (client.get(f"/task/snapshot?TaskID=t&Drawn={drawn}") for drawn in (0, 1))
    assert (plain.status_code, plain.mimetype, plain.headers["Cache-Control"]) == (200, "image/jpeg", "no-store")
    assert decode_jpeg(plain.data).shape == decode_jpeg(drawn.data).shape == (240, 320, 3)
    assert decode_jpeg(plain.data).std() < 2 < decode_jpeg(drawn.data).std()


@pytest.mark.parametrize("path", ["/task/preview", "/task/snapshot"])
def test_asking_for_the_head_alone_watches_nothing(
    path: str, client: FlaskClient, store: TaskStore, settings: Settings
) -> None:
    with engine(settings, task(store)) as server:
        response = client.head(f"{path}?TaskID=t")
        assert (response.status_code, response.data) == (200, b"")
        assert server.viewers() == 0


def test_a_range_is_answered_with_everything(client: FlaskClient, store: TaskStore, settings: Settings) -> None:
    with engine(settings, task(store)):
        response = client.get("/task/snapshot?TaskID=t", headers={"Range": "bytes=0-9"})
    assert response.status_code == 200
    assert len(response.data) > 10


@pytest.mark.parametrize(
    ("query", "status", "code", "says"),
    [
        ("", 400, 4000, "TaskID: is missing; ask /task/"),
        ("?TaskID=", 400, 4000, "$.TaskID: expected text"),
        ("?TaskID=other", 404, -1, "no task has the TaskID 'other'; see /task/list"),
        ("?TaskID=t&Algorithm=2", 400, 4000, 'Algorithm: expected a whole number from 0 to 1, got "2"'),
        ("?TaskID=t&Algorithm=x", 400, 4000, "Algorithm: expected a whole number"),
    ],
)
def test_what_is_wrong_is_said_with_a_status_of_its_own(
    client: FlaskClient, store: TaskStore, query: str, status: int, code: int, says: str
) -> None:
    task(store)
    for path in ("/task/preview", "/task/snapshot"):
        given, message = reply_of(client.get(path + query), status)
        assert given == code
        assert says in message


@pytest.mark.parametrize("query", ["Fps=0.5", "Fps=26", "Fps=nan", "Fps=fast", "Width=10", "Width=4000", "Width=96.5"])
def test_a_rate_or_a_width_out_of_range_is_refused(client: FlaskClient, store: TaskStore, query: str) -> None:
    task(store)
    code, message = reply_of(client.get(f"/task/preview?TaskID=t&{query}"), 400)
    assert code == 4000
    assert message.startswith(query.partition("=")[0])


def test_drawn_is_yes_or_no(client: FlaskClient, store: TaskStore) -> None:
    task(store)
    assert reply_of(client.get("/task/snapshot?TaskID=t&Drawn=yes"), 400) == (
        4000,
        'Drawn: expected 0 or 1, got "yes"',
    )


@pytest.mark.parametrize("state", [TaskState.STARTING, TaskState.BACKOFF, TaskState.FAILED])
def test_a_task_that_does_not_run_says_so(client: FlaskClient, store: TaskStore, state: TaskState) -> None:
    task(store, state, reason=f"no camera at rtsp://me:{SECRET}@host/")
    code, message = reply_of(client.get("/task/preview?TaskID=t"), 409)
    assert code == 1
    assert f"task 't' is {state} since" in message
    assert "no camera at rtsp://***@host/; ask again when /task/query says RUNNING" in message


def test_an_engine_that_ends_before_its_answer_is_said_to_have_ended(
    client: FlaskClient, store: TaskStore, settings: Settings
) -> None:
    record = task(store)
    folder = settings.state_path / "tasks" / record.key
    (folder / "run").mkdir(parents=True)

    def hang_up() -> None:
        connection, _ = listener.accept()
        with connection:  # closed with a question that nobody has read: the other side sees a reset
            select.select([connection], [], [])

    with listen(folder) as listener:
        listener.settimeout(PATIENCE_S)
        thread = threading.Thread(target=hang_up)
        thread.start()
        code, message = reply_of(client.get("/task/snapshot?TaskID=t"), 503)
        thread.join()
    assert (code, message) == (5015, "the task's engine ended; try again when /task/query says RUNNING")


def test_an_engine_that_is_not_there_is_said_to_give_nothing(client: FlaskClient, store: TaskStore) -> None:
    task(store)
    code, message = reply_of(client.get("/task/snapshot?TaskID=t"), 503)
    assert (code, "the task's engine gives no pictures: No such file" in message) == (5015, True)


def test_a_sophon_stream_program_shows_nothing(settings: Settings, store: TaskStore, tmp_path: Path) -> None:
    binary = tmp_path / "tree" / "samples" / "build" / "main"
    binary.parent.mkdir(parents=True)
    binary.write_text("#!/bin/sh\n")
    binary.chmod(0o755)
    foreign = replace(settings, stream_path=str(tmp_path / "tree"))
    app = create_app(foreign, store=store, check=lambda request, settings: None, known_types=lambda: TYPES)
    task(store)
    code, message = reply_of(app.test_client().get("/task/preview?TaskID=t"), 503)
    assert code == 5015
    assert "leave the setting stream_path empty" in message


def test_there_are_only_so_many_places_and_they_are_given_back(
    app: Flask, store: TaskStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview_module, "_viewers", threading.BoundedSemaphore(1))
    client = app.test_client()
    record = task(store)
    for _ in range(2):
        reply_of(client.get("/task/preview?TaskID=t"), 503)  # no engine: the place is free again
    with engine(settings, record):
        watching = client.get("/task/preview?TaskID=t", buffered=False)
        code, message = reply_of(client.get("/task/preview?TaskID=t"), 503)
        assert (code, message) == (5015, "16 previews are being watched already; close one, or try again later")
        watching.close()
        watching.close()
        again = client.get("/task/preview?TaskID=t", buffered=False)
        assert again.status_code == 200
        again.close()


def test_a_snapshot_of_an_address_needs_no_task(client: FlaskClient, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", frames=5)
    for content in ({"Address": str(clip)}, body(InputSrc={"StreamSrc": {"Address": f"file://{clip}"}})):
        response = client.post("/task/snapshot", json=content)
        assert (response.status_code, response.mimetype) == (200, "image/jpeg"), response.data
        assert decode_jpeg(response.data).shape == (48, 64, 3)


def test_an_address_that_gives_no_picture_says_why_and_keeps_its_secrets(client: FlaskClient) -> None:
    code, message = reply_of(client.post("/task/snapshot", json={"Address": f"http://me:{SECRET}@127.0.0.1:1/"}), 502)
    assert code == 5005
    assert message.startswith("no picture of this address: ")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({}, '$.Address: is missing; add "Address"'),
        ({"Address": None}, "$.Address: expected text"),
        ({"InputSrc": {"SrcID": "x"}}, "$.InputSrc.StreamSrc: is missing"),
        ({"Address": "camera"}, "$.Address: not an absolute path"),
        ({"Address": "/no/such.mp4"}, "$.Address: no readable file or folder"),
        ({"InputSrc": {"StreamSrc": {"Address": "/no.mp4"}}}, "$.InputSrc.StreamSrc.Address: no readable file"),
        ({"Address": "base64://127.0.0.1:18080/x"}, "pictures are posted to"),
        ({"Address": f"ftp://me:{SECRET}@host/"}, "$.Address: unknown kind of address"),
    ],
)
def test_an_address_is_checked_as_for_a_task(client: FlaskClient, content: dict[str, Any], says: str) -> None:
    code, message = reply_of(client.post("/task/snapshot", json=content), 400)
    assert code == 4000
    assert says in message


def test_a_page_of_another_site_and_a_large_body_get_no_snapshot(client: FlaskClient) -> None:
    headers = {"Sec-Fetch-Site": "cross-site"}
    refused = client.post("/task/snapshot", json={"Address": "/x.mp4"}, headers=headers)
    assert reply_of(refused, 403)[0] == 4030
    large = client.post("/task/snapshot", input_stream=io.BytesIO(b" " * 1_000_001), content_length=1_000_001)
    assert reply_of(large, 413)[0] == 4001


SOURCE = {"address": f"rtsp://me:{SECRET}@host/", "source_type": "RTSP", "transport": "", "decoder": "av"}


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


READ = "import json, os, sys; word = json.loads(sys.stdin.readline())['address'].split(':')[2].split('@')[0]\n"
"""Where a program finds the password without having it in its own text."""


def test_the_address_goes_to_standard_input_and_stands_in_no_command_line(settings: Settings) -> None:
    program = READ + "sys.stdout.write(f'{word} {word in open(\"/proc/self/cmdline\").read()} {os.nice(0) >= 10}')"
    assert take_picture(SOURCE, settings, command=python(program)) == f"{SECRET} False True".encode()


def test_the_reason_is_the_last_line_without_secrets(settings: Settings) -> None:
    program = READ + "sys.exit(f'noise\\nthe camera takes {word} for wrong')"
    with pytest.raises(SourceError, match=r"^no picture of this address: the camera takes \*\*\* for wrong$"):
        take_picture(SOURCE, settings, command=python(program))


def test_a_process_that_says_nothing_is_reported_all_the_same(settings: Settings) -> None:
    with pytest.raises(SourceError, match="the process that reads it ended"):
        take_picture(SOURCE, settings, command=python("import os; os.abort()"))


def test_a_process_that_hangs_is_killed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    monkeypatch.setattr(address_picture, "_make_nice", started.append)
    with pytest.raises(SourceError, match=r"came within 1\.5 s"):
        take_picture(SOURCE, settings, command=python("import time; time.sleep(600)"), limit_s=1.5)
    (pid,) = started
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_server_that_ends_waits_for_no_camera(settings: Settings) -> None:
    with pytest.raises(PreviewError, match="the server ends"):
        take_picture(SOURCE, settings, command=python("import time; time.sleep(600)"), waits=lambda: False)


def test_two_addresses_at_a_time_are_enough(settings: Settings, tmp_path: Path) -> None:
    program = f"import os, time, pathlib; there = pathlib.Path({str(tmp_path)!r})\n(there / str(os.getpid())).touch()\n"
    program += "while not (there / 'go').exists(): time.sleep(0.01)\nprint('JPEG')"
    threads = [
        threading.Thread(
            target=take_picture, args=[SOURCE, settings], kwargs={"command": python(program), "limit_s": 2 * PATIENCE_S}
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: len(list(tmp_path.glob("[0-9]*"))) == 2, "both to run")
        with pytest.raises(PreviewError, match="2 snapshots of addresses are being taken already"):
            take_picture(SOURCE, settings, command=python("print()"))
    finally:
        (tmp_path / "go").touch()
        for thread in threads:
            thread.join()
    assert take_picture(SOURCE, settings, command=python("print('JPEG')")) == b"JPEG\n"
