"""Watching tasks of the real server: pictures from before a task until its end, and nothing drawn for nobody."""

from __future__ import annotations

import http.client
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np
import pytest

from streamserver.core.arrays import ImageBgr
from streamserver.vision.codec import decode_jpeg
from streamserver.vision.draw.places import BANNER_COLOR, LINE_COLOR, ZONE_COLOR
from tests.e2e.harness import Server, deaf_port, ledger, server, task, wait_for

pytestmark = pytest.mark.e2e
_PATIENCE_S = 120
_STILL_FRAMES = 25
"""The clip shows nobody for as long at a time, at most."""
_PASSING_FRAMES = 100
"""Within so many pictures, who goes by with box and name before a line or a corner has gone by."""

_ZONE = [(40, 160), (240, 160), (240, 320), (40, 320)]
SECRET = "pa55word-of-a-camera"


@contextmanager
def asked(one: Server, path: str, *, body: bytes | None = None) -> Iterator[http.client.HTTPResponse]:
    """The answer to a GET, or to a POST of ``body``; the connection is closed afterwards."""
    connection = http.client.HTTPConnection("127.0.0.1", one.port, timeout=_PATIENCE_S)
    try:
        connection.request("GET" if body is None else "POST", path, body)
        with connection.getresponse() as response:
            yield response
    finally:
        connection.close()


def next_jpeg(response: http.client.HTTPResponse) -> bytes:
    """The next picture of a preview; empty at its end."""
    length = 0
    while line := response.readline():
        if line.startswith(b"Content-Length: "):
            length = int(line.split()[1])
        if line == b"\r\n" and length:
            return response.read(length)
    return b""


def near(image: ImageBgr, x: int, y: int, color_bgr: tuple[int, int, int]) -> bool:
    return bool(np.abs(image[y - 1 : y + 2, x - 1 : x + 2].astype(int) - color_bgr).max(axis=2).min() < 70)


def connected(one: Server) -> int:
    """How many connections the engine has at its socket for pictures."""
    pid = one.pid("streamserver.worker")
    folder = Path(f"/proc/{pid}/fd")
    own = set()
    for name in os.listdir(folder):
        with suppress(FileNotFoundError):  # closed in between
            own.add(os.readlink(folder / name))
    lines = Path("/proc/net/unix").read_text().splitlines()
    named = [line.split()[6] for line in lines if line.endswith("preview.sock")]
    return sum(f"socket:[{inode}]" in own for inode in named) - 1


def test_a_camera_is_seen_before_its_task_and_while_it_runs(tmp_path: Path, walkers: Path) -> None:
    with ledger() as receiver, server(tmp_path / "state") as one:
        content = task("t", str(walkers), receiver.url, line=(320, 0, 320, 360), direction=(100, 0))
        content["Algorithm"][0]["Extend"] = {"Detector": "motion", "Loop": 0}
        zone = [{"X": x, "Y": y} for x, y in _ZONE]
        content["Algorithm"].append({"Type": 6, "DetectInterval": 1, "DetectInfos": [{"HotArea": zone}]})

        before = b'{"InputSrc": {"StreamSrc": {"Address": "%s"}}}' % os.fsencode(walkers)
        with asked(one, "/task/snapshot", body=before) as response:
            assert decode_jpeg(response.read()).shape == (360, 640, 3)

        assert one.create(content)["Code"] == 0
        one.wait_state("t", "RUNNING")
        wait_for(lambda: one.query("t")["Frames"], "a frame was analysed")
        with asked(one, "/task/snapshot?TaskID=t") as response:
            plain = decode_jpeg(response.read())
            assert (response.status, plain.shape) == (200, (360, 640, 3))
            assert not near(plain, 140, 160, ZONE_COLOR)

        wait_for(lambda: connected(one) == 0, "the snapshot's connection is closed", lambda: connected(one))
        with asked(one, "/task/preview?TaskID=t&Algorithm=1&Width=320") as response:
            pictures = [next_jpeg(response)]
            while len(set(pictures)) == 1 and len(pictures) < _STILL_FRAMES + 2:
                pictures.append(next_jpeg(response))
            assert len(set(pictures)) > 1, "it moves"
            image = decode_jpeg(pictures[-1])
            for _ in range(_PASSING_FRAMES):
                if near(image, 70, 80, ZONE_COLOR) and near(image, 20, 120, ZONE_COLOR):
                    break
                image = decode_jpeg(next_jpeg(response))
            assert image.shape == (180, 320, 3)
            assert near(image, 70, 80, ZONE_COLOR) and near(image, 20, 120, ZONE_COLOR)
            assert connected(one) == 1
        wait_for(lambda: connected(one) == 0, "the engine has let the viewer go", lambda: connected(one))
        for _ in range(_PASSING_FRAMES):
            with asked(one, "/task/snapshot?TaskID=t&Drawn=1") as response:
                drawn = decode_jpeg(response.read())
            assert near(drawn, 320, 20, LINE_COLOR), "the line"
            if near(drawn, 345, 180, LINE_COLOR):
                break
        assert near(drawn, 345, 180, LINE_COLOR), "its arrow"
        assert not near(drawn, 295, 180, LINE_COLOR)

        with ExitStack() as stack:
            path = "/task/preview?TaskID=t&Fps=1"
            viewers = [stack.enter_context(asked(one, path)) for _ in range(8)]
            assert {viewer.status for viewer in viewers} == {200}
            with asked(one, path) as ninth:
                assert ninth.status == 503
                assert b"8 watch this task already" in ninth.read()
            one.post("/task/delete", {"TaskID": "t"})
            for viewer in viewers:
                while next_jpeg(viewer):
                    pass
        with asked(one, "/task/preview?TaskID=t") as response:
            assert response.status == 404


def test_a_camera_that_is_away_is_seen_to_be_away_and_its_password_is_not(tmp_path: Path) -> None:
    one_task = {"STREAMSERVER_NURSERIES": "false"}
    with deaf_port() as port, ledger() as receiver, server(tmp_path / "state", environment=one_task) as one:
        address = f"http://me:{SECRET}@127.0.0.1:{port}/stream"
        assert one.create(task("t", address, receiver.url, extend={"Detector": "motion"}))["Code"] == 0
        one.wait_state("t", "RUNNING")
        wait_for(lambda: one.query("t")["Source"] == "reconnecting", "the source is away", lambda: one.query("t"))
        with asked(one, "/task/preview?TaskID=t&Width=320") as response:
            assert response.status == 200
            image = decode_jpeg(next_jpeg(response))
            assert near(image, 315, 2, BANNER_COLOR)
            assert cv2.absdiff(image[:12], np.full_like(image[:12], BANNER_COLOR)).max() > 100, "with words in it"
            assert next_jpeg(response), "and goes on"
