"""A dispatch on a test's clock: addresses that take a given time, without threads and sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from streamserver.business.dispatch import Dispatch
from streamserver.business.posting import Post
from streamserver.business.receiver import Receiver
from streamserver.business.slots import Slots
from streamserver.core.errors import AlarmRefusedError, DeliveryError
from streamserver.outbox.box import Limits, NewEvent, Outbox
from streamserver.sinks.sink import Alarm, Sink


class Clock:
    def __init__(self, now: float = 5000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Address:
    """A sink that takes or refuses, and remembers what it was asked and when."""

    def __init__(self, name: str, clock: Clock, *, works: bool = True, takes_s: float = 0.0) -> None:
        self.name = name
        self.clock = clock
        self.works = works
        self.listens = True
        self.takes_s = takes_s
        self.retry_after_s: float | None = None
        self.fails: set[bytes] = set()
        self.refuses: set[bytes] = set()
        self.is_full = False
        self.taken: list[Alarm] = []
        self.taken_at: list[float] = []
        self.asked_at: list[float] = []
        self.knocked_at: list[float] = []

    @property
    def asked(self) -> int:
        return len(self.asked_at)

    @property
    def knocks(self) -> int:
        return len(self.knocked_at)

    def send(self, alarm: Alarm) -> None:
        self.asked_at.append(self.clock.now)
        if not self.listens:
            raise DeliveryError(f"{self.name}: nobody there", unreachable=True)
        if self.is_full or alarm.body in self.refuses:
            raise AlarmRefusedError(f"{self.name}: answered 413")
        if not self.works or alarm.body in self.fails:
            raise DeliveryError(f"{self.name}: no", retry_after_s=self.retry_after_s)
        self.taken.append(alarm)
        self.taken_at.append(self.clock.now)

    def knock(self) -> None:
        self.knocked_at.append(self.clock.now)
        if not self.listens:
            raise DeliveryError(f"{self.name}: nobody there", unreachable=True)

    def close(self) -> None:
        pass

    def bodies(self) -> list[bytes]:
        return [alarm.body for alarm in self.taken]


class Scripted:
    """Does posts on the test's clock: each comes back after the time that its address takes."""

    def __init__(self, clock: Clock, addresses: Sequence[Address]) -> None:
        self.clock = clock
        self.addresses = list(addresses)
        self.under_way: list[tuple[float, Post]] = []
        self.most = 0

    def hand(self, post: Post) -> None:
        post.begun_at = self.clock.now
        address = self.addresses[post.index] if self.addresses else None
        self.under_way.append((self.clock.now + (address.takes_s if address else 0.0), post))
        self.most = max(self.most, len(self.under_way))

    def rest(self) -> None:
        pass

    def next_end(self) -> float:
        return min((end for end, _ in self.under_way), default=float("inf"))

    def ended(self) -> list[Post]:
        over = [pair for pair in self.under_way if pair[0] <= self.clock.now]
        self.under_way = [pair for pair in self.under_way if pair not in over]
        for _, post in over:
            begun = post.begun_at
            post.work(self.clock)
            post.begun_at = begun
        return [post for _, post in over]


class Bench:
    """An outbox, a dispatch and its addresses on one clock; the jitter is always the upper limit.

    With ``machine``, the folder of ``Slots``, it takes turns with others there.
    """

    def __init__(
        self,
        folder: Path,
        addresses: Iterable[Address],
        clock: Clock,
        *,
        archive: Sink | None = None,
        machine: Path | None = None,
    ) -> None:
        self.clock = clock
        self.machine = machine
        self.addresses = list(addresses)
        self.box = Outbox(folder / "outbox.sqlite", limits=Limits(max_bytes=10**9), clock=clock)
        # Nobody cuts the power here, and thousands of commits that wait for the disk are dear.
        self.box._file.read(lambda connection: connection.execute("PRAGMA synchronous = OFF"))
        self.restart(archive)

    def restart(self, archive: Sink | None = None) -> None:
        """As another process on the same file would begin."""
        self.posters = Scripted(self.clock, self.addresses)
        high = lambda _low, high: high  # noqa: E731
        slots = [Slots(self.machine, a.name, 10) if self.machine else None for a in self.addresses]
        receivers = [
            Receiver(a.name, lambda a=a: a, slots=own, jitter=high)  # type: ignore[misc]
            for a, own in zip(self.addresses, slots, strict=True)
        ]
        self.dispatch = Dispatch(self.box, receivers, archive, self.posters, clock=self.clock, jitter=high)

    def add(self, *numbers: int) -> None:
        self.box.add([NewEvent(algorithm=0, body=body(number)) for number in numbers])

    def run(self, seconds: float = 0.0) -> None:
        """Lets the dispatch work as its thread would."""
        end = self.clock.now + seconds
        for _ in range(1_000_000):
            wait_s = self.dispatch.step()
            ready = self.posters.next_end()
            following = min(self.clock.now + wait_s, ready)
            if following > end:
                self.clock.now = end
                return
            self.clock.now = following if following > self.clock.now or ready <= following else following + 1e-6
            for post in self.posters.ended():
                self.dispatch.back(post)
        raise AssertionError("it never rests")

    def close(self) -> None:
        self.box.close()


def body(number: int) -> bytes:
    return f'[{{"FrameIndex":{number},"AnalyzeEvents":[]}}]'.encode()


def bodies(numbers: Iterable[int]) -> list[bytes]:
    return [body(number) for number in numbers]


Make = Callable[..., Bench]
"""A bench for addresses; what else it takes stands at the fixture ``make``."""
