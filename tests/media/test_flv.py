from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamserver.core.errors import SourceError
from streamserver.media.av_reader import VideoReader
from streamserver.media.flv import FlvPictures
from tests.media.clips import write_clip

HEADER_BYTES = 13


def tag(kind: int, payload: bytes) -> bytes:
    head = bytes([kind]) + len(payload).to_bytes(3, "big") + bytes(7)
    return head + payload + (len(head) + len(payload)).to_bytes(4, "big")


SOUND = tag(8, b"\xaf\x01" + bytes(50))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("flv")
    kinds = {"avc": ("libx264", (64, 48)), "large avc": ("libx264", (96, 64)), "hevc": ("libx265", (128, 96))}
    return {
        name: write_clip(folder / f"{name}.flv", frames=12, codec=codec, size_wh=size_wh).read_bytes()
        for name, (codec, size_wh) in kinds.items()
    }


def in_pieces(body: bytes, size: int) -> Iterator[bytes]:
    return (body[start : start + size] for start in range(0, len(body), size))


def parts(body: bytes, piece: int = 1000) -> list[tuple[str, list[tuple[int, int]]]]:
    """Codec and sizes of the pictures of each part."""
    pictures = FlvPictures(in_pieces(body, piece), silent_s=60.0)
    found: list[tuple[str, list[tuple[int, int]]]] = []
    while not found or pictures.next_part():
        with VideoReader(pictures, form="flv", options={"analyzeduration": "1"}) as reader:
            sizes = [(frame.width, frame.height) for frame in reader.frames()]
            found.append((reader.stream.split()[0], sizes))
    return found


@pytest.mark.parametrize("piece", [1, 700, 1 << 20])
def test_a_stream_whose_codec_changes_is_read_part_by_part(clips: dict[str, bytes], piece: int) -> None:
    body = clips["avc"] + clips["hevc"][HEADER_BYTES:] + clips["avc"][HEADER_BYTES:]
    assert parts(body, piece) == [
        ("h264", [(64, 48)] * 12),
        ("hevc", [(128, 96)] * 12),
        ("h264", [(64, 48)] * 12),
    ]


@pytest.mark.parametrize("again", [0, HEADER_BYTES])
def test_another_size_is_no_other_part_with_and_without_a_header_in_mid_stream(
    clips: dict[str, bytes], again: int
) -> None:
    body = clips["avc"] + clips["large avc"][again:]
    assert parts(body) == [("h264", [(64, 48)] * 12 + [(96, 64)] * 12)]


def test_sound_is_left_out(clips: dict[str, bytes]) -> None:
    body = clips["avc"]
    assert parts(body[:HEADER_BYTES] + SOUND * 30 + body[HEADER_BYTES:] + SOUND) == [("h264", [(64, 48)] * 12)]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<html>this is a page and no stream</html>", "this is not an FLV stream"),
        (b"FLV\x01\x05\xff\xff\xff\xff", "the FLV stream is broken"),
        (b"FLV\x01\x05\x00\x00\x00\x09\x00\x00\x00\x00" + SOUND + b"\x7f" * 40, "the FLV stream is broken"),
    ],
)
def test_what_is_no_flv_is_said(body: bytes, reason: str) -> None:
    pictures = FlvPictures(iter([body]), silent_s=60.0)
    with pytest.raises(SourceError, match=reason):
        while pictures.read(4096):
            pass


def test_sound_alone_is_not_listened_to_for_ever(clips: dict[str, bytes]) -> None:
    def for_ever() -> Iterator[bytes]:
        yield clips["avc"]
        while True:
            yield SOUND

    pictures = FlvPictures(for_ever(), silent_s=0.1)
    with pytest.raises(SourceError, match="no picture was among it"):
        while pictures.read(4096):
            pass


def test_a_peer_that_drips_is_not_listened_to_for_ever() -> None:
    def drip() -> Iterator[bytes]:
        yield b"FLV\x01\x01\x00\x00\x00\x09\x00\x00\x00\x00" + b"\x09\xff\xff\xff"  # a tag of 16 MB begins
        for _ in range(2000):
            time.sleep(0.001)
            yield b"\x00"

    pictures = FlvPictures(drip(), silent_s=0.1)
    with pytest.raises(SourceError, match="no picture was among it"):
        while pictures.read(4096):
            pass


def test_a_stream_that_is_cut_off_ends(clips: dict[str, bytes]) -> None:
    pictures = FlvPictures(iter([clips["avc"][:-3]]), silent_s=60.0)
    while pictures.read(4096):
        pass
    assert not pictures.next_part()


def test_a_clip_that_was_written_is_what_the_other_tests_think(tmp_path: Path, clips: dict[str, bytes]) -> None:
    assert clips["avc"][:3] == b"FLV"
    assert int.from_bytes(clips["avc"][5:9], "big") + 4 == HEADER_BYTES
