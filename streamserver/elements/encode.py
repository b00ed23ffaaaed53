"""``encode``: writes frames to files, media servers and web sockets, then passes them on. Keys: docs/elements.md."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from streamserver.core.urls import masked
from streamserver.core.web_pages import names_of
from streamserver.elements._model import read_choice
from streamserver.elements._outputs import ImageFolder, MediaServer, Output, VideoFile, WebSocket
from streamserver.elements._results import RESULTS, make_results
from streamserver.engine.element import Element, ElementContext, Emit
from streamserver.engine.frame import Frame
from streamserver.media.encoding import Encoding
from streamserver.media.pyav import INSTALL, why_no_av

TYPES = ("RTSP", "RTMP", "VIDEO", "IMG_DIR", "WS")

_ENCODED = frozenset({"RTSP", "RTMP", "VIDEO"})
_PORT_KEYS = {"RTSP": "rtsp_port", "RTMP": "rtmp_port", "WS": "wss_port"}
_CODECS = {"h264_bm": "h264", "h265_bm": "h265"}
_PIXEL_FORMATS = {"I420": "yuv420p", "NV12": "nv12"}
_ENDINGS = {"h264": ".avi", "h265": ".mp4"}
_PREFIX = re.compile(r"(?!\.)[\w.-]{0,100}")
_LONGEST_PREFIX_BYTES = 200
"""A file's name has 255; graph, channel, ending and a temporary name's share come after it."""

_HOST = re.compile(r"[\w.-]+|\[?[0-9A-Fa-f:.]+\]?")
_LOGIN = re.compile(r"[^\s\x00-\x1f]*")
_LARGEST_PX = 16384
_LOWEST_RATE, _HIGHEST_RATE = 0.01, 240.0


class Encode(Element):
    """Writes the picture of each frame, or what was drawn over it, to one output a channel.

    An output is made with its channel's first frame (a web socket before that), closed with the channel's end.
    """

    wants_skipped = True
    may_be_skipped = True

    def __init__(self, context: ElementContext) -> None:
        super().__init__(context)
        self._type = self._read_type()
        self._port = self._read_port()
        self._encoding = self._read_encoding()
        self._prefix = self._read_prefix()
        self._login, self._ip = self._read_ip()
        self._serialized = (
            read_choice(context, "ws_enc_type", ("IMG_ONLY", "SERIALIZED"), default="IMG_ONLY") != "IMG_ONLY"
        )
        read_choice(context, "wss_backend", ("WEBSOCKETPP", "BOOST"), default="WEBSOCKETPP")
        self._ws_host = self._read_text("wss_host", context.settings.client_host, _HOST, "an address of this machine")
        self._outputs: dict[int, Output] = {}

    def open(self) -> None:
        """Makes the folder for files, and listens for those who want to look."""
        if self._type in _ENCODED and (problem := why_no_av()):
            raise self.context.error(
                "encode_type", f"{self._type} needs an encoder, but {problem}", cure=f"{INSTALL}, or use IMG_DIR or WS"
            )
        if self._type in ("VIDEO", "IMG_DIR"):
            make_results(self.context, "encode_type")
        if self._type == "WS":
            for channel_id in self.context.channel_ids:
                self._outputs[channel_id] = self._listen(channel_id)

    def process(self, frame: Frame, emit: Emit) -> None:
        """Writes the frame and passes it on."""
        if frame.picture is not None:
            output = self._outputs.get(frame.channel_id)
            if output is None:
                output = self._outputs[frame.channel_id] = self._start(frame)
            output.write(frame)
        emit(frame)

    def end_of_stream(self, frame: Frame, emit: Emit) -> None:
        """Completes the channel's output."""
        output = self._outputs.pop(frame.channel_id, None)
        if output is not None:
            output.close(hurry=self.context.stopping.is_set())
        emit(frame)

    def close(self) -> None:
        """Completes what is left."""
        while self._outputs:
            self._outputs.popitem()[1].close(hurry=self.context.stopping.is_set())

    def _start(self, frame: Frame) -> Output:
        name = f"{self._prefix}{frame.graph_id}_{frame.channel_id}"
        results = self.context.base_dir / RESULTS
        if self._type == "VIDEO":
            path = results / f"{name}{_ENDINGS[self._encoding.codec]}"
            self.context.report("output", str(path))
            return VideoFile(path, self._encoding)
        if self._type == "IMG_DIR":
            self.context.report("output", str(results / name))
            return ImageFolder(results / name, self._encoding.size_wh)
        if self._type == "WS":
            return self._listen(frame.channel_id)
        host = f"[{self._ip}]" if ":" in self._ip and "[" not in self._ip else self._ip
        url = f"{self._type.lower()}://{self._login}{host}:{self._port}/live/{quote(name)}"
        self.context.report("output", masked(url))
        return MediaServer(url, self._encoding)

    def _listen(self, channel_id: int) -> Output:
        port = self._port + channel_id
        if not 1 <= port <= 65535:
            raise self.context.error(
                "wss_port", f"{self._port} + channel {channel_id} is {port}, which is no port", cure="use 1 to 65535"
            )
        try:
            output = WebSocket(
                self._ws_host,
                port,
                serialized=self._serialized,
                size_wh=self._encoding.size_wh,
                page_hosts=names_of(self.context.settings.host_names),
            )
        except OSError as e:
            raise self.context.error(
                "wss_port",
                f"{self._ws_host}:{port} cannot be listened on: {e.strerror or e}",
                cure="end the program that has the port, or choose another",
            ) from e
        self.context.report("output", f"ws://{self._ws_host}:{port}")
        return output

    def _read_type(self) -> str:
        value = self.context.configure.get("encode_type")
        if value not in TYPES:
            raise self.context.error("encode_type", f"got {value!r}", cure=f"use one of {', '.join(TYPES)}")
        return str(value)

    def _read_port(self) -> int:
        """The port of the type; sophon-stream writes it as a text. 0 for types without one."""
        key = _PORT_KEYS.get(self._type)
        if key is None:
            return 0
        value = self.context.configure.get(key)
        port = int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,5}", value) else value
        if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:
            raise self.context.error(key, f"expected a port from 1 to 65535, got {value!r}")
        return port

    def _read_encoding(self) -> Encoding:
        codec, pixel_format = "h264", "yuv420p"
        if self._type in _ENCODED:
            codec = _CODECS[self._required("enc_fmt", tuple(_CODECS))]
            pixel_format = _PIXEL_FORMATS[self._required("pix_fmt", tuple(_PIXEL_FORMATS))]
        rate = self.context.configure.get("fps", 25)
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not _LOWEST_RATE <= rate <= _HIGHEST_RATE:
            raise self.context.error(
                "fps", f"expected frames a second, {_LOWEST_RATE:g} to {_HIGHEST_RATE:g}, got {rate!r}"
            )
        return Encoding(
            codec=codec,
            pixel_format=pixel_format,
            rate=float(rate),
            size_wh=(self._read_size("width"), self._read_size("height")),
        )

    def _read_prefix(self) -> str:
        prefix = self._read_text("prefix", "", _PREFIX, "letters, digits, '_', '-' and '.', not '.' first")
        if len(prefix.encode()) > _LONGEST_PREFIX_BYTES:
            raise self.context.error("prefix", f"is longer than {_LONGEST_PREFIX_BYTES} bytes: {prefix!r:.80}")
        return prefix

    def _read_size(self, key: str) -> int:
        value: Any = self.context.configure.get(key, -1)
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or not (value == -1 or 1 <= value <= _LARGEST_PX):
            raise self.context.error(
                key, f"expected pixels from 1 to {_LARGEST_PX}, or -1 for the frame's, got {value!r}"
            )
        return int(value)

    def _required(self, key: str, choices: tuple[str, ...]) -> str:
        if key not in self.context.configure:
            raise self.context.error(
                key, f"is needed for encode_type {self._type}", cure=f"use one of {', '.join(choices)}"
            )
        return read_choice(self.context, key, choices, default=choices[0])

    def _read_ip(self) -> tuple[str, str]:
        """Who pushes, with the ``@`` (empty for nobody), and the host; a password may hold any character but spaces."""
        value: Any = self.context.configure.get("ip", "localhost")
        login, at, host = value.rpartition("@") if isinstance(value, str) else ("", "", value)
        if not isinstance(host, str) or not _HOST.fullmatch(host) or not _LOGIN.fullmatch(login):
            shown = f"{'***' + at if at else ''}{host}"
            raise self.context.error(
                "ip",
                f"expected a host's name or address, got {shown!r:.80}",
                cure="e.g. '192.0.2.1', or 'user:password@' before it",
            )
        return login + at, host

    def _read_text(self, key: str, default: str, form: re.Pattern[str], noun: str) -> str:
        value = self.context.configure.get(key, default)
        if not isinstance(value, str) or not form.fullmatch(value):
            raise self.context.error(key, f"expected {noun}, got {value!r:.80}")
        return value


ELEMENT = Encode
