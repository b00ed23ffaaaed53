"""``decode``: where channels enter the graph; reads files, folders of pictures and live streams.

Its ``configure`` is not looked at.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Hashable, Iterator

from streamserver.core.arrays import ImageBgr
from streamserver.core.errors import GraphError
from streamserver.core.outgoing import Policy
from streamserver.core.picture import Picture, Planes
from streamserver.core.source_monitor import SourceMonitor
from streamserver.engine.element import Channel, SourceElement
from streamserver.media.gate import GateSpec
from streamserver.media.sources import SourceFrame, SourceSpec, open_source


class Decode(SourceElement):
    """Reads the channels of its graph; a channel's ``roi`` is cut out here, so all that follows sees only that part."""

    light = True

    def source_key(self, channel: Channel) -> Hashable:
        """Everything that the reading depends on; ``sample_interval`` is each channel's own."""
        roi = channel.roi
        part = (roi.left, roi.top, roi.width, roi.height) if roi else None
        pace = (channel.loops, channel.fps)
        return (channel.address, channel.source_type, pace, channel.transport, part, channel.gate)

    def read(
        self,
        channel: Channel,
        *,
        start_loop: int,
        stopping: threading.Event,
        monitor: SourceMonitor,
    ) -> Iterator[SourceFrame]:
        """The frames of ``channel``, cut to its ``roi``."""
        settings = self.context.settings
        spec = SourceSpec(
            url=str(channel.path(self.context.base_dir) or channel.address),
            source_type=channel.source_type,
            loop_num=channel.loops or 0,
            fps=channel.fps,
            start_loop=start_loop,
            decoder=settings.decoder,
            transport=channel.transport or "auto",
            stalled_after_s=settings.stalled_after_s,
            frozen_after_s=settings.frozen_after_s,
            turnstile=settings.state_path / "connecting" if settings.state_path.is_dir() else None,
            connects_per_s=settings.connects_per_s,
            gate=_gate_of(channel),
            policy=Policy.from_settings(settings),
        )
        frames = open_source(spec, stopping=stopping, monitor=monitor)
        if channel.roi is None:
            return frames
        return (dataclasses.replace(frame, picture=_cut(frame.picture, channel)) for frame in frames)


def _gate_of(channel: Channel) -> GateSpec | None:
    """What the source's gate watches; areas are drawn on what the channel's ``roi`` leaves of the picture."""
    if channel.gate is None:
        return None
    left, top = (channel.roi.left, channel.roi.top) if channel.roi else (0, 0)
    areas = tuple(tuple((x + left, y + top) for x, y in area) for area in channel.gate.areas)
    return GateSpec(hold_s=channel.gate.hold_s, areas=areas)


def _cut(picture: Picture, channel: Channel) -> Picture:
    roi = channel.roi
    assert roi is not None
    width = min(roi.width, picture.size_wh[0] - roi.left)
    height = min(roi.height, picture.size_wh[1] - roi.top)
    if width <= 0 or height <= 0:
        raise GraphError(
            f"channel {channel.channel_id}: roi starts at ({roi.left}, {roi.top}), outside the frame of "
            f"{picture.size_wh[0]}x{picture.size_wh[1]}"
        )

    def load() -> ImageBgr:
        return picture.bgr[roi.top : roi.top + height, roi.left : roi.left + width]

    def load_planes() -> Planes | None:
        planes = picture.planes
        return None if planes is None else planes.cut(roi.left, roi.top, width, height)

    return Picture((width, height), load, load_planes=load_planes, part_of=picture)


ELEMENT = Decode
