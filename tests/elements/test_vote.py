"""The vote element: a track's frames decide, and nothing is remembered for longer than it may."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamserver.core.arrays import Detections
from streamserver.core.errors import GraphError
from streamserver.core.objects import Recognition
from streamserver.core.picture import Picture
from streamserver.core.settings import Settings
from streamserver.elements.vote import ELEMENT, Vote
from streamserver.engine.element import ElementContext
from streamserver.engine.frame import Frame

INSIDE, AT_THE_EDGE = (50.0, 50.0, 90.0, 62.0), (160.0, 50.0, 200.0, 62.0)


def element(**configure: Any) -> Vote:
    context = ElementContext(
        element_id=7,
        name="vote",
        config_file="vote.json",
        configure=configure,
        settings=Settings(),
        base_dir=Path(),
    )
    return ELEMENT(context)


def frame(
    sequence: int,
    *said: Recognition,
    track: int = 5,
    channel: int = 0,
    box: tuple[float, float, float, float] = INSIDE,
    discontinuity: bool = False,
) -> Frame:
    picture = Picture((200, 100), lambda: np.zeros((100, 200, 3), dtype=np.uint8))
    part = Frame(channel, 0, sequence, sequence=sequence, sub_id=0, track_id=track, recognitions=said)
    return Frame(
        channel,
        0,
        sequence,
        sequence=sequence,
        picture=picture,
        discontinuity=discontinuity,
        detections=Detections.from_arrays([box], [0.9], [0], [track]),
        sub_frames=[part],
    )


def said(text: str, *scores: float) -> Recognition:
    return Recognition(text, scores)


def voted(vote: Vote, one: Frame) -> tuple[Recognition, ...]:
    """What the frame's part says after the element; the frame must go on, once."""
    out: list[Frame] = []
    vote.process(one, lambda frame, *, port=None: out.append(frame))
    assert out == [one]
    return tuple(one.sub_frames[0].recognitions)


def labels(vote: Vote, *frames: Frame) -> list[str]:
    return [voted(vote, one)[0].label for one in frames]


def test_the_winner_of_the_track_replaces_what_was_read_now() -> None:
    texts = [said("B", 0.5), said("A", 0.9), said("A", 0.9), said("C", 0.9)]
    assert labels(element(), *(frame(i, text) for i, text in enumerate(texts))) == ["B", "A", "A", "A"]


def test_the_score_is_the_share_of_the_votes_and_stays_empty_where_the_reader_gives_none() -> None:
    vote = element()
    voted(vote, frame(0, said("A", 0.8)))
    [found] = voted(vote, frame(1, said("B", 0.2)))
    assert (found.label, found.scores[0]) == ("A", pytest.approx(0.8 * 0.8))
    assert voted(element(), frame(0, said("A"))) == (said("A"),)


def test_only_the_first_of_several_recognitions_is_voted_on() -> None:
    vote = element()
    voted(vote, frame(0, said("A", 0.9), said("x")))
    assert [one.label for one in voted(vote, frame(1, said("B", 0.1), said("y")))] == ["A", "y"]


def test_what_was_not_read_counts_for_nothing_and_gets_the_winner() -> None:
    vote = element()
    assert labels(vote, frame(0, said("###", 0.0)), frame(1, said("A", 0.6)), frame(2, said("###", 0.0))) == [
        "###",
        "A",
        "A",
    ]


def test_readings_below_min_score_do_not_vote() -> None:
    assert labels(element(min_score=0.5), frame(0, said("B", 0.4)), frame(1, said("A", 0.5))) == ["B", "A"]


@pytest.mark.parametrize("track", [0, -1])
def test_parts_without_a_track_stay_as_they_are(track: int) -> None:
    vote = element()
    assert labels(vote, *(frame(i, said(text, 0.9), track=track) for i, text in enumerate("ABC"))) == ["A", "B", "C"]


def test_tracks_and_channels_do_not_mix() -> None:
    vote = element()
    voted(vote, frame(0, said("A", 0.9)))
    assert labels(vote, frame(1, said("B", 0.1), track=6), frame(1, said("C", 0.1), channel=1)) == ["B", "C"]


def test_a_reading_that_is_no_plate_loses_against_one_that_is() -> None:
    vote = element(plates="cn")
    texts = ["皖A1234", "皖A1234", "皖A·12O45", "皖A1234"]
    found = labels(vote, *(frame(i, said(text, 0.9)) for i, text in enumerate(texts)))
    assert found == ["皖A1234", "皖A1234", "皖A12045", "皖A12045"]


def test_a_reading_at_the_edge_loses_against_a_whole_one() -> None:
    vote = element()
    frames = [frame(i, said("half", 1.0), box=AT_THE_EDGE) for i in range(5)]
    assert labels(vote, *frames, frame(5, said("whole", 0.9))) == ["half"] * 5 + ["whole"]


def test_only_the_last_readings_count() -> None:
    texts = [said("A", 0.9)] * 3 + [said("B", 0.9)] * 3
    assert labels(element(window=3), *(frame(i, text) for i, text in enumerate(texts))) == list("AAAABB")


def test_a_track_is_forgotten_when_it_was_away() -> None:
    vote = element(forget_frames=10)
    voted(vote, frame(0, said("A", 0.9)))
    voted(vote, frame(9, said("A", 0.9)))
    elsewhere = frame(19, said("X", 0.9), track=99)
    voted(vote, elsewhere)
    assert labels(vote, frame(20, said("B", 0.1))) == ["B"]


def test_a_discontinuity_and_the_end_of_a_channel_forget_it() -> None:
    vote = element()
    voted(vote, frame(0, said("A", 0.9)))
    assert labels(vote, frame(1, said("B", 0.1), discontinuity=True)) == ["B"]
    voted(vote, frame(2, said("C", 0.9)))
    out: list[Frame] = []
    vote.end_of_stream(Frame(0, 0, 3, end_of_stream=True), lambda frame, *, port=None: out.append(frame))
    assert len(out) == 1
    assert labels(vote, frame(4, said("D", 0.1))) == ["D"]


def test_memory_is_flat_over_many_tracks() -> None:
    vote = element(forget_frames=20)
    for sequence in range(5000):
        voted(vote, frame(sequence, said("A", 0.9), track=sequence + 1))
    assert len(vote._tracks[0]) <= 20


A, NEARLY_A, HALF_A, B, NEARLY_B = "皖A12345", "皖A12346", "皖A3", "京C77777", "京C77771"


def test_a_track_that_goes_over_to_another_plate_says_so_from_its_third_reading_on() -> None:
    texts = [A] * 20 + [B] * 3
    assert labels(element(plates="cn"), *(frame(i, said(t, 0.9)) for i, t in enumerate(texts))) == [A] * 22 + [B]


def test_the_other_plate_may_be_misread_on_the_way() -> None:
    texts = [A] * 20 + [B, NEARLY_B, B]
    assert labels(element(plates="cn"), *(frame(i, said(t, 0.9)) for i, t in enumerate(texts)))[-1] == B


@pytest.mark.parametrize(
    "strange",
    [
        [B, B, A, B, B],
        [B, "沪D88888", B, "沪D88888"],
        [NEARLY_A] * 9,
        [HALF_A] * 9,
    ],
)
def test_a_few_strange_readings_are_no_other_plate(strange: list[str]) -> None:
    texts = [A] * 20 + strange
    assert set(labels(element(plates="cn"), *(frame(i, said(t, 0.9)) for i, t in enumerate(texts)))) == {A}


def test_readings_at_the_edge_are_no_other_plate() -> None:
    frames = [frame(i, said(A, 0.9)) for i in range(20)]
    frames += [frame(i, said(B, 0.9), box=AT_THE_EDGE) for i in range(20, 25)]
    assert set(labels(element(plates="cn"), *frames)) == {A}


@pytest.mark.parametrize(
    ("configure", "problem"),
    [
        ({"window": 0}, "window: expected a whole number from 1 to 1000, got 0"),
        ({"forget_frames": 1.5}, "forget_frames: expected a whole number"),
        ({"min_score": 2}, "min_score: expected a number from 0 to 1, got 2"),
        ({"plates": "fr"}, "plates: got 'fr'; use one of none, cn, any"),
    ],
)
def test_a_wrong_key_is_named(configure: dict[str, Any], problem: str) -> None:
    with pytest.raises(GraphError, match=f"^vote.json: element 7 'vote': {problem}"):
        element(**configure)
