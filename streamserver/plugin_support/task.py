"""What a task says to one of its algorithms: channel, classes, thresholds, tracking."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from streamserver.core.errors import BadRequestError
from streamserver.core.labels import class_number, coco_names
from streamserver.core.urls import source_type

if TYPE_CHECKING:  # the client process, which makes no graphs, does without pydantic
    from streamserver.core.rule_options import ConditionOptions

COCO_CLASSES = tuple(range(80))
"""Every class of the detectors that come with the server (configs/labels/coco.txt)."""

_REMEMBER_LOST_FRAMES = 50
_LOW_SCORE = 0.1
_START_MARGIN = 0.1
_HIGH_SCORE = 0.9


def channel(data: Mapping[str, Any], i: int) -> dict[str, Any]:
    """The channel of a demo file for algorithm ``i`` of a task.

    Every ``DetectInterval``-th frame is processed. A file is played ``Extend.Loop`` times (1 unless given, 0 for ever)
    at its own pace, or as fast as it goes (``Extend.Fps`` -1).
    """
    algorithm = data["Algorithm"][i]
    extend = extend_of(algorithm)
    address = str(data["InputSrc"]["StreamSrc"]["Address"])
    return {
        "url": address,
        "source_type": source_type(address),
        "sample_interval": count_of(algorithm, "DetectInterval"),
        "loop_num": int(extend.get("Loop", 1)),
        "fps": extend.get("Fps", 25),
    }


def threshold(algorithm: Mapping[str, Any]) -> float:
    """The task's ``threshold`` as a fraction; numbers below 1 are taken for one already, and 0.5 is the default."""
    return _fraction(float(algorithm.get("threshold") or 50))


def class_thresholds(
    algorithm: Mapping[str, Any], classes: Sequence[int], options: ConditionOptions
) -> dict[int, float]:
    """The least confidence of each class, as fractions: ``Extend.Thresholds``, else ``threshold``.

    Raises:
        BadRequestError: ``Extend.Thresholds`` names a class that is not looked for.
    """
    own = {class_number(name): _fraction(least) for name, least in options.thresholds.items()}
    for name in options.thresholds:
        if class_number(name) not in classes:
            raise bad_extend(
                "Thresholds", f"{name!r} is not looked for", cure="name it in Classes as well, or leave it out here"
            )
    return {number: own.get(number, threshold(algorithm)) for number in classes}


def classes_of(algorithm: Mapping[str, Any], default: Iterable[int]) -> list[int]:
    """The class numbers to look for: the task's ``Extend.Classes``, e.g. ``[2, "truck"]``, else ``default``.

    Raises:
        BadRequestError: ``Extend.Classes`` is no list of class numbers and names of COCO classes.
    """
    given = extend_of(algorithm).get("Classes")
    if given is None:
        return list(default)
    if not isinstance(given, list) or not given:
        raise _bad_classes(f"expected a list of class numbers or names, got {given!r}")
    return list(dict.fromkeys(_class_number(wanted) for wanted in given))


def choice_of(algorithm: Mapping[str, Any], key: str, choices: Sequence[str]) -> str:
    """``Extend.<key>``, one of ``choices``; the first of them unless given.

    Raises:
        BadRequestError: it is none of them.
    """
    value = extend_of(algorithm).get(key)
    if value is None:
        return choices[0]
    if value not in choices:
        raise bad_extend(key, f"got {value!r}", cure=f"use one of {', '.join(choices)}")
    return str(value)


def tracking(algorithm: Mapping[str, Any], classes: Sequence[int]) -> dict[str, dict[str, Any]]:
    """``GraphOverrides.elements`` for a detector followed by bytetrack.

    A track starts with a detection a little above the lowest threshold of the task and may go on with much weaker ones,
    as it does when somebody leaves the picture; so the detector must let those through. A track keeps the class of its
    first detection, so where only one class counts, no other may start its track.

    Raises:
        BadRequestError: ``Extend.Thresholds`` cannot be used.
    """
    from streamserver.core.rule_options import condition_options

    options = condition_options(algorithm)
    wanted = min(class_thresholds(algorithm, classes, options).values(), default=threshold(algorithm))
    return {
        "*detector": {"threshold_conf": min(wanted, _LOW_SCORE)},
        "bytetrack": {
            "track_thresh": wanted,
            "high_thresh": round(max(wanted, min(wanted + _START_MARGIN, _HIGH_SCORE)), 4),
            "agnostic": len(classes) != 1,
            "frame_rate": 30,
            "track_buffer": track_buffer(algorithm),
        },
    }


def track_buffer(algorithm: Mapping[str, Any]) -> int:
    """How many processed frames a lost track is kept: 50 source frames, 2 seconds at 25 frames a second, at least 2."""
    return max(2, round(_REMEMBER_LOST_FRAMES / count_of(algorithm, "DetectInterval")))


def extend_of(algorithm: Mapping[str, Any]) -> Mapping[str, Any]:
    """``Extend``, where it is an object."""
    extend = algorithm.get("Extend")
    return extend if isinstance(extend, Mapping) else {}


def count_of(algorithm: Mapping[str, Any], key: str, *, least: int = 1) -> int:
    """A number of the task, at least ``least``."""
    return max(least, int(algorithm.get(key) or 0))


def bad_extend(key: str, problem: str, *, cure: str) -> BadRequestError:
    """An error whose path lacks the algorithm's position, which ``plugins`` fills in."""
    return BadRequestError(problem, path=f"$.Algorithm[].Extend.{key}", cure=cure)


def _fraction(value: float) -> float:
    return min(value if value < 1 else value / 100, 1.0)


def _class_number(wanted: Any) -> int:
    if isinstance(wanted, str):
        names = coco_names()
        if wanted not in names:
            raise _bad_classes(f"'{wanted}' is no class")
        return names.index(wanted)
    if isinstance(wanted, bool) or not isinstance(wanted, int) or wanted < 0:
        raise _bad_classes(f"{wanted!r} is no class")
    return wanted


def _bad_classes(problem: str) -> BadRequestError:
    cure = 'use numbers from 0 or the names in configs/labels/coco.txt, e.g. [0, "car"]'
    return bad_extend("Classes", problem, cure=cure)
