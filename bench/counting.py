"""What is counted on real clips, against what is known of them: ``python -m bench.counting``.

Every clip is looked at in every, every third and every fifth frame (``DetectInterval``), forwards and, where its truth
is, backwards. People are found by yolox_nano, cars by ``motion``; tracked and linked as the server does it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from streamserver.core.events import Kind, RuleEvent
from streamserver.geometry.rules.crossing import CrossingRule
from streamserver.geometry.rules.flow import FlowRule
from streamserver.geometry.rules.rule import Rule, RuleKind, RuleSpec
from tests import assets
from tests.geometry.counting import SIZES_WH, Found, across, backwards, events_of, moving, people, pictures, ways

INTERVALS = (1, 3, 5)
ONE_BY_ONE, CARS, BOTTLES, CAMPUS = (
    "one-by-one-person-detection.mp4",
    "car-detection.mp4",
    "bottle-detection.mp4",
    "vtest.avi",
)
FPS = {ONE_BY_ONE: 10.0, CARS: 12.5, BOTTLES: 30.0, CAMPUS: 10.0}
RIGHT_THIRD = np.array([(512, 0), (768, 0), (768, 432), (512, 432)], dtype=np.float64)

MakeRule = Callable[[], Rule]


def main() -> None:
    """Prints the table."""
    print("| clip | rule | known (in, out) | interval 1 | interval 3 | interval 5 |\n|---|---|---|---|---|---|")
    for row in (*one_by_one(), *cars(), *bottles(), *campus()):
        print(row, flush=True)


def line(*points_xy: tuple[float, float], arrow: tuple[float, float] = (0.0, 0.0)) -> MakeRule:
    """A rule that tells every crossing."""
    return lambda: CrossingRule(across(*points_xy, direction_xy=arrow))


def flow(*polygons: np.ndarray) -> MakeRule:
    """A rule that counts who comes and goes."""
    return lambda: FlowRule(RuleSpec(kind=RuleKind.FLOW, include=polygons))


def one_by_one() -> Iterator[str]:
    """Six people leave to the right; backwards they come from there."""
    forth = list(people(pictures(assets.clip(ONE_BY_ONE), interval=1)))
    back = list(backwards(forth, interval=1))
    arrow = line((580, 0), (580, 431), arrow=(100, 0))
    yield row(ONE_BY_ONE, "line x = 580, arrow to the right", "6, 0", forth, arrow)
    yield row(ONE_BY_ONE, "flow, right third", "6, -", forth, flow(RIGHT_THIRD))
    yield row(ONE_BY_ONE, "flow, all of it", "6, -", forth, flow())
    yield row(f"{ONE_BY_ONE} backwards", "line x = 580, arrow to the right", "0, 6", back, arrow)
    yield row(f"{ONE_BY_ONE} backwards", "flow, right third", "0, 6", back, flow(RIGHT_THIRD))


def cars() -> Iterator[str]:
    """Two drive up, two down; ``motion`` sees only the frames that are looked at."""
    counted = []
    for interval in INTERVALS:
        found = moving(pictures(assets.clip(CARS), interval=interval))
        rule = CrossingRule(across((0, 216), (768, 216), direction_xy=(0, -1)))
        counted.append(events_of(rule, found, interval=interval, size_wh=SIZES_WH[CARS], fps=FPS[CARS]))
    yield table_row(CARS, "line y = 216, arrow up", "2, 2", counted)


def bottles() -> Iterator[str]:
    """Nobody; but arms come in at the left upper corner, which the detector takes for people."""
    found = list(people(pictures(assets.clip(BOTTLES), interval=1)))
    yield row(BOTTLES, "line x = 320", "0, 0", found, line((320, 0), (320, 360)))
    yield row(BOTTLES, "line y = 180", "0, 0", found, line((0, 180), (640, 180)))
    yield row(BOTTLES, "flow, all of it", "0, 0", found, flow())


def campus() -> Iterator[str]:
    """See ``tests/truth/vtest_crossings.md`` for what is known."""
    found = list(people(pictures(assets.clip(CAMPUS), interval=1)))
    yield row(CAMPUS, "line y = 330, arrow down", "see tests/truth", found, line((0, 330), (768, 330), arrow=(0, 1)))


def row(clip: str, what: str, known: str, found: Found, make_rule: MakeRule) -> str:
    """A line of the table for a clip of which every frame was looked at."""
    name, frames, counted = clip.split()[0], list(found), []
    for interval in INTERVALS:
        looked_at = frames[::interval]
        counted.append(events_of(make_rule(), looked_at, interval=interval, size_wh=SIZES_WH[name], fps=FPS[name]))
    return table_row(clip, what, known, counted)


def table_row(clip: str, what: str, known: str, counted: Iterable[list[RuleEvent]]) -> str:
    """A line of the table; of flows without regular counts."""
    cells = [ways(event for event in events if event.kind is not Kind.COUNT) for events in counted]
    return f"| {clip} | {what} | {known} | {' | '.join(f'{came}, {went}' for came, went in cells)} |"


if __name__ == "__main__":
    main()
