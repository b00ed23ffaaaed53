"""MANSCDP: the XML that GB/T 28181 puts into MESSAGE bodies; what platforms send us and expect of us."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from xml.sax.saxutils import escape

_DECLARATION = re.compile(r"\A\s*<\?xml[^>]*\?>")
_ENCODING = re.compile(rb"encoding\s*=\s*[\"']([A-Za-z0-9._-]{1,20})[\"']")
_SOURCE_ENDED = "121"
_SHORT = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What a MESSAGE says.

    Attributes:
        kind: ``Query``, ``Notify``, ``Control`` or ``Response``.
        name: its CmdType, e.g. ``Catalog``.
        serial: its SN, which the answer repeats.
        device_id: who is meant, or who speaks.
        notify_type: of a MediaStatus; empty otherwise.
    """

    kind: str
    name: str
    serial: str = ""
    device_id: str = ""
    notify_type: str = ""

    @property
    def source_ended(self) -> bool:
        """The device says that it has sent all there is."""
        return self.name == "MediaStatus" and self.notify_type == _SOURCE_ENDED


def parse(body: bytes) -> Command | None:
    """Reads a body; ``None`` for what is not MANSCDP. Entities are not expanded: no command needs them."""
    if b"<!" in body:
        return None
    text = _DECLARATION.sub("", _decoded(body)).replace("\0", "").strip()
    try:
        root = ET.fromstring(text)  # noqa: S314 - no entities get here  # nosec B314
    except (ET.ParseError, ValueError):
        return None
    return Command(
        kind=root.tag,
        name=_child(root, "CmdType"),
        serial=_child(root, "SN"),
        device_id=_child(root, "DeviceID"),
        notify_type=_child(root, "NotifyType"),
    )


def _decoded(body: bytes) -> str:
    """As the declaration says; GB 18030, which includes GB2312 and GBK, unless it is UTF-8."""
    found = _ENCODING.search(body[:200])
    if found is not None and found[1].lower() in (b"utf-8", b"utf8"):
        return body.decode("utf-8", "replace")
    return body.decode("gb18030", "replace")


def _child(root: ET.Element, name: str) -> str:
    return (root.findtext(name) or "").strip()[:_SHORT]


def keepalive(serial: int, us: str) -> bytes:
    """We are well."""
    return _document("Notify", "Keepalive", str(serial), us, "<Status>OK</Status>")


def answer(query: Command, us: str) -> bytes | None:
    """The Response to a platform's Query: we are one device without channels; ``None`` where none is expected."""
    contents = _ANSWERS.get(query.name) if query.kind == "Query" else None
    if contents is None:
        return None
    return _document("Response", query.name, query.serial, query.device_id or us, contents)


_ANSWERS = {
    "Catalog": '<SumNum>0</SumNum>\r\n<DeviceList Num="0"></DeviceList>',
    "DeviceInfo": "<Result>OK</Result>\r\n<DeviceName>stream-server</DeviceName>\r\n"
    "<Manufacturer>stream-server</Manufacturer>\r\n<Model>stream-server</Model>\r\n<Channel>0</Channel>",
    "DeviceStatus": "<Result>OK</Result>\r\n<Online>ONLINE</Online>\r\n<Status>OK</Status>",
    "RecordInfo": '<Name>stream-server</Name>\r\n<SumNum>0</SumNum>\r\n<RecordList Num="0"></RecordList>',
}


def _document(kind: str, name: str, serial: str, device_id: str, contents: str) -> bytes:
    lines = [
        '<?xml version="1.0" encoding="GB2312"?>',
        f"<{kind}>",
        f"<CmdType>{name}</CmdType>",
        f"<SN>{escape(serial)}</SN>",
        f"<DeviceID>{escape(device_id)}</DeviceID>",
        contents,
        f"</{kind}>",
        "",
    ]
    return "\r\n".join(lines).encode("gb18030")
