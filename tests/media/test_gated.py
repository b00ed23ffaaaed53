from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from streamserver.core.source_monitor import SourceMonitor
from streamserver.media import gated as gated_module
from streamserver.media.av_reader import VideoReader
from streamserver.media.connection import Luma, Moment
from streamserver.media.gate import GateSpec
from streamserver.media.gated import Decoder, Gated

RATE = 25
GROUP = 50


@dataclass(frozen=True)
class Packet:
    """One picture: its place in the order in which pictures are shown, and what it shows."""

    pts: int | None
    dts: int | None
    is_keyframe: bool = False
    shows: int = 0
    size: int = 1000
    time_base: Fraction = Fraction(1, RATE)


class MadeUpDecoder:
    """Holds ``delay`` pictures back to bring them in order, and gives none before a key frame has come."""

    def __init__(self, delay: int = 0) -> None:
        self._delay, self._held, self._ready = delay, list[Packet](), False
        self.decoded = 0

    def decode(self, packet: Packet) -> list[Packet]:
        self._ready = self._ready or packet.is_keyframe
        assert self._ready, "a picture was to be decoded without its key frame"
        self.decoded += 1
        self._held = sorted([*self._held, packet], key=lambda held: held.pts or 0)
        ready, self._held = self._held[: len(self._held) - self._delay], self._held[len(self._held) - self._delay :]
        return ready if self._delay or not ready else [packet]

    def rest(self) -> list[Packet]:
        held, self._held, self._ready = self._held, [], False
        return held


def luma(packet: Packet) -> Luma:
    seen = np.full((40, 60), 100, np.uint8)
    if packet.shows:
        seen[10:20, packet.shows % 50 : packet.shows % 50 + 5] = 200
    return seen


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Show:
    """A stream that is fed at its pace; what came of it, and when."""

    def __init__(self, *, hold_s: float = 3.0, delay: int = 0) -> None:
        self.clock, self.monitor, self.decoder = Clock(), SourceMonitor(), MadeUpDecoder(delay)
        ways = Decoder(self.decoder.decode, self.decoder.rest, luma)
        spec = GateSpec(hold_s=hold_s)
        self.gated = Gated(spec, ways, rate=RATE, monitor=self.monitor, clock=self.clock)
        self.given: list[tuple[Packet, Moment]] = []

    def feed(self, packets: Iterator[Packet] | list[Packet]) -> Show:
        for packet in packets:
            self.clock.now += 1 / RATE
            self.given += self.gated.take(packet)
        self.given += self.gated.finish()
        return self

    @property
    def numbers(self) -> list[int]:
        return [moment.number for _, moment in self.given]


def stream(frames: int, moving: list[range], *, group: int = GROUP) -> list[Packet]:
    return [Packet(n, n, n % group == 0, shows=n if any(n in part for part in moving) else 0) for n in range(frames)]


def reordered(packets: list[Packet], *, open_groups: bool) -> list[Packet]:
    """As an encoder with two B frames sends them; in open groups they refer to the key frame that follows them, too."""
    sent = list[Packet]()
    for at in range(0, len(packets), 3):
        three = packets[at : at + 3]
        sent += [three[-1], *three[:-1]] if open_groups or at % GROUP else three
    return [Packet(p.pts, order - 2, is_keyframe=order % GROUP == 0, shows=p.shows) for order, p in enumerate(sent)]


def test_at_rest_only_key_frames_are_decoded_and_with_motion_all_since_the_one_before() -> None:
    show = Show().feed(stream(1000, [range(530, 560)]))
    at_rest = [moment.number for _, moment in show.given if moment.at_rest]
    assert at_rest == [*range(0, 501, 50), *range(650, 1000, 50)]
    assert show.numbers == [*range(0, 501, 50), *range(501, 650), *range(650, 1000, 50)]
    assert [moment.number for _, moment in show.given if moment.late] == list(range(501, 550))
    assert all(packet.pts == moment.number for packet, moment in show.given)


def test_each_picture_has_the_time_at_which_it_came_however_late_it_is() -> None:
    show = Show().feed(stream(1000, [range(530, 560)]))
    assert [moment.arrived for _, moment in show.given] == pytest.approx(
        [1000 + (number + 1) / RATE for number in show.numbers], abs=0.01
    )


@pytest.mark.parametrize("seed", range(25))
def test_no_picture_comes_twice_and_none_is_missing_after_the_key_frame_before_a_motion(seed: int) -> None:
    chance = random.Random(seed)
    group, delay = chance.choice([10, 25, 50, 120]), chance.choice([0, 0, 2])
    starts = [chance.randrange(200, 4000) for _ in range(chance.randrange(1, 5))]
    moving = [range(start, start + chance.randrange(group, 200)) for start in starts]
    show = Show(hold_s=chance.choice([1.0, 3.0]), delay=delay).feed(stream(4000, moving, group=group))
    assert show.numbers == sorted(set(show.numbers)), "in order, none twice"
    assert all(packet.pts == moment.number for packet, moment in show.given)
    times = [moment.arrived for _, moment in show.given]
    assert times == sorted(times)
    given = set(show.numbers)
    for part in moving:
        key = (part.start - 1) // group * group
        assert set(range(key, min(part.stop, 4000))) <= given
    assert len(given) < 4000


def test_pictures_before_an_open_groups_key_frame_are_left_out_and_counted() -> None:
    sent = reordered(stream(600, []), open_groups=True)
    moved = [Packet(p.pts, p.dts, p.is_keyframe, shows=(p.pts or 0) if (p.pts or 0) > 455 else 0) for p in sent]
    show = Show(delay=2).feed(moved)
    assert show.numbers == sorted(set(show.numbers))
    late = [packet.pts for packet, moment in show.given if moment.late and packet.pts is not None]
    assert late == sorted(late)
    assert min(late) > 400


def test_a_key_frame_that_cannot_be_decoded_is_passed_over() -> None:
    show = Show()
    decode = show.decoder.decode
    packets = stream(800, [range(560, 620)])

    def broken(packet: Packet) -> list[Packet]:
        return [] if packet.pts == 550 else decode(packet)

    show.gated._decoder = Decoder(broken, show.decoder.rest, luma)
    show.feed(packets)
    assert show.numbers == sorted(set(show.numbers))
    assert [packet.pts for packet, moment in show.given if moment.at_rest][:11] == list(range(0, 501, 50))
    assert set(range(551, 620)) <= set(show.numbers), "but for the broken one, which is one number less"


def test_streams_without_timestamps_count_on() -> None:
    bare = [Packet(None, None, p.is_keyframe, p.shows) for p in stream(600, [range(330, 360)])]
    show = Show().feed(bare)
    assert show.numbers == Show().feed(stream(600, [range(330, 360)])).numbers
    assert set(range(301, 360)) <= set(show.numbers)


def test_groups_that_are_too_long_to_be_kept_leave_the_gate_open_and_are_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    show = Show().feed(stream(3000, [], group=500))
    assert show.numbers == list(range(3000))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "the motion gate stays open" in caplog.text


def test_a_stream_whose_key_frames_stay_away_is_decoded_from_the_last_one_on(caplog: pytest.LogCaptureFixture) -> None:
    show = Show().feed(stream(400, []) + [Packet(n, n) for n in range(400, 1400)])
    last_key = show.numbers.index(350)
    assert show.numbers[last_key:] == list(range(350, 1400))
    assert "no key frame within" in caplog.text


def test_what_is_kept_stays_below_a_limit_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gated_module, "LARGEST_GROUP_BYTES", 30_000)
    assert Show().feed(stream(500, [])).numbers == list(range(500))


def test_of_pictures_that_are_all_key_frames_one_a_second_is_decoded() -> None:
    show = Show().feed(stream(500, [range(310, 330)], group=1))
    assert [moment.number for _, moment in show.given if moment.at_rest][:3] == [0, 25, 50]
    assert set(range(301, 330)) <= set(show.numbers)


def test_packets_that_become_larger_open_the_gate_between_two_key_frames() -> None:
    packets = stream(1000, [range(810, 835)])
    larger = [Packet(p.pts, p.dts, p.is_keyframe, p.shows, 3000 if p.shows else p.size) for p in packets]
    assert not set(range(810, 835)) & set(Show().feed(packets).numbers)
    assert set(range(801, 835)) <= set(Show().feed(larger).numbers)


def test_larger_packets_that_show_nothing_change_nothing() -> None:
    packets = stream(1000, [])
    larger = [Packet(p.pts, p.dts, p.is_keyframe, 0, 3000 if 810 <= (p.pts or 0) < 835 else p.size) for p in packets]
    assert Show().feed(larger).numbers == Show().feed(packets).numbers


def test_the_monitor_knows_whether_it_is_open_and_that_packets_come() -> None:
    show = Show()
    seen = []
    for packet in stream(300, [range(120, 160)]):
        show.clock.now += 1 / RATE
        list(show.gated.take(packet))
        seen.append(show.monitor.report().gate)
    assert (seen[0], seen[155], seen[-1]) == ("idle", "open", "idle")


def test_what_moves_when_the_stream_begins_is_decoded_late_and_wholly() -> None:
    show = Show().feed(stream(200, [range(90)]))
    assert show.numbers[:150] == list(range(150))


def test_nothing_is_decoded_before_the_first_key_frame() -> None:
    show = Show().feed(stream(200, [])[1:])
    assert [(packet.pts, moment.number) for packet, moment in show.given] == [(50, 49), (100, 99), (150, 149)]


def test_what_happens_at_the_end_of_a_recording_is_seen_without_another_key_frame() -> None:
    show = Show().feed(stream(540, [range(510, 540)]))
    assert show.numbers[-39:] == list(range(501, 540))


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("libx264", {"bf": "0"}),
        ("libx264", {"bf": "3"}),
        ("libx264", {"bf": "3", "x264-params": "open-gop=1"}),
        ("libx265", {"x265-params": "bframes=3:open-gop=1:keyint=20:min-keyint=20:scenecut=0:log-level=none"}),
    ],
    ids=["h264", "h264 with B frames", "h264 open groups", "h265 open groups"],
)
def test_real_streams_give_the_pictures_that_full_decoding_gives(
    tmp_path: Path, codec: str, options: dict[str, str]
) -> None:
    path = write_event(tmp_path / "event.mp4", codec, options)
    with VideoReader(str(path)) as reader:
        everything = {frame.pts: frame.to_ndarray(format="gray") for frame in reader.frames()}
    with VideoReader(str(path), gate=GateSpec(hold_s=1.0)) as reader:
        some = [(decoded, frame) for decoded, frame in _with_frames(reader)]
    places = {pts: place for place, pts in enumerate(everything)}
    assert len(everything) == 200
    assert 40 < len(some) < 150
    for moment, frame in some:
        assert np.array_equal(frame.to_ndarray(format="gray"), everything[frame.pts])
        assert frame.time == pytest.approx(places[frame.pts] / 10, abs=0.21), "B frames may shift it by two"
        if not moment.at_rest:
            assert places[frame.pts] == moment.number
    shown = {places[frame.pts] for _, frame in some}
    assert set(range(125, 146)) <= shown


def _with_frames(reader: VideoReader) -> Iterator[tuple[Moment, av.VideoFrame]]:
    for frame, moment in reader._frames():
        assert moment is not None
        yield moment, frame


def write_event(path: Path, codec: str, options: dict[str, str]) -> Path:
    """10 frames a second, a key frame every 2 s; something white goes by in frames 125 to 145 of 200."""
    grain = np.random.default_rng(1).normal(0, 2, (96, 160, 1))
    with av.open(str(path), "w") as container:
        common = {"g": "20", "keyint_min": "20", "sc_threshold": "0", "preset": "ultrafast"}
        stream = container.add_stream(codec, rate=10, options=common | options)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for number in range(200):
            image = np.full((96, 160, 3), 90, np.float64) + np.roll(grain, number * 7, axis=1)
            if 125 <= number <= 145:
                image[30:70, (number - 125) * 6 : (number - 125) * 6 + 24] = 220
            frame = av.VideoFrame.from_ndarray(np.clip(image, 0, 255).astype(np.uint8), format="bgr24")
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode(None))
    return path
