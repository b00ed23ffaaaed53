"""The demo file (``*_demo.json``): which streams run through which graphs (CONTRACT 1.1 and 1.2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

from streamserver.core.errors import AddressError, GraphError
from streamserver.core.files import write_json
from streamserver.core.pictures_address import DEFAULT_PORT, parse_pictures
from streamserver.core.slips import nearest
from streamserver.core.urls import LIVE_SOURCE_TYPES, has_end, local_path, source_type
from streamserver.graph.fields import Fields, load_json, show
from streamserver.graph.gate import Gate

SOURCE_TYPES = frozenset({"VIDEO", "IMG_DIR", "BASE64", *LIVE_SOURCE_TYPES})
"""What ``source_type`` may be; ``HTTP``, ``UDP`` and ``SRT`` are ours."""

DEFAULT_FPS = 30
TRANSPORTS = ("", "auto", "tcp", "udp")
DETECTOR_CHOICES = ("", "auto", "model", "motion")

_Part = TypeVar("_Part")
_SCHEME_BOUND = frozenset({"RTSP", "RTMP", "GB28181", "HTTP", "UDP", "SRT"})


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAddress:
    """The ``http_report`` or ``http_listen`` object."""

    ip: str
    port: int
    path: str
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_fields(cls, fields: Fields) -> Self:
        """Reads the object; all three keys are required."""
        port = fields.integer("port", low=1)
        if port > 65535:
            fields.fail("port", f"{port} is no port", cure="use 1 to 65535")
        return cls(
            ip=fields.text("ip"),
            port=port,
            path=fields.text("path", allow_empty=True),
            extra=_others(cls, fields),
        )

    def to_json(self) -> dict[str, Any]:
        """The object as in the file."""
        return {"ip": self.ip, "port": self.port, "path": self.path, **self.extra}


@dataclass(frozen=True, slots=True, kw_only=True)
class Roi:
    """The part of each frame that decode keeps, in pixels of the source; everything after sees only this part."""

    left: int
    top: int
    width: int
    height: int
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_fields(cls, fields: Fields) -> Self:
        """Reads the object; all four keys are required."""
        return cls(
            left=fields.integer("left", low=0),
            top=fields.integer("top", low=0),
            width=fields.integer("width", low=1),
            height=fields.integer("height", low=1),
            extra=_others(cls, fields),
        )

    def to_json(self) -> dict[str, Any]:
        """The object as in the file."""
        return {"left": self.left, "top": self.top, "width": self.width, "height": self.height, **self.extra}


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One stream.

    Attributes:
        channel_id: unique in the demo file.
        url: file, folder, device or stream address, or the path of an endpoint for pictures; may hold a password.
        source_type: one of ``SOURCE_TYPES``.
        graph_id: the graph it runs through.
        decode_id: the source element it enters at; -1 where the graph has only one.
        loop_num: as in the file; see ``loops``.
        fps: pacing in frames a second where the stream has no rate of its own; -1 as fast as it goes.
        sample_interval: each n-th frame is processed; at least 1.
        sample_strategy: ``DROP`` leaves the other frames out, ``KEEP`` passes them on unprocessed.
        skip_element: ids of osd and encode elements that this channel passes untouched.
        roi: what decode crops each frame to; ``None`` for the whole frame.
        gate: ours: decodes only key frames while nothing moves; ``None`` for everything always.
        transport: ours: ``tcp`` or ``udp`` for the media of RTSP and GB28181; ``auto`` or empty for TCP first.
        base64_port: where a ``BASE64`` source listens when its ``url`` is only a path.
        extra: keys that nobody knows, kept for writing back.
    """

    channel_id: int
    url: str
    source_type: str
    graph_id: int = 0
    decode_id: int = -1
    loop_num: int = 1
    fps: float = DEFAULT_FPS
    sample_interval: int = 1
    sample_strategy: str = "DROP"
    skip_element: tuple[int, ...] = ()
    roi: Roi | None = None
    gate: Gate | None = None
    transport: str = ""
    base64_port: int = DEFAULT_PORT
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_fields(cls, fields: Fields, *, default_id: int) -> Self:
        """Reads one entry of ``channels``; ``default_id`` is its channel_id when it names none."""
        channel = cls(
            channel_id=fields.integer("channel_id", default_id),
            url=fields.text("url"),
            source_type=fields.text("source_type"),
            graph_id=fields.integer("graph_id", 0),
            decode_id=fields.integer("decode_id", -1),
            loop_num=fields.integer("loop_num", 1, low=-1),
            fps=fields.number("fps", DEFAULT_FPS),
            sample_interval=max(1, fields.integer("sample_interval", 1, low=0)),
            sample_strategy="KEEP" if fields.text("sample_strategy", "DROP") == "KEEP" else "DROP",
            skip_element=fields.integers("skip_element"),
            roi=_sub_object(fields, "roi", Roi.from_fields),
            gate=_sub_object(fields, "gate", Gate.from_fields),
            transport=fields.text("transport", "", allow_empty=True),
            base64_port=fields.integer("base64_port", DEFAULT_PORT, low=1),
            extra=_others(cls, fields),
        )
        channel._check(fields)
        return channel

    @property
    def is_live(self) -> bool:
        """True for a source with a clock of its own."""
        return self.source_type in LIVE_SOURCE_TYPES

    @property
    def newest_wins(self) -> bool:
        """True where who falls behind loses pictures: of a recording, as of a file, none is left out."""
        return self.is_live and not has_end(self.url)

    @property
    def address(self) -> str:
        """What is read: ``url``, completed where that is only the path of an endpoint for pictures."""
        bare = self.source_type == "BASE64" and "://" not in self.url
        return f"base64://127.0.0.1:{self.base64_port}/{self.url.lstrip('/')}" if bare else self.url

    @property
    def loops(self) -> int | None:
        """How often the source is played; ``None`` is for ever, as all are that no file or folder stands behind.

        ``loop_num`` 0 is for ever; -1 plays a ``VIDEO`` once and an ``IMG_DIR`` for ever, as in sophon-stream.
        """
        if self._is_fed or self.loop_num == 0 or (self.loop_num < 0 and self.source_type == "IMG_DIR"):
            return None
        return max(1, self.loop_num)

    def path(self, base_dir: Path) -> Path | None:
        """The file or folder that is read, from ``base_dir`` on if it is relative; ``None`` for another address."""
        path = local_path(self.url)
        remote = path == self.url and "://" in path
        return None if self._is_fed or remote else base_dir / path

    def to_json(self) -> dict[str, Any]:
        """The entry as in the file; optional keys at their defaults are left out."""
        entry: dict[str, Any] = {
            "channel_id": self.channel_id,
            "url": self.url,
            "source_type": self.source_type,
            "graph_id": self.graph_id,
            "loop_num": self.loop_num,
            "fps": self.fps,
            "sample_interval": self.sample_interval,
        }
        if self.decode_id != -1:
            entry["decode_id"] = self.decode_id
        if self.sample_strategy != "DROP":
            entry["sample_strategy"] = self.sample_strategy
        if self.skip_element:
            entry["skip_element"] = list(self.skip_element)
        if self.roi is not None:
            entry["roi"] = self.roi.to_json()
        if self.gate is not None:
            entry["gate"] = self.gate.to_json()
        if self.transport:
            entry["transport"] = self.transport
        if self.base64_port != DEFAULT_PORT:
            entry["base64_port"] = self.base64_port
        return {**entry, **self.extra}

    def _check(self, fields: Fields) -> None:
        if self.source_type not in SOURCE_TYPES:
            cure = f"use one of {', '.join(sorted(SOURCE_TYPES))}"
            fields.fail("source_type", f"{show(self.source_type)} is unknown", cure=cure)
        told = source_type(self.url)
        if told != self.source_type and (self.source_type in _SCHEME_BOUND or self._is_stream_as_folder(told)):
            fields.fail(
                "url", f"{show(self.url)} is not of source_type {self.source_type}", cure="correct one of the two"
            )
        if self.source_type == "CAMERA" and not self.url.startswith("/dev/"):
            fields.fail("url", f"{show(self.url)} is no camera", cure="write /dev/video0 or the like")
        if self.source_type == "BASE64":
            self._check_pictures(fields)
        if self.transport not in TRANSPORTS:
            fields.fail("transport", f"got {show(self.transport)}", cure="use tcp, udp or auto")
        if self.fps != -1 and self.fps <= 0:
            fields.fail("fps", f"got {show(self.fps)}", cure="use a positive number, or -1 for as fast as it goes")

    @property
    def _is_fed(self) -> bool:
        """Whether pictures come by themselves, now and then or always."""
        return self.is_live or self.source_type == "BASE64"

    def _check_pictures(self, fields: Fields) -> None:
        if self.base64_port > 65535:
            fields.fail("base64_port", f"{self.base64_port} is no port", cure="use 1 to 65535")
        try:
            parse_pictures(self.address)
        except AddressError as e:
            fields.fail("url", f"{show(self.url)}: {e.message}", cure=e.cure)

    def _is_stream_as_folder(self, told: str) -> bool:
        return self.source_type == "IMG_DIR" and told in _SCHEME_BOUND


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """A demo file.

    Attributes:
        channels: the streams.
        engine_config_path: the graph file, relative to the process's working directory.
        http_report: where errors are posted; ``None`` for nowhere.
        http_listen: where the engine takes commands; ``None`` for its default.
        download_image: also draw each result into ``./results``.
        draw_func_name: how.
        class_names: file of class names for the drawing; empty for none.
        detector: ours: which detector runs (``auto``, ``model``, ``motion``); empty for the model, as in sophon-stream.
        extra: keys that nobody knows, kept for writing back.
    """

    channels: tuple[Channel, ...]
    engine_config_path: str
    http_report: HttpAddress | None = None
    http_listen: HttpAddress | None = None
    download_image: bool = False
    draw_func_name: str = "default"
    class_names: str = ""
    detector: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: Any, *, file: str) -> Self:
        """Reads the parsed content of a demo file.

        Raises:
            GraphError: a key is missing, wrong or contradicts another; names ``file``, key and value.
        """
        if isinstance(value, list):
            cure = "name the demo file, whose engine_config_path leads to it"
            raise GraphError(f"{file}: is an array, as graph files are", cure=cure)
        fields = Fields(value, where=file)
        detector = fields.text("detector", "")
        if detector not in DETECTOR_CHOICES:
            fields.fail("detector", f"got {show(detector)}", cure="use auto, model or motion")
        return cls(
            channels=_read_channels(fields),
            engine_config_path=fields.text("engine_config_path"),
            http_report=_sub_object(fields, "http_report", HttpAddress.from_fields),
            http_listen=_sub_object(fields, "http_listen", HttpAddress.from_fields),
            download_image=fields.boolean("download_image", False),
            draw_func_name=fields.text("draw_func_name", "default"),
            class_names=fields.text("class_names", ""),
            detector=detector,
            extra=_others(cls, fields),
        )

    def to_json(self) -> dict[str, Any]:
        """The content of the file; optional keys at their defaults are left out."""
        content: dict[str, Any] = {"channels": [channel.to_json() for channel in self.channels]}
        content["engine_config_path"] = self.engine_config_path
        if self.http_report is not None:
            content["http_report"] = self.http_report.to_json()
        if self.http_listen is not None:
            content["http_listen"] = self.http_listen.to_json()
        if self.download_image:
            content["download_image"] = True
        texts = {"draw_func_name": self.draw_func_name, "class_names": self.class_names, "detector": self.detector}
        content |= {key: text for key, text in texts.items() if text not in ("", "default")}
        return {**content, **self.extra}


def read_demo(path: Path) -> Demo:
    """Reads a demo file.

    Raises:
        GraphError: it is absent, not JSON or wrong; the message names file, key and value.
    """
    return Demo.from_json(load_json(path), file=str(path))


def survey_demo(path: Path) -> tuple[Demo | None, str, list[GraphError]]:
    """All that is wrong with a demo file, one error for each channel or other key at fault.

    Returns:
        The demo, without the channels at fault; ``None`` when more than channels is. The graph file that it names, also
        then; empty when it names none. And the errors.
    """
    errors: list[GraphError] = []
    good: list[Any] = []
    try:
        content = load_json(path)
        fields = Fields(content, where=str(path))
        entries = fields.items("channels")
    except GraphError as e:
        return None, "", [e]
    for index, entry in enumerate(entries):
        try:
            Channel.from_fields(Fields(entry, where=f"{path}: channels[{index}]"), default_id=index)
            good.append(entry)
        except GraphError as e:
            errors.append(e)
    named = content.get("engine_config_path")
    try:
        demo = Demo.from_json({**content, "channels": good}, file=str(path))
    except GraphError as e:
        return None, named if isinstance(named, str) else "", [*errors, e]
    return demo, demo.engine_config_path, errors


def slips(demo: Demo) -> list[str]:
    """One sentence for each key that nobody reads and that looks like one that is read."""
    found = [(f"channel {channel.channel_id}: ", Channel, channel.extra) for channel in demo.channels]
    return [
        f"{place}'{key}' is no key; did you mean '{near}'?"
        for place, kind, extra in [("", Demo, demo.extra), *found]
        for key in extra
        if (near := nearest(key, _keys(kind)))
    ]


def write_demo(demo: Demo, path: Path) -> None:
    """Writes ``demo`` so that ``read_demo`` gives an equal one; atomically."""
    write_json(path, demo.to_json(), indent=2)


def _read_channels(fields: Fields) -> tuple[Channel, ...]:
    """The channels; entries without a channel_id get 0, 1, 2, … in their order, whatever the others are called."""
    channels: dict[int, Channel] = {}
    unnamed = 0
    for index, entry in enumerate(fields.items("channels")):
        place = Fields(entry, where=f"{fields.where}: channels[{index}]")
        channel = Channel.from_fields(place, default_id=unnamed)
        unnamed += "channel_id" not in place
        if channel.channel_id in channels:
            place.fail("channel_id", f"{channel.channel_id} is taken by another channel", cure="give each its own")
        channels[channel.channel_id] = channel
    return tuple(channels.values())


def _sub_object(fields: Fields, key: str, read: Callable[[Fields], _Part]) -> _Part | None:
    return read(Fields(fields.mapping(key), where=f"{fields.where}: {key}")) if key in fields else None


def _others(kind: type[Any], fields: Fields) -> dict[str, Any]:
    """The keys of the object that ``kind`` has no attribute for."""
    return fields.others(_keys(kind))


def _keys(kind: type[Any]) -> frozenset[str]:
    """The keys that ``kind`` reads."""
    return frozenset(attribute.name for attribute in dataclasses.fields(kind)) - {"extra"}
