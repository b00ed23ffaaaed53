"""What every way to read a stream offers, so that one loop (``live``) can keep any of them alive."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streamserver.core.picture import Picture

Luma = NDArray[np.uint8]
"""Brightness of shape (height, width), possibly of fewer pixels than the picture has."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a picture stands in a stream of which not every picture is decoded.

    Attributes:
        number: how many came before it, decoded or not.
        arrived: when it came, on the monotonic clock.
        late: it came a while ago, and is not to be left out for that.
        at_rest: the only one of its group of pictures that was decoded, because nothing moves.
    """

    number: int
    arrived: float
    late: bool = False
    at_rest: bool = False


@dataclass(frozen=True, slots=True)
class Decoded:
    """One picture as a decoder gives it.

    Attributes:
        picture: the pixels, converted when somebody asks.
        time_s: when it is due, in seconds of the stream's own clock; ``None`` where it has none.
        luma: gives the brightness of every eighth pixel of every eighth row, without converting the picture; to be
            asked before the next picture is read.
        moment: where it stands; ``None`` where every picture is decoded and given at once.
    """

    picture: Picture
    time_s: float | None
    luma: Callable[[], Luma]
    moment: Moment | None = None


class Connection(Protocol):
    """One connection to a stream, from the first picture to the last.

    Attributes:
        in_bursts: many seconds arrive at once (HLS): the pictures must be held back to their times.
        over: ``pictures`` has ended because there is nothing more to come, ever: the source has had an end.
    """

    in_bursts: bool
    over: bool

    @property
    def stream(self) -> str:
        """What is read now, in words: codec, size, rate; without address and secrets."""

    def pictures(self) -> Iterator[Decoded]:
        """The pictures in order; what cannot be decoded is left out and told to the monitor.

        Waits for a picture no longer than the reader's limits. Audio is not looked at; another size, codec or rate in
        mid-stream goes on.

        Raises:
            SourceError: the connection has broken off, or gives nothing; the reason in words, without secrets.
        """

    def close(self) -> None:
        """Ends the connection; also after an error, and more than once."""


class Connector(Protocol):
    """Makes the connections to one stream, one after another; may learn from one for the next."""

    def connect(self) -> Connection:
        """Connects; takes no longer than the reader's limits.

        Raises:
            SourceError: it is not to be had now; the reason in words, without secrets.
            SourceMissingError: trying again will not help.
        """

    def close(self) -> None:
        """The stream is not wanted any more."""
