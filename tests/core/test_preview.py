from __future__ import annotations

import io
import socket
from pathlib import Path

import pytest

from streamserver.core.preview import (
    SOCKET,
    PreviewRefused,
    Wish,
    error_message,
    jpeg_message,
    read_answer,
    read_line,
    socket_address,
)


@pytest.mark.parametrize(
    ("wish", "line"),
    [
        (Wish(index=2, fps=12.5, width=640), b"preview 2 12.5 640\n"),
        (Wish(index=0, drawn=True, once=True), b"snapshot 0 drawn\n"),
        (Wish(index=1, drawn=False, once=True), b"snapshot 1 plain\n"),
    ],
)
def test_a_wish_goes_over_the_line_and_back(wish: Wish, line: bytes) -> None:
    assert wish.to_line() == line
    assert Wish.from_line(line) == wish


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"hello\n",
        b"preview 0 10\n",
        b"preview 0 x 640\n",
        b"preview -1 10 640\n",
        b"preview 0 0 640\n",
        b"preview 0 nan 640\n",
        b"preview 0 10 1000000\n",
        b"snapshot 0 maybe\n",
        b"\xff\xff 0 drawn\n",
        b"snapshot 0 drawn and more\n",
    ],
)
def test_anything_else_is_refused_in_words(line: bytes) -> None:
    with pytest.raises(PreviewRefused, match=r"expected|from"):
        Wish.from_line(line)


def test_pictures_and_reasons_come_one_after_another() -> None:
    reason = "reconnecting: the server\nwent away"
    stream = io.BytesIO(
        jpeg_message(b"first\n") + jpeg_message(b"") + error_message(reason) + jpeg_message(b"cut")[:-1]
    )
    assert [read_answer(stream), read_answer(stream)] == [b"first\n", b""]
    with pytest.raises(PreviewRefused, match=r"^reconnecting: the server went away$"):
        read_answer(stream)
    for _ in range(2):
        with pytest.raises(EOFError):
            read_answer(stream)


@pytest.mark.parametrize("answer", [b"what\n", b"jpeg -1\n", b"jpeg 99999999999\n", b"jpeg x\n"])
def test_what_is_no_answer_is_said_to_be_none(answer: bytes) -> None:
    with pytest.raises(PreviewRefused, match="no answer"):
        read_answer(io.BytesIO(answer))


def test_a_line_has_a_limit_and_a_reason_keeps_to_it() -> None:
    assert len(read_line(io.BytesIO(b"x" * 10_000))) == 2000
    message = error_message("ä" * 5000)
    assert read_line(io.BytesIO(message)) == message


def test_a_socket_can_be_reached_in_a_folder_whose_path_is_too_long_for_it(tmp_path: Path) -> None:
    folder = tmp_path / ("a" * 100) / ("b" * 100)
    (folder / SOCKET).parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        with socket_address(folder) as address:
            listener.bind(address)
            listener.listen()
        with socket_address(folder) as address:
            client.connect(address)
        assert (folder / SOCKET).is_socket()
