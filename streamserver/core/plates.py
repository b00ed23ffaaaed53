"""Number plates as texts: what a Chinese one looks like, and which readings are of one and the same plate."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from streamserver.core.results import WireFrame, WireObject, objects_of

PROVINCES = "京沪津渝冀晋蒙辽吉黑苏浙皖闽赣鲁豫鄂湘粤桂琼川贵云藏陕甘青宁新"
"""The first characters of Chinese plates, in the order in which LPRNet numbers them."""

DIGITS = "0123456789"
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
"""No I and no O: on plates they would be taken for digits."""

LAST_CHARACTERS = "学警港澳挂领使"
"""What may stand at the end: learner, police, Hong Kong, Macao, trailer, consulate, embassy."""

SEPARATORS = " ·•.-_"
"""Marks between the characters, which belong to no plate's text."""

UNREADABLE = ("", "###")
"""What readers say when they see no text."""

PlateRule = Literal["cn", "any"]
"""Which texts are plates: Chinese ones, or any letters and digits."""

_CHINESE = re.compile(
    rf"[{PROVINCES}][A-Z](?:[A-Z0-9]{{4}}[A-Z0-9{LAST_CHARACTERS}]|[A-Z0-9]{{6}}|[0-9]{{4}}领)|[0-9]{{6}}使|使[0-9]{{6}}"
)
_ANY = re.compile(r"(?=.*\d)\w{4,12}")
_LOOKALIKES = str.maketrans("OI", "01")
_EDGE_PX, _EDGE_SHARE = 1, 0.1
"""How near to an edge a plate counts as cut off: in pixels, and as a share of its height."""

_NEAR = 2
"""Characters in which two readings of one track's plate may differ."""


def tidy(text: str, rule: PlateRule = "cn") -> str:
    """``text`` without separators and in capitals; Chinese plates have digits where O and I were read."""
    plain = "".join(character for character in text if character not in SEPARATORS).upper()
    return plain[:2] + plain[2:].translate(_LOOKALIKES) if rule == "cn" else plain


def is_plate(text: str, rule: PlateRule = "cn") -> bool:
    """Whether a tidied text can be a plate's.

    ``cn``: a province, a letter, and five characters, the last of which may be one of ``LAST_CHARACTERS``, or six, as
    electric cars have; or an embassy's. ``any``: four to twelve letters and digits, at least one digit.
    """
    return bool((_CHINESE if rule == "cn" else _ANY).fullmatch(text))


def same_plate(first: str, second: str) -> bool:
    """Whether two readings of one track differ so little that one of them is a misread."""
    return edits(first, second) <= _NEAR


def edits(first: str, second: str) -> int:
    """How many characters must be put in, taken out or replaced to make one text the other (Levenshtein)."""
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        above_left, row[0] = row[0], i
        for j, b in enumerate(second, 1):
            above_left, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above_left + (a != b))
    return row[-1]


@dataclass(frozen=True, slots=True)
class Sighting:
    """A plate in one frame.

    Attributes:
        text: what was read.
        track_id: of the object; ``None`` without a tracker.
        whole: not cut off by the edge of the picture, where half a plate may read like a whole one.
    """

    text: str
    track_id: int | None = None
    whole: bool = True


def is_whole(box_xyxy: Sequence[float], size_wh: tuple[int, int]) -> bool:
    """Whether a plate keeps clear of the edges of a picture; true where the size is not known (0, 0).

    Detectors place a plate that is cut off a little inside the picture, the larger the plate the more.
    """
    left, top, right, bottom = box_xyxy
    margin = max(_EDGE_PX, _EDGE_SHARE * (bottom - top))
    clear = min(left, top, size_wh[0] - right, size_wh[1] - bottom)
    return clear > margin or 0 in size_wh


@dataclass(frozen=True, slots=True)
class Plate:
    """A plate in one frame: its text, the object, its own picture (Base64, may be empty), whether no edge cuts it."""

    text: str
    found: WireObject
    picture_base64: str
    whole: bool = True

    @property
    def sighting(self) -> Sighting:
        """What a ``PlateBook`` wants to know."""
        return Sighting(self.text, self.found.track_id, self.whole)


def plates_of(json_data: Mapping[str, Any]) -> list[Plate]:
    """The plates of a posted frame that were read, each text once.

    ``mSubId`` says which object a part was cut from. The filter of a sophon-stream program leaves it as it was before
    objects were removed, but removes their parts, too; so where there are as many parts as objects, they are parallel.
    """
    objects, size_wh = objects_of(json_data), WireFrame.from_wire(json_data).size_wh
    parts = json_data.get("mSubObjectMetadatas") or []
    plates: dict[str, Plate] = {}
    for position, part in enumerate(parts):
        index = position if len(parts) == len(objects) else int(part.get("mSubId", -1))
        recognised = part.get("mRecognizedObjectMetadatas") or [{}]
        text = str(recognised[0].get("mLabelName") or "")
        if text not in UNREADABLE and 0 <= index < len(objects):
            picture = str((part.get("mFrame") or {}).get("mSpData") or "")
            whole = is_whole(objects[index].box_xyxy, size_wh)
            plates.setdefault(text, Plate(text, objects[index], picture, whole))
    return list(plates.values())


@dataclass(slots=True)
class _Known:
    """One plate: its text, how long it has been there and read alike, and whether it was reported."""

    text: str
    track_id: int | None
    last_step: int
    present: int = 1
    alike: int = 1
    reported: bool = False


class PlateBook:
    """Tells when a plate has been there for long enough, each plate once.

    A text of the same track that differs in a character or two is the same plate, misread before or now; so is the same
    text under another track number. A plate is not reported while the edge of the picture cuts it off, and forgotten
    once it was absent ``leave_frames`` processed frames in a row.

    Args:
        enter_frames: processed frames that a plate must have been there for, at least 1.
        leave_frames: processed frames in a row after which a plate is forgotten, at least 1.
        settle_frames: of the ``enter_frames``, the last ones, in which it must have been read alike.
        patient: absences shorter than ``leave_frames`` do not break the run before the report.
        rule: which texts are plates; others count as not read.
    """

    def __init__(
        self,
        *,
        enter_frames: int,
        leave_frames: int,
        settle_frames: int = 3,
        patient: bool = False,
        rule: PlateRule = "cn",
    ) -> None:
        self.enter_frames = max(1, enter_frames)
        self.leave_frames = max(1, leave_frames)
        self.settle_frames = max(1, min(settle_frames, self.enter_frames))
        self.patient = patient
        self.rule = rule
        self._known: list[_Known] = []
        self._last_step: int | None = None

    def __len__(self) -> int:
        """How many plates are remembered: those of the last ``leave_frames`` processed frames, at most."""
        return len(self._known)

    def update(self, step: int, sightings: Iterable[Sighting]) -> list[str]:
        """Takes the plates of one processed frame; returns the texts to report now, as they were given.

        Args:
            step: the number of the processed frame; it grows by 1 from one to the next. A smaller number than before
                means that the source started over, and everything is forgotten.
            sightings: what is there.
        """
        if self._last_step is not None and step < self._last_step:
            self._known.clear()
        self._last_step = step
        self._known = [known for known in self._known if step - known.last_step <= self.leave_frames]
        due = []
        for sighting, known in self._matched(step, list(sightings)):
            if self._renew(known, sighting, step) and not known.reported:
                known.reported = True
                due.append(sighting.text)
        return due

    def _matched(self, step: int, sightings: list[Sighting]) -> list[tuple[Sighting, _Known]]:
        """Each sighting with its plate, by track first, then by text; new plates are added to the book."""
        free = list(self._known)
        pairs: list[tuple[Sighting, _Known]] = []
        waiting = []
        for sighting in sightings:
            known = self._same_track(sighting, free)
            if known is None:
                waiting.append(sighting)
            else:
                free.remove(known)
                pairs.append((sighting, known))
        for sighting in waiting:
            text = tidy(sighting.text, self.rule)
            if not is_plate(text, self.rule) or any(known.text == text for _, known in pairs):
                continue
            known = _most_alike(text, free)
            if known is None:
                known = _Known(text, sighting.track_id, step, present=0, alike=0)
                self._known.append(known)
            else:
                free.remove(known)
                known.track_id = sighting.track_id
            pairs.append((sighting, known))
        return pairs

    def _same_track(self, sighting: Sighting, among: list[_Known]) -> _Known | None:
        if sighting.track_id is None:
            return None
        text = tidy(sighting.text, self.rule)
        return next(
            (
                known
                for known in among
                if known.track_id == sighting.track_id
                and (not is_plate(text, self.rule) or same_plate(text, known.text))
            ),
            None,
        )

    def _renew(self, known: _Known, sighting: Sighting, step: int) -> bool:
        """Counts one more frame; true if the plate has been there, and read alike, for long enough."""
        unbroken = self.patient or known.last_step >= step - 1
        known.present = known.present + 1 if unbroken else 1
        known.last_step = step
        text = tidy(sighting.text, self.rule)
        if not is_plate(text, self.rule):
            return False
        known.alike = known.alike + 1 if unbroken and text == known.text else 1
        known.alike = known.alike if sighting.whole else 0
        known.text = text
        return known.present >= self.enter_frames and known.alike >= self.settle_frames


def _most_alike(text: str, among: list[_Known]) -> _Known | None:
    """The plate with this text or, of those that have just lost their track, with all but one character of it."""
    best = min(among, key=lambda known: edits(text, known.text), default=None)
    return best if best is not None and edits(text, best.text) < _NEAR else None
