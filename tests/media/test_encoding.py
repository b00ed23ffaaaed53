from __future__ import annotations

import logging

import pytest

from streamserver.core.errors import SourceError
from streamserver.media.encoding import CODECS, Encoding, encoder_for


@pytest.mark.parametrize(
    ("codec", "available", "expected"),
    [
        ("h264", {"libx264", "libopenh264", "mpeg4"}, "libx264"),
        ("h264", {"libopenh264", "mpeg4"}, "libopenh264"),
        ("h264", {"mpeg4", "mjpeg"}, "mpeg4"),
        ("h264", {"mjpeg"}, "mjpeg"),
        ("h265", {"libx264", "libx265"}, "libx265"),
        ("h265", {"libx264"}, "libx264"),
    ],
)
def test_the_best_encoder_there_is_is_taken_and_a_stand_in_is_named(
    codec: str, available: set[str], expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert encoder_for(codec, frozenset(available)) == expected
    assert (expected in caplog.text) is (expected != {"h264": "libx264", "h265": "libx265"}[codec])


@pytest.mark.parametrize("codec", CODECS)
def test_this_machine_has_an_encoder_and_a_machine_without_any_is_told_so(codec: str) -> None:
    assert encoder_for(codec)
    with pytest.raises(SourceError, match=f"no encoder for {codec}: none of libx26"):
        encoder_for(codec, frozenset({"gif"}))


@pytest.mark.parametrize(
    ("wanted", "given", "expected"),
    [
        ((-1, -1), (641, 481), (640, 480)),
        ((320, -1), (640, 480), (320, 480)),
        ((321, 241), (640, 480), (320, 240)),
        ((-1, -1), (1, 1), (16, 16)),
        ((-1, -1), (64, 9), (64, 16)),
    ],
)
def test_the_size_is_the_first_pictures_or_the_wanted_one_and_even(
    wanted: tuple[int, int], given: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert Encoding(size_wh=wanted).for_picture(given).size_wh == expected
