"""An algorithm's state, and what of it outlives the process: its ``memory()``, kept with the place of a frame."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

from streamserver.core.errors import SampleError
from streamserver.core.results import WireFrame
from streamserver.outbox.records import Memory
from streamserver.plugins import Algorithm

_NOTHING = "null"
_MOST = 2**62


class MemoryKeeper(Protocol):
    """Where memories are kept: an ``Outbox``, or what stands for one."""

    def recall(self, algorithm: int) -> Memory | None:
        """What the algorithm at this position of the task remembers. Raises ``StoreError``."""


class KeptState:
    """The state of one algorithm. A state without ``memory()`` is kept as long as the source runs on.

    Args:
        algorithm: the loaded sample.
        index: its position in the task.
        request: its entry of the task.
        keeper: where memories are.
        replayable: a frame that comes again has the same loop and number; else it has the same time.
    """

    def __init__(
        self, algorithm: Algorithm, index: int, request: Mapping[str, Any], keeper: MemoryKeeper, *, replayable: bool
    ) -> None:
        self._algorithm = algorithm
        self._index = index
        self._keeper = keeper
        self._replayable = replayable
        self._loaded = False
        self._saved: Memory | None = None
        self.state = algorithm.new_state(request)
        self._blank = self._content()

    @property
    def remembers(self) -> bool:
        """True if the state has something that outlives the process."""
        return self._blank != _NOTHING

    @property
    def memory(self) -> Any:
        """What is kept on the disk; ``None`` for a state that remembers nothing, or before it has been loaded."""
        return json.loads(self._kept_content) if self.remembers and self._loaded else None

    def load(self) -> None:
        """Gives the state what was kept, once; raises ``StoreError``, and ``SampleError`` when it cannot use it."""
        if self._loaded or not self.remembers:
            return
        self._saved = self._keeper.recall(self._index)
        self._loaded = True
        if self._saved is not None:
            self._algorithm.recall(self.state, json.loads(self._saved.content))

    def renew(self, request: Mapping[str, Any], *, again: bool) -> None:
        """A new state, which remembers what the one before did.

        Args:
            request: the algorithm's entry of the task.
            again: frames that were here come again, so what is not kept yet will be seen again.

        Raises:
            SampleError: the sample cannot make it; the one before goes on.
        """
        content = self._kept_content if again else self._content()
        state = self._algorithm.new_state(request)
        if self.remembers:
            self._algorithm.recall(state, json.loads(content))
        self.state = state

    def has_seen(self, frame: WireFrame) -> bool:
        """True for a frame that comes again although what it changed is kept."""
        if self._saved is None:
            return False
        if self._replayable and frame.sequence is not None:
            return (frame.loop, frame.frame_id) <= self._saved.place[:2]
        return frame.timestamp_us > 0 and _place_of(frame) == self._saved.place

    def changed(self, frame: WireFrame) -> Memory | None:
        """What is to be kept after ``frame``; ``None`` when that is kept already. Raises ``SampleError``."""
        if not self.remembers or self.has_seen(frame):
            return None
        content = self._content()
        if content == self._kept_content:
            return None
        return Memory(algorithm=self._index, content=content, place=_place_of(frame))

    def kept(self, memory: Memory | None) -> None:
        """``memory`` is on the disk."""
        self._saved = memory or self._saved

    @property
    def _kept_content(self) -> str:
        return self._blank if self._saved is None else self._saved.content

    def _content(self) -> str:
        try:
            return json.dumps(self._algorithm.memory(self.state), sort_keys=True, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as e:
            raise SampleError(f"sample '{self._algorithm.name}': memory() of its state is no JSON: {e}") from e


def _place_of(frame: WireFrame) -> tuple[int, int, int]:
    """Loop, number and time of a frame, as a ``Memory`` has them."""
    return min(frame.loop, _MOST), min(frame.frame_id, _MOST), min(frame.timestamp_us, _MOST)
