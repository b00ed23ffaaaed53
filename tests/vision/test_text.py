from __future__ import annotations

import logging
import threading
from pathlib import Path

import numpy as np
import pytest

from streamserver.core.arrays import ImageBgr
from streamserver.vision.text import FontError, TextWriter, find_cjk_font, has_unicode_font

DEJAVU = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")


def canvas() -> ImageBgr:
    return np.zeros((60, 400, 3), np.uint8)


def written(writer: TextWriter, text: str, left_top_xy: tuple[int, int] = (10, 10)) -> ImageBgr:
    image = canvas()
    writer.put(image, text, left_top_xy, size_px=24, color_bgr=(10, 200, 90))
    return image


@pytest.mark.parametrize("text", ["person:0.87", "京A12345", "Привет", "ĄÖß"])
def test_text_of_any_script_is_written_where_it_should_be(text: str) -> None:
    writer = TextWriter()
    image = written(writer, text)
    rows, columns = np.nonzero(image.any(axis=2))
    width, height = writer.size_wh(text, 24)
    assert rows.min() >= 10 and rows.max() <= 10 + height + 2
    assert 8 <= columns.min() <= 16 and columns.max() <= 10 + width + 2
    assert tuple(image[image.any(axis=2)].max(axis=0)) == (10, 200, 90)


def test_chinese_characters_are_drawn_and_not_replaced_by_one_sign() -> None:
    assert has_unicode_font()
    writer = TextWriter()
    assert not np.array_equal(written(writer, "京"), written(writer, "沪"))
    assert not np.array_equal(written(writer, "京"), written(writer, "?"))


@pytest.mark.skipif(not DEJAVU.exists(), reason=f"this machine has no {DEJAVU}")
def test_a_font_library_is_used_for_all_text() -> None:
    own, built_in = written(TextWriter(DEJAVU), "Abc Ж"), written(TextWriter(), "Abc Ж")
    assert own.any() and not np.array_equal(own, built_in)


@pytest.mark.skipif(not DEJAVU.exists(), reason=f"this machine has no {DEJAVU}")
def test_without_a_built_in_font_one_of_the_machine_is_found(tmp_path: Path) -> None:
    (tmp_path / "truetype" / "wqy").mkdir(parents=True)
    (tmp_path / "other.ttf").symlink_to(DEJAVU)
    assert find_cjk_font([tmp_path]) is None
    (tmp_path / "truetype" / "wqy" / "wqy-microhei.ttf").symlink_to(DEJAVU)
    writer = TextWriter(unicode_built_in=False, folders=[tmp_path])
    assert np.array_equal(written(writer, "Ж"), written(TextWriter(DEJAVU), "Ж"))
    assert np.array_equal(written(writer, "abc"), written(TextWriter(), "abc"))


def test_without_any_font_a_sign_stands_for_each_letter_and_one_warning_says_what_to_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer = TextWriter(unicode_built_in=False, folders=[tmp_path])
    with caplog.at_level(logging.WARNING):
        image = written(writer, "京A1")
        assert np.array_equal(written(writer, "沪A1"), image)
    assert np.array_equal(image, written(TextWriter(), "?A1"))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "font_library" in caplog.text and "fonts-wqy-microhei" in caplog.text


@pytest.mark.parametrize("content", [None, b"", b"no font at all"])
def test_a_file_that_is_no_font_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "font.ttf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FontError, match=r"font\.ttf"):
        TextWriter(path)


@pytest.mark.parametrize("text", ["", " ", "a\nb\tc\x00d", "x" * 100_000, "\U0001f600\u0e01", "\ud800"])
@pytest.mark.parametrize("left_top_xy", [(0, 0), (-50, -50), (399, 59), (5000, 5000), (-30_000, 30_000)])
def test_no_text_and_no_place_breaks_anything(text: str, left_top_xy: tuple[int, int]) -> None:
    for writer in (TextWriter(), *([TextWriter(DEJAVU)] if DEJAVU.exists() else [])):
        assert written(writer, text, left_top_xy).shape == (60, 400, 3)


def test_several_threads_write_at_once() -> None:
    writer, results = TextWriter(), list[ImageBgr]()
    threads = [threading.Thread(target=lambda: results.append(written(writer, "京A12345 ok"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8 and all(np.array_equal(one, results[0]) for one in results)
