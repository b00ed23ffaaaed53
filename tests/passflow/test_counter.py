from __future__ import annotations

import base64
import gc
import itertools
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from passflow.counter import CustomerCounter
from streamserver.core.errors import DeviceError
from streamserver.models.faces import FaceFinder, load_face_finder
from streamserver.models.letterboxed import LetterboxedNetwork
from tests import assets
from tests.media.clips import write_clip, write_damaged_clip
from tests.passflow.clips import RIGHT_THIRD, one_person
from tests.servers.process import wait_until

PROJECT = Path(__file__).resolve().parents[2]
UNKNOWN = {"code": 509, "msg": "unknown error", "status": 200, "data": None}
NO_VIDEO = {"code": 503, "msg": "video initialization error", "status": 200, "data": None}
MISSING = {"code": 504, "msg": "frame data error", "status": 200, "data": None}


@pytest.fixture(autouse=True)
def weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMSERVER_MODELS", str(assets.model("yolox_nano.onnx").parent))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return one_person(tmp_path_factory.mktemp("clips") / "one.mp4")


@pytest.fixture(scope="module")
def faces() -> Path:
    return assets.clip("facenet_pytorch_video.mp4")


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return load_face_finder(assets.model("yunet_n_dynamic.onnx"), family="yunet", device="cpu", longest_side=1280)


def image_of(reply: dict[str, Any]) -> np.ndarray:
    data = base64.b64decode(reply["data"]["res_frame"], validate=True)
    assert data.startswith(b"\xff\xd8")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image


def test_importing_it_loads_nothing_heavy() -> None:
    code = "import passflow.counter, sys; print({'cv2', 'av', 'onnxruntime'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "set()", done.stderr


def test_one_dict_a_frame_with_plain_numbers(clip: Path) -> None:
    replies = list(CustomerCounter(detect_interval=5).run(str(clip), [RIGHT_THIRD], False, True, "cpu", 0))
    assert all(set(reply) == {"code", "msg", "status", "data"} for reply in replies)
    assert {(reply["code"], reply["msg"], reply["status"]) for reply in replies} == {(200, "SUCCESS", 200)}
    rows = [reply["data"] for reply in replies]
    assert all(set(row) == {"current_num", "total_num", "frame_num", "res_frame"} for row in rows)
    assert [row["frame_num"] for row in rows] == list(range(1, 71))
    assert {type(value) for row in rows for key, value in row.items() if key != "res_frame"} == {int}
    assert {row["res_frame"] for row in rows} == {None}
    assert [row["total_num"] for row in rows] == sorted(row["total_num"] for row in rows)
    assert (rows[0]["total_num"], rows[-1]["total_num"]) == (0, 1)


def test_who_walks_out_of_the_area_is_not_counted(tmp_path: Path) -> None:
    backwards = one_person(tmp_path / "back.mkv", backwards=True)
    rows = [reply["data"] for reply in CustomerCounter(detect_interval=5).run(backwards, region=[RIGHT_THIRD])]
    assert len(rows) == 70
    assert {row["total_num"] for row in rows} == {0}


def test_without_an_area_who_passes_is_counted(clip: Path) -> None:
    rows = [reply["data"] for reply in CustomerCounter(detect_interval=5).run(video_path=clip)]
    assert (rows[-1]["total_num"], max(row["current_num"] for row in rows)) == (1, 1)


def test_a_file_plays_whatever_its_ending_says(clip: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.avi"
    other.symlink_to(clip)
    first = next(CustomerCounter().run(str(other)))
    assert (first["code"], first["data"]["frame_num"]) == (200, 1)


def hidden_faces(replies: Iterator[dict[str, Any]], finder: FaceFinder) -> list[int]:
    """How many faces are found in some of the pictures, below where the crest above the crowd looks like one."""
    counts = []
    for number, reply in enumerate(itertools.islice(replies, 12)):
        if number % 4 == 3:
            found = finder.find(image_of(reply), min_score=0.6, iou_threshold=0.4, max_count=50)
            counts.append(sum(face.box_xyxy[1] > 400 for face in found))
    return counts


@pytest.mark.parametrize("interval", [1, 5])
def test_no_face_can_be_found_under_the_mosaic(faces: Path, finder: FaceFinder, interval: int) -> None:
    counts = hidden_faces(CustomerCounter(detect_interval=interval).run(faces, None, True), finder)
    assert counts == [0, 0, 0]


def test_without_the_mosaic_faces_can_be_found(faces: Path, finder: FaceFinder) -> None:
    counts = hidden_faces(CustomerCounter(detect_interval=5).run(faces, vis=True, mosaic=False), finder)
    assert min(counts) >= 3


def test_the_picture_has_its_size_and_shows_the_area(clip: Path) -> None:
    frames = CustomerCounter(detect_interval=30).run(clip, [RIGHT_THIRD], True, False)
    plain = CustomerCounter(detect_interval=30).run(clip, None, True, False)
    drawn, other = image_of(next(frames)), image_of(next(plain))
    frames.close()
    plain.close()
    assert drawn.shape == other.shape == (432, 768, 3)
    edge = np.abs(drawn[50:400, 510:514].astype(int) - other[50:400, 510:514]).mean()
    away = np.abs(drawn[50:400, 300:304].astype(int) - other[50:400, 300:304]).mean()
    assert edge > 10 * (away + 1)


def _no_video(path: Path) -> None:
    path.write_text("this is no video")


def _only_sound(path: Path) -> None:
    import wave

    with wave.open(str(path.with_suffix(".wav")), "wb") as file:
        file.setparams((1, 2, 8000, 8000, "NONE", ""))
        file.writeframes(bytes(16000))
    path.with_suffix(".wav").rename(path)


@pytest.mark.parametrize(
    "make",
    [lambda path: None, Path.mkdir, Path.touch, _no_video, _only_sound],
    ids=["missing", "folder", "empty", "text", "only sound"],
)
def test_a_file_without_a_video_is_503(make: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.mp4"
    make(path)
    assert list(CustomerCounter().run(str(path))) == [NO_VIDEO]
    assert str(path) in caplog.text, "the reason is told in the log"


def test_a_stream_that_nobody_gives_is_503_and_its_password_stays_secret(caplog: pytest.LogCaptureFixture) -> None:
    counter = CustomerCounter(stream_timeout_s=0.5)
    assert list(counter.run("rtsp://user:very-secret@127.0.0.1:9/1")) == [NO_VIDEO]
    assert "no picture for 0.5 s" in caplog.text
    assert "very-secret" not in caplog.text


def test_where_frames_are_missing_it_says_so_and_goes_on(tmp_path: Path) -> None:
    replies = list(CustomerCounter(detect_interval=30).run(write_damaged_clip(tmp_path / "a.mp4")))
    assert MISSING in replies[1:-1]
    assert [reply["code"] for reply in replies[-5:]] == [200] * 5
    numbers = [reply["data"]["frame_num"] for reply in replies if reply["data"]]
    assert numbers == list(range(1, len(numbers) + 1))


def test_weights_that_are_not_there_are_509_with_the_cure_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert list(CustomerCounter(model="no-such-model").run(write_clip(tmp_path / "a.mp4"))) == [UNKNOWN]
    assert "no-such-model" in caplog.text


def test_what_nobody_expects_is_509_with_its_traceback_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a moth")

    monkeypatch.setattr(LetterboxedNetwork, "prepare", fail)
    assert list(CustomerCounter().run(write_clip(tmp_path / "a.mp4"))) == [UNKNOWN]
    assert "RuntimeError: a moth" in caplog.text


def test_a_gpu_that_fails_is_502(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise DeviceError("out of memory")

    monkeypatch.setattr(LetterboxedNetwork, "prepare", fail)
    replies = list(CustomerCounter().run(write_clip(tmp_path / "a.mp4")))
    assert [reply["code"] for reply in replies] == [502]


def test_pictures_that_wait_for_later_ones_come_before_the_failure(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = itertools.count(1)
    prepare = LetterboxedNetwork.prepare

    def fail_at_the_seventh(self: LetterboxedNetwork, image: np.ndarray) -> Any:
        if image.shape[:2] == (432, 768) and next(looks) == 7:
            raise DeviceError("out of memory")
        return prepare(self, image)

    monkeypatch.setattr(LetterboxedNetwork, "prepare", fail_at_the_seventh)
    replies = list(CustomerCounter().run(clip, None, True))
    assert [reply["code"] for reply in replies] == [200] * 6 + [502]
    assert [reply["data"]["frame_num"] for reply in replies[:-1]] == list(range(1, 7))


def test_settings_that_cannot_be_used_are_500(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMSERVER_DECODER", "crystal ball")
    replies = list(CustomerCounter().run(write_clip(tmp_path / "a.mp4")))
    assert [reply["code"] for reply in replies] == [500], "who may count cannot be known"


def test_ending_early_gives_everything_back(clip: Path) -> None:
    frames = CustomerCounter().run(clip, None, True)
    next(frames)
    frames.close()
    gc.collect()
    files, threads = set(os.listdir("/proc/self/fd")), set(threading.enumerate())
    for _ in range(3):
        again = CustomerCounter(detect_interval=30).run(clip, None, True)
        next(again)
        again.close()
    gc.collect()
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= len(files), lambda: f"it has as few open as {files}")
    wait_until(lambda: set(threading.enumerate()) <= threads, lambda: f"no other threads than {threads}")


def test_one_counter_counts_two_videos_at_once(clip: Path) -> None:
    counter = CustomerCounter(detect_interval=5)
    totals: dict[int, int] = {}

    def count(number: int, region: Any) -> None:
        *_, last = counter.run(clip, region)
        totals[number] = last["data"]["total_num"]

    far_left = [[(0, 0), (100, 0), (100, 200), (0, 200)]]
    threads = [threading.Thread(target=count, args=args) for args in enumerate(([RIGHT_THIRD], far_left))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert totals == {0: 1, 1: 0}


def test_an_area_beside_the_picture_is_told_in_the_log(clip: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        next(CustomerCounter().run(clip, [[(800, 0), (900, 0), (900, 90)]]))
    assert "region[0] lies outside the picture of 768x432" in caplog.text


@pytest.mark.parametrize(
    "options",
    [
        {"detect_interval": 0},
        {"detect_interval": 31},
        {"detect_interval": True},
        {"threshold": 0},
        {"threshold": 1.1},
        {"stream_timeout_s": 0},
        {"stream_timeout_s": float("nan")},
    ],
    ids=str,
)
def test_options_out_of_range_are_refused_at_once(options: Any) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        CustomerCounter(**options)
