"""``vote``: what was read of a track in its last frames decides what is said of it now. Keys: docs/elements.md.

Stands behind a converger, where a frame has its parts with their texts again, in order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from streamserver.core.objects import Recognition
from streamserver.core.plates import UNREADABLE, PlateRule, is_plate, is_whole, same_plate, tidy
from streamserver.core.votes import Votes
from streamserver.elements._model import read_choice, read_count, read_share
from streamserver.engine.element import Element, ElementContext, Emit
from streamserver.engine.frame import Frame

_WINDOW = 30
_FORGET_FRAMES = 60
_RULES: dict[str, PlateRule | None] = {"none": None, "cn": "cn", "any": "any"}
_UNLIKELY = 0.05
"""How much of its weight a reading keeps that cannot be a plate's, or of an object that the picture's edge cuts off: it
wins only where there is nothing better."""
_TURN = 3
"""So many whole readings in a row of one other text, and the track has gone over to another object: where the next car
stops in the place of the last, trackers often see one."""


@dataclass(slots=True)
class _Track:
    """The votes of one track and when it was last seen; the last ``strays`` whole readings are of the text ``stray``.

    A stray reading is one that cannot be a misread of what has won so far.
    """

    votes: Votes
    last_seen: int
    stray: str = ""
    strays: int = 0

    def watch(self, text: str) -> None:
        """Looks whether a whole reading, already counted, says that the track shows another object by now."""
        if same_plate(text, self.votes.winner()[0]):
            self.strays = 0
            return
        self.strays = self.strays + 1 if self.strays and same_plate(text, self.stray) else 1
        self.stray = text
        if self.strays >= _TURN:
            self.votes.keep_last(_TURN)
            self.strays = 0


class Vote(Element):
    """Replaces the first recognition of each part that belongs to a track by the one that its votes are for.

    What it remembers of a channel is dropped at a discontinuity and at the channel's end; of a track, when it has not
    been seen for a while.
    """

    def __init__(self, context: ElementContext) -> None:
        super().__init__(context)
        self._window = read_count(context, "window", default=_WINDOW, least=1, most=1000)
        self._forget_frames = read_count(context, "forget_frames", default=_FORGET_FRAMES, least=1)
        self._min_score = read_share(context, "min_score", context.configure.get("min_score", 0.0))
        self._rule = _RULES[read_choice(context, "plates", tuple(_RULES), default="none")]
        self._tracks: dict[int, dict[int, _Track]] = {}

    def process(self, frame: Frame, emit: Emit) -> None:
        """Counts what the frame's parts say, and has them say what won."""
        if frame.discontinuity:
            self._tracks.pop(frame.channel_id, None)
        tracks = self._tracks.setdefault(frame.channel_id, {})
        for part in frame.sub_frames:
            if part.track_id > 0 and part.recognitions:
                share = 1.0 if _is_whole(frame, part) else _UNLIKELY
                part.recognitions = self._voted(part, tracks, share)
        for track_id in [i for i, track in tracks.items() if frame.sequence - track.last_seen >= self._forget_frames]:
            del tracks[track_id]
        emit(frame)

    def end_of_stream(self, frame: Frame, emit: Emit) -> None:
        """Forgets the channel."""
        self._tracks.pop(frame.channel_id, None)
        emit(frame)

    def _voted(self, part: Frame, tracks: dict[int, _Track], share: float) -> Sequence[Recognition]:
        said = part.recognitions
        track = tracks.get(part.track_id)
        if track is None:
            track = tracks[part.track_id] = _Track(Votes(window=self._window), part.sequence)
        track.last_seen = part.sequence
        self._count(said[0], track, share)
        text, weight = track.votes.winner()
        if not text:
            return said
        scores = (min(1.0, weight),) if said[0].scores else ()
        return (dataclasses.replace(said[0], label=text, scores=scores), *said[1:])

    def _count(self, said: Recognition, track: _Track, share: float) -> None:
        """One vote, as heavy as the reader was sure (1 from a reader that does not say), times ``share``."""
        weight = said.scores[0] if said.scores else 1.0
        if said.label in UNREADABLE or weight < self._min_score:
            return
        text = said.label if self._rule is None else tidy(said.label, self._rule)
        if self._rule is not None and not is_plate(text, self._rule):
            share *= _UNLIKELY
        if text:
            track.votes.add(text, weight * share)
            if share == 1.0:
                track.watch(text)


def _is_whole(frame: Frame, part: Frame) -> bool:
    row = part.sub_id - len(frame.faces)
    if frame.picture is None or not 0 <= row < len(frame.detections):
        return True
    return is_whole(frame.detections.boxes_xyxy[row].tolist(), frame.picture.size_wh)


ELEMENT = Vote
