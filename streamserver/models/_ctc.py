"""Connectionist temporal classification (Graves et al. 2006): from a symbol's probability in each column to a text."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamserver.core.arrays import FloatArray

_LEAST_SHARE = 1e-5
"""A symbol less probable than this in a column is not tried there by the beam search."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A text as symbol numbers, and how sure of it the decoder is, 0 to 1; 0 for no symbols."""

    symbols: tuple[int, ...] = ()
    score: float = 0.0


def greedy(probabilities: FloatArray, *, blank: int) -> Decoded:
    """The best symbol of each column (t, symbols), repeats and blanks left out; the score is their mean."""
    if not len(probabilities):
        return Decoded()
    best = probabilities.argmax(axis=1)
    kept = np.ones(len(best), dtype=np.bool_)
    kept[1:] = best[1:] != best[:-1]
    kept &= best != blank
    if not kept.any():
        return Decoded()
    scores = probabilities[np.flatnonzero(kept), best[kept]]
    return Decoded(tuple(int(symbol) for symbol in best[kept]), float(scores.mean()))


def beam_search(probabilities: FloatArray, *, blank: int, width: int) -> Decoded:
    """The text whose paths together are most probable, among the ``width`` best beginnings after each column.

    The score is the geometric mean of the symbols' probabilities.
    """
    beams: dict[tuple[int, ...], tuple[float, float]] = {(): (1.0, 0.0)}
    log_total = 0.0
    for column in probabilities.astype(np.float64):
        grown = _grown(beams, column, _candidates(column, blank, width), blank)
        best = sorted(grown.items(), key=lambda beam: (-sum(beam[1]), beam[0]))[:width]
        total = sum(sum(ends) for _, ends in best)
        if total <= 0.0:
            return Decoded()
        log_total += math.log(total)
        beams = {text: (with_blank / total, without / total) for text, (with_blank, without) in best}
    text, ends = max(beams.items(), key=lambda beam: (sum(beam[1]), beam[0]))
    if not text:
        return Decoded()
    return Decoded(text, min(1.0, math.exp((log_total + math.log(sum(ends))) / len(text))))


def _candidates(column: npt.NDArray[np.float64], blank: int, width: int) -> list[int]:
    """The symbols worth trying in a column: the ``width`` + 1 most probable."""
    count = min(width + 1, len(column))
    best = np.argpartition(column, -count)[-count:]
    return [int(symbol) for symbol in best if symbol != blank and column[symbol] > _LEAST_SHARE]


def _grown(
    beams: dict[tuple[int, ...], tuple[float, float]],
    column: npt.NDArray[np.float64],
    candidates: Sequence[int],
    blank: int,
) -> dict[tuple[int, ...], tuple[float, float]]:
    """All beginnings after one more column; the two numbers of each: ending with a blank, and without."""
    with_blank: defaultdict[tuple[int, ...], float] = defaultdict(float)
    without: defaultdict[tuple[int, ...], float] = defaultdict(float)
    for text, (ended, open_end) in beams.items():
        with_blank[text] += (ended + open_end) * column[blank]
        last = text[-1] if text else None
        if last is not None:
            without[text] += open_end * column[last]
        for symbol in candidates:
            without[(*text, symbol)] += (ended if symbol == last else ended + open_end) * column[symbol]
    return {text: (with_blank[text], without[text]) for text in with_blank.keys() | without.keys()}


def softmax(logits: FloatArray) -> FloatArray:
    """Probabilities along the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: FloatArray = powers / powers.sum(axis=-1, keepdims=True)
    return shares
