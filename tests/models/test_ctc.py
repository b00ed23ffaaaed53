"""CTC decoding against straightforward definitions of it."""

from __future__ import annotations

import itertools
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from streamserver.core.arrays import FloatArray
from streamserver.models._ctc import Decoded, beam_search, greedy, softmax

LOGITS = nps.arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.integers(2, 4)),
    elements=st.floats(-4, 4, width=32),
)


def collapse(path: tuple[int, ...], blank: int) -> tuple[int, ...]:
    return tuple(symbol for symbol, _ in itertools.groupby(path) if symbol != blank)


def probability_of_every_text(columns: FloatArray, blank: int) -> dict[tuple[int, ...], float]:
    """Adds up all paths, one by one."""
    texts: dict[tuple[int, ...], float] = defaultdict(float)
    for path in itertools.product(range(columns.shape[1]), repeat=len(columns)):
        texts[collapse(path, blank)] += float(np.prod([columns[t, s] for t, s in enumerate(path)]))
    return texts


@given(LOGITS, st.booleans())
def test_greedy_collapses_the_best_path(logits: FloatArray, blank_last: bool) -> None:
    columns = softmax(logits)
    blank = columns.shape[1] - 1 if blank_last else 0
    found = greedy(columns, blank=blank)
    path = tuple(int(s) for s in columns.argmax(axis=1))
    assert found.symbols == collapse(path, blank)
    if found.symbols:
        starts = [t for t, s in enumerate(path) if s != blank and (t == 0 or path[t - 1] != s)]
        assert found.score == pytest.approx(np.mean([columns[t, path[t]] for t in starts]), abs=1e-6)
    else:
        assert found.score == 0.0


@settings(max_examples=60)
@given(LOGITS)
def test_a_wide_beam_finds_the_text_with_the_most_probable_paths(logits: FloatArray) -> None:
    columns = softmax(logits)
    truth = probability_of_every_text(columns, 0)
    found = beam_search(columns, blank=0, width=1000)
    assert truth[found.symbols] == pytest.approx(max(truth.values()), rel=1e-5)
    if found.symbols:
        assert found.score == pytest.approx(truth[found.symbols] ** (1 / len(found.symbols)), rel=1e-4)


def test_a_beam_prefers_many_likely_paths_to_one_best() -> None:
    columns = np.array([[0.4, 0.35, 0.25], [0.4, 0.35, 0.25]], dtype=np.float32)
    assert greedy(columns, blank=0) == Decoded()
    assert beam_search(columns, blank=0, width=5).symbols == (1,)


def test_a_symbol_twice_needs_a_blank_between() -> None:
    eye = np.eye(3, dtype=np.float32)
    for decode in (lambda c: greedy(c, blank=0), lambda c: beam_search(c, blank=0, width=3)):
        assert decode(eye[[1, 1, 2]]).symbols == (1, 2)
        assert decode(eye[[1, 0, 1]]).symbols == (1, 1)


@pytest.mark.parametrize("columns", [np.zeros((0, 3), np.float32), np.zeros((4, 3), np.float32)])
def test_nothing_is_no_text(columns: FloatArray) -> None:
    assert greedy(columns, blank=0) == Decoded()
    assert beam_search(columns, blank=0, width=3) == Decoded()
