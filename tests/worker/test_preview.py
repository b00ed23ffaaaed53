"""The preview socket, with real connections."""

from __future__ import annotations

import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from streamserver.core.preview import SOCKET, PreviewRefused, Wish, read_answer, socket_address
from streamserver.vision.codec import decode_jpeg
from streamserver.worker import preview as preview_module
from streamserver.worker import studio as studio_module
from streamserver.worker.overlay import Overlay
from streamserver.worker.preview import MAX_VIEWERS, PreviewServer, listen
from streamserver.worker.studio import Studio
from tests.worker.pictures import (
    PATIENCE_S,
    STREAMING,
    ZONE,
    Counting,
    feeding,
    frame,
    open_descriptors,
    studio,
    wait_for,
)

PREVIEW = Wish(index=0, fps=25, width=160)


@pytest.fixture(autouse=True)
def time_to_talk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is taken for silent only because the machine is busy."""
    for name in ("_ASK_TIMEOUT_S", "_TAKE_TIMEOUT_S"):
        monkeypatch.setattr(preview_module, name, PATIENCE_S)


@pytest.fixture
def only_new_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are made when frames come, and at no other time."""
    monkeypatch.setattr(studio_module, "REPEAT_S", 10 * PATIENCE_S)


@contextmanager
def serving(folder: Path, one: Studio) -> Iterator[PreviewServer]:
    (folder / "run").mkdir(parents=True, exist_ok=True)
    server = PreviewServer(folder, one)
    server.open()
    try:
        yield server
    finally:
        server.close()
        server.close()
        assert not (folder / SOCKET).exists()


@pytest.fixture
def one() -> Iterator[Studio]:
    """A studio that the server starts and closes."""
    with studio_to_start() as made:
        yield made


@contextmanager
def studio_to_start(counting: Counting | None = None) -> Iterator[Studio]:
    made = Studio([Overlay(channel_id=0, places=[ZONE])], lambda: STREAMING, encode=counting or Counting())
    before = set(threading.enumerate())
    yield made
    wait_for(lambda: set(threading.enumerate()) <= before, f"threads to end: {threading.enumerate()}")


@contextmanager
def asking(folder: Path, line: bytes) -> Iterator[BinaryIO]:
    with socket.socket(socket.AF_UNIX) as connection, socket_address(folder) as address:
        connection.settimeout(PATIENCE_S)
        connection.connect(address)
        connection.sendall(line)
        with connection.makefile("rb") as stream:
            yield stream


def watching_in(one: Studio) -> int:
    """Viewers for whom the next frame is drawn."""
    return sum(show.viewers for show in list(one._shows.values()))


@pytest.mark.usefixtures("only_new_frames")
def test_a_viewer_gets_pictures_that_change_until_it_leaves(tmp_path: Path, one: Studio) -> None:
    with serving(tmp_path, one) as server, feeding(one):
        with asking(tmp_path, PREVIEW.to_line()) as stream:
            pictures = {read_answer(stream)}
            while len(pictures) < 5:
                pictures.add(read_answer(stream))
            assert server.viewers() == 1
        assert all(decode_jpeg(picture).shape == (120, 160, 3) for picture in pictures)
        wait_for(lambda: server.viewers() == 0, "the viewer's place")


def test_a_viewer_who_leaves_while_no_frame_comes_is_noticed_and_leaves_nothing_open(
    tmp_path: Path, one: Studio
) -> None:
    with serving(tmp_path, one) as server:
        open_before, threads_before = open_descriptors(), set(threading.enumerate())
        with asking(tmp_path, PREVIEW.to_line()) as stream:
            one.tap(frame(1))
            read_answer(stream)
        wait_for(lambda: server.viewers() == 0, "the viewer's place")
        wait_for(lambda: set(threading.enumerate()) <= threads_before, "the viewer's thread")
        assert open_descriptors().items() <= open_before.items()


def test_a_snapshot_is_one_picture(tmp_path: Path, one: Studio) -> None:
    with (
        serving(tmp_path, one),
        feeding(one),
        asking(tmp_path, Wish(index=0, once=True, drawn=False).to_line()) as stream,
    ):
        assert decode_jpeg(read_answer(stream)).shape == (240, 320, 3)
        assert stream.read() == b""


@pytest.mark.parametrize(
    ("line", "reason"),
    [(b"GET / HTTP/1.1\r\n", "expected 'preview"), (PREVIEW.to_line().replace(b"0", b"7", 1), "no algorithm 7")],
)
def test_a_question_that_cannot_be_answered_gets_a_reason(
    tmp_path: Path, one: Studio, line: bytes, reason: str
) -> None:
    with serving(tmp_path, one), asking(tmp_path, line) as stream, pytest.raises(PreviewRefused, match=reason):
        read_answer(stream)


@pytest.mark.usefixtures("only_new_frames")
def test_more_viewers_than_there_are_places_are_told_so_and_places_are_free_again(tmp_path: Path) -> None:
    counting = Counting()
    with studio_to_start(counting) as one, serving(tmp_path, one) as server:
        with ExitStack() as stack:
            streams = [stack.enter_context(asking(tmp_path, PREVIEW.to_line())) for _ in range(MAX_VIEWERS)]
            wait_for(lambda: watching_in(one) == MAX_VIEWERS, "all to be there")
            one.tap(frame(1))
            assert len({read_answer(stream) for stream in streams}) == 1
            assert counting.count == 1, "one picture for all of them"
            with (
                asking(tmp_path, PREVIEW.to_line()) as stream,
                pytest.raises(PreviewRefused, match="8 watch this task already; close one, or try again later"),
            ):
                read_answer(stream)
        with feeding(one):
            wait_for(lambda: server.viewers() == 0, "them to leave")
            with asking(tmp_path, PREVIEW.to_line()) as stream:
                assert read_answer(stream)


def test_a_viewer_who_takes_nothing_loses_its_place(
    tmp_path: Path, one: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview_module, "_TAKE_TIMEOUT_S", 0.2)
    with (
        serving(tmp_path, one) as server,
        feeding(one, every_s=0.005),
        asking(tmp_path, Wish(index=0, fps=25, width=960).to_line()) as stream,
    ):
        read_answer(stream)
        wait_for(lambda: server.viewers() == 0, "it to be sent away")
        with pytest.raises(EOFError):
            while True:
                read_answer(stream)


def test_somebody_who_asks_nothing_is_hung_up_on(tmp_path: Path, one: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview_module, "_ASK_TIMEOUT_S", 0.1)
    with serving(tmp_path, one), asking(tmp_path, b"") as stream:
        assert stream.read() == b""


def test_viewers_see_the_end_when_the_engine_ends(tmp_path: Path, one: Studio) -> None:
    with serving(tmp_path, one) as server, feeding(one), asking(tmp_path, PREVIEW.to_line()) as stream:
        read_answer(stream)
        server.close()
        with pytest.raises(EOFError):
            while True:
                read_answer(stream)


def test_the_socket_is_its_owners_and_replaces_what_a_crash_left(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 40)
    (folder / "run").mkdir(parents=True)
    for _ in range(2):
        with listen(folder):
            assert stat.S_IMODE((folder / SOCKET).stat().st_mode) == 0o600
    assert (folder / SOCKET).is_socket()


def test_without_a_folder_for_the_socket_the_task_runs_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with studio() as one:
        server = PreviewServer(tmp_path / "absent", one)
        server.open()
        server.close()
    assert "no preview of this task" in caplog.text
