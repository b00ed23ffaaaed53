from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from streamserver.core.arrays import Detections
from streamserver.core.errors import GraphError
from streamserver.core.objects import Recognition
from streamserver.core.picture import Picture
from streamserver.core.results import WireFrame, objects_of
from streamserver.core.settings import Settings
from streamserver.elements import _ws_server
from streamserver.elements.encode import Encode
from streamserver.engine.element import ElementContext
from streamserver.engine.frame import Frame
from streamserver.vision.codec import decode_jpeg
from tests.media.servers import MediaServer, repeat_until
from tests.servers.ports import free_port

PATIENCE_S = 60.0
H264 = {"enc_fmt": "h264_bm", "pix_fmt": "I420"}


@pytest.fixture(autouse=True)
def time_to_talk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No client is turned away or cut off only because the machine is busy."""
    for name in ("_GREETING_LIMIT_S", "_GOODBYE_S", "_SEND_LIMIT_S"):
        monkeypatch.setattr(_ws_server, name, int(PATIENCE_S))


def context(base_dir: Path, *, channel_ids: tuple[int, ...] = (2,), **configure: Any) -> ElementContext:
    return ElementContext(
        element_id=9,
        name="encode",
        config_file="encode.json",
        configure=configure,
        settings=Settings(),
        base_dir=base_dir,
        channel_ids=channel_ids,
    )


def make_frame(
    number: int = 0, *, value: int = 100, channel_id: int = 2, size_wh: tuple[int, int] = (64, 48), **attributes: Any
) -> Frame:
    picture = Picture(size_wh, lambda: np.full((size_wh[1], size_wh[0], 3), value, np.uint8))
    return Frame(channel_id, 1, number, sequence=number, **{"picture": picture, **attributes})


class Encoding:
    """An open element and what came out of it; closed at the end."""

    def __init__(self, element_context: ElementContext) -> None:
        self.context = element_context
        self.element = Encode(element_context)
        self.emitted: list[Frame] = []
        self.element.open()

    def put(self, *frames: Frame) -> None:
        for frame in frames:
            self.element.process(frame, self._emit)

    def end(self, channel_id: int = 2) -> None:
        self.element.end_of_stream(Frame(channel_id, 1, 0, end_of_stream=True), self._emit)

    def _emit(self, frame: Frame, *, port: int | None = None) -> None:
        assert port is None
        self.emitted.append(frame)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    running: list[Encoding] = []

    def make(**configure: Any) -> Encoding:
        running.append(Encoding(context(tmp_path, **configure)))
        return running[-1]

    yield make
    for encoding in running:
        encoding.context.stopping.set()
        encoding.element.close()


def values_of(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(frame.to_ndarray(format="gray").mean()) for frame in container.decode(video=0)]


@pytest.mark.parametrize(("enc_fmt", "ending"), [("h264_bm", "avi"), ("h265_bm", "mp4")])
def test_a_video_holds_every_frame_of_its_channel_kept_ones_too(
    start: Any, tmp_path: Path, enc_fmt: str, ending: str
) -> None:
    encoding = start(encode_type="VIDEO", enc_fmt=enc_fmt, pix_fmt="NV12", prefix="dwa_")
    frames = [make_frame(n, value=20 + 5 * n, skipped=n % 2 == 1) for n in range(30)]
    others = [make_frame(n, channel_id=3) for n in range(7)]
    encoding.put(*frames, *others)
    encoding.end()
    encoding.end(3)
    assert encoding.element.wants_skipped
    assert encoding.emitted[:30] == frames and len(encoding.emitted) == 39
    values = values_of(tmp_path / "results" / f"dwa_1_2.{ending}")
    assert len(values) == 30 and values == sorted(values)
    assert len(values_of(tmp_path / "results" / f"dwa_1_3.{ending}")) == 7


def test_what_was_drawn_goes_before_the_picture(start: Any, tmp_path: Path) -> None:
    drawing = Picture((64, 48), lambda: np.full((48, 64, 3), 250, np.uint8))
    encoding = start(encode_type="IMG_DIR")
    encoding.put(make_frame(0, drawing=drawing), make_frame(1))
    folder = tmp_path / "results" / "1_2"
    assert decode_jpeg((folder / "0.jpg").read_bytes()).mean() > 245
    assert decode_jpeg((folder / "1.jpg").read_bytes()).mean() < 105


def test_a_folder_gets_one_picture_a_frame_in_the_wanted_size(start: Any, tmp_path: Path) -> None:
    encoding = start(encode_type="IMG_DIR", prefix="cam-", width=32, height=-1)
    encoding.put(*(make_frame(n, size_wh=(64 + n, 48)) for n in range(12)))
    folder = tmp_path / "results" / "cam-1_2"
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{n}.jpg" for n in range(12))
    assert {decode_jpeg(path.read_bytes()).shape for path in folder.iterdir()} == {(48, 32, 3)}


def test_a_task_that_starts_again_keeps_its_former_recordings(start: Any, tmp_path: Path) -> None:
    for frames in (5, 6, 7):
        encoding = start(encode_type="VIDEO", **H264)
        encoding.put(*(make_frame(n) for n in range(frames)))
        encoding.element.close()
    counts = {path.name: len(values_of(path)) for path in (tmp_path / "results").iterdir()}
    assert counts == {"1_2.1.avi": 5, "1_2.2.avi": 6, "1_2.avi": 7}


def test_frames_that_change_their_size_are_stretched_in_a_video(start: Any, tmp_path: Path) -> None:
    encoding = start(encode_type="VIDEO", **H264)
    encoding.put(make_frame(0), make_frame(1, size_wh=(200, 100)), make_frame(2, size_wh=(33, 17)))
    encoding.end()
    assert len(values_of(tmp_path / "results" / "1_2.avi")) == 3


@pytest.mark.parametrize("kind", ["RTSP", "RTMP"])
def test_a_media_server_gets_the_stream_under_graph_and_channel(start: Any, kind: str) -> None:
    port = free_port()
    url = f"{kind.lower()}://127.0.0.1:{port}/live/p1_2"
    encoding = start(encode_type=kind, ip="127.0.0.1", prefix="p", **{f"{kind.lower()}_port": str(port)}, **H264)
    with MediaServer(url) as server:
        received: list[Any] = []
        done = threading.Event()

        def receive() -> None:
            received.append(server.frame(PATIENCE_S))
            done.set()

        thread = threading.Thread(target=receive)
        thread.start()

        def push() -> None:
            encoding.put(make_frame())
            time.sleep(0.02)

        repeat_until(done.is_set, push)
        thread.join()
        encoding.end()
    assert received[0][1] == (48, 64, 3)
    assert encoding.emitted[-1].end_of_stream


def test_a_dead_media_server_stops_nothing(start: Any) -> None:
    encoding = start(encode_type="RTMP", rtmp_port=str(free_port()), ip="127.0.0.1", **H264)
    encoding.put(*(make_frame(n) for n in range(100)))
    assert len(encoding.emitted) == 100


@contextmanager
def watching(
    encoding: Encoding, port: int, number: int = 0, **attributes: Any
) -> Iterator[tuple[ClientConnection, str]]:
    """A client that has seen its first message."""
    messages: list[str] = []
    with connect(f"ws://127.0.0.1:{port}", compression=None, max_size=None, open_timeout=PATIENCE_S) as client:

        def try_to_receive() -> None:
            encoding.put(make_frame(number, **attributes))
            try:
                messages.append(str(client.recv(timeout=0.05)))
            except TimeoutError:
                pass

        repeat_until(lambda: bool(messages), try_to_receive)
        yield client, messages[0]


def start_ws(start: Any, **configure: Any) -> tuple[Encoding, int]:
    port = free_port()
    return start(encode_type="WS", wss_port=str(port - 2), **configure), port


def test_a_web_socket_shows_jpegs_as_base64_on_the_port_of_its_channel(start: Any) -> None:
    encoding, port = start_ws(start, width=32, height=24, wss_backend="BOOST")
    with watching(encoding, port) as (_, message):
        image = decode_jpeg(base64.b64decode(message, validate=True))
        assert image.shape == (24, 32, 3) and abs(float(image.mean()) - 100) < 4


def test_a_web_socket_shows_whole_results_with_a_measured_rate(start: Any) -> None:
    encoding, port = start_ws(start, ws_enc_type="SERIALIZED")
    detections = Detections.from_arrays([[10, 20, 30, 40]], [0.5], [1], [7])
    part = Frame(2, 1, 0, sub_id=0, recognitions=[Recognition("京A12345")], picture=make_frame().picture)
    encoding.put(make_frame(0))
    with watching(encoding, port, detections=detections, sub_frames=[part]) as (_, text):
        message = json.loads(text)
    assert isinstance(message["mFps"], float) and message["mFps"] > 0
    wire = WireFrame.from_wire(message)
    assert decode_jpeg(base64.b64decode(wire.picture_base64)).shape == (48, 64, 3)
    assert (wire.channel_id, wire.size_wh) == (2, (64, 48))
    assert [found.track_id for found in objects_of(message)] == [7]
    assert message["mSubObjectMetadatas"][0]["mRecognizedObjectMetadatas"][0]["mLabelName"] == "京A12345"


def test_a_client_that_does_not_read_delays_nobody_and_sees_the_newest(start: Any) -> None:
    encoding, port = start_ws(start, ws_enc_type="SERIALIZED")
    noise = np.random.default_rng(1).integers(0, 255, (480, 640, 3), np.uint8)
    picture = Picture((640, 480), lambda: noise)
    with watching(encoding, port, picture=picture) as (client, _):
        encoding.put(*(make_frame(n, picture=picture) for n in range(1, 201)))
        seen = [0]
        repeat_until(
            lambda: seen[-1] == 200,
            lambda: seen.append(json.loads(client.recv(timeout=PATIENCE_S))["mFrame"]["mFrameId"]),
        )
    assert len(set(seen)) < 200 and seen == sorted(seen)


def test_the_end_of_a_channel_closes_its_web_socket_after_the_last_frame(start: Any) -> None:
    encoding, port = start_ws(start, ws_enc_type="SERIALIZED")
    with watching(encoding, port) as (client, _):
        encoding.put(make_frame(77))
        encoding.end()
        last = ""
        with pytest.raises(ConnectionClosed):
            while True:
                last = str(client.recv(timeout=PATIENCE_S))
    assert json.loads(last)["mFrame"]["mFrameId"] == 77
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_clients_may_talk_come_and_go(start: Any) -> None:
    encoding, port = start_ws(start)
    for _ in range(3):
        with watching(encoding, port) as (client, _):
            client.send("hello")
    with watching(encoding, port) as (client, _):
        client.socket.shutdown(socket.SHUT_RDWR)  # gone without a word
    with watching(encoding, port) as (_, message):
        assert message


def test_nothing_is_encoded_while_nobody_looks(start: Any) -> None:
    encoding, _ = start_ws(start)

    def fail() -> Any:
        raise AssertionError("nobody wanted it")

    encoding.put(make_frame(0, picture=Picture((64, 48), fail)))


def test_a_web_socket_listens_on_this_machine_unless_told_otherwise(start: Any, tmp_path: Path) -> None:
    encoding, port = start_ws(start)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=5)
    encoding.element.close()
    elsewhere, port = start_ws(start, wss_host="127.0.0.2")
    socket.create_connection(("127.0.0.2", port), timeout=5).close()
    elsewhere.element.close()


def test_a_port_that_is_taken_is_refused_by_name(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        encode = Encode(context(tmp_path, encode_type="WS", wss_port=str(port - 2)))
        with pytest.raises(GraphError, match=f"'encode': wss_port: 127.0.0.1:{port} cannot be listened on"):
            encode.open()
        encode.close()


def test_a_channel_whose_port_does_not_exist_is_refused(tmp_path: Path) -> None:
    encode = Encode(context(tmp_path, channel_ids=(10,), encode_type="WS", wss_port="65530"))
    with pytest.raises(GraphError, match=r"wss_port: 65530 \+ channel 10 is 65540, which is no port"):
        encode.open()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    encode = Encode(context(tmp_path, encode_type="IMG_DIR"))
    with pytest.raises(GraphError, match=r"encode_type: the folder '.*results' cannot be made: there is a file"):
        encode.open()


@pytest.mark.parametrize(
    ("configure", "message"),
    [
        ({}, "encode_type: got None; use one of RTSP, RTMP, VIDEO, IMG_DIR, WS"),
        ({"encode_type": ["WS"]}, "encode_type: got"),
        ({"encode_type": "RTSP", **H264}, "rtsp_port: expected a port from 1 to 65535, got None"),
        ({"encode_type": "RTMP", **H264, "rtmp_port": "x"}, "rtmp_port: expected a port from 1 to 65535, got 'x'"),
        ({"encode_type": "WS", "wss_port": "70000"}, "wss_port: expected a port from 1 to 65535, got '70000'"),
        ({"encode_type": "WS", "wss_port": True}, "wss_port: expected a port"),
        ({"encode_type": "VIDEO", "pix_fmt": "I420"}, "enc_fmt: is needed for encode_type VIDEO; use one of h264_bm"),
        ({"encode_type": "VIDEO", "enc_fmt": "h264_bm"}, "pix_fmt: is needed for encode_type VIDEO; use one of I420"),
        (
            {"encode_type": "VIDEO", "enc_fmt": "vp9", "pix_fmt": "I420"},
            "enc_fmt: got 'vp9'; use one of h264_bm, h265_bm",
        ),
        ({"encode_type": "VIDEO", **H264, "fps": 0}, "fps: expected frames a second, 0.01 to 240, got 0"),
        ({"encode_type": "VIDEO", **H264, "fps": 0.0001}, "fps: expected frames a second, 0.01 to 240, got 0.0001"),
        ({"encode_type": "VIDEO", **H264, "fps": -25}, "fps: expected frames a second, 0.01 to 240, got -25"),
        ({"encode_type": "VIDEO", **H264, "prefix": "前" * 67}, "prefix: is longer than 200 bytes"),
        ({"encode_type": "VIDEO", **H264, "fps": "25"}, "fps: expected frames a second"),
        ({"encode_type": "VIDEO", **H264, "width": 0}, "width: expected pixels from 1 to 16384, or -1"),
        ({"encode_type": "VIDEO", **H264, "height": 1.5}, "height: expected pixels"),
        (
            {"encode_type": "WS", "wss_port": "9000", "ws_enc_type": "JPEG"},
            "ws_enc_type: got 'JPEG'; use one of IMG_ONLY",
        ),
        ({"encode_type": "WS", "wss_port": "9000", "wss_backend": "X"}, "wss_backend: got 'X'; use one of WEBSOCKETPP"),
        ({"encode_type": "WS", "wss_port": "9000", "wss_host": "a b"}, "wss_host: expected an address of this machine"),
        ({"encode_type": "RTSP", "rtsp_port": "1", **H264, "ip": "h/../x"}, "ip: expected a host's name or address"),
        ({"encode_type": "RTSP", "rtsp_port": "1", **H264, "ip": ""}, "ip: expected a host's name or address"),
        (
            {"encode_type": "RTSP", "rtsp_port": "1", **H264, "ip": "user:secret@h/x"},
            r"ip: expected a host's name or address, got '\*\*\*@h/x'",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_by_file_element_and_key(
    tmp_path: Path, configure: dict[str, Any], message: str
) -> None:
    with pytest.raises(GraphError, match=f"encode.json: element 9 'encode': {message}"):
        Encode(context(tmp_path, **configure))


@pytest.mark.parametrize(
    "prefix", ["../x", "/etc/", "a/b", "..", ".hidden", "a\\b", "a\0b", "a\nb", "x" * 101, "a?b", 7]
)
@pytest.mark.parametrize("encode_type", ["VIDEO", "IMG_DIR", "RTSP"])
def test_a_prefix_that_could_lead_elsewhere_is_refused(tmp_path: Path, encode_type: str, prefix: Any) -> None:
    with pytest.raises(GraphError, match="prefix: expected letters"):
        Encode(context(tmp_path, encode_type=encode_type, rtsp_port="8554", prefix=prefix, **H264))
