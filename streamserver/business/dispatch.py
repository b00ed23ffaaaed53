"""What is done with the alarms of one outbox: claimed, sent to one address after another, settled.

One thread owns a ``Dispatch`` and everything it knows, so there is one place where state changes, and it can be stepped
in tests. The POSTs themselves are done elsewhere (``posting``) and come back as results; which address is asked is
decided by ``routing`` and ``breaker``.
"""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from streamserver.business.posting import GONE, Errand, Post, Posters, renumber
from streamserver.business.receiver import Receiver
from streamserver.business.routing import REFUSALS, Routing, is_refused, retry_delay_s
from streamserver.business.slots import Slot
from streamserver.core import failpoints
from streamserver.core.errors import AlarmRefusedError, DeliveryError
from streamserver.outbox.box import Outbox, PendingEvent
from streamserver.sinks.sink import Sink

_log = logging.getLogger(__name__)

POSTS = 4
"""POSTs of one task that are under way at a time; those that are late are not counted."""

_IN_HAND = 8
"""Alarms that are claimed ahead, so that one commit serves several."""

IDLE_S = 30.0
"""After so long without work, threads and connections are let go."""

_NOTHING_CAME_S, _EARLY_S, _COUNT_AT_ONCE = 0.1, 2.0, 100
_SLOT_WAIT_S = (0.02, 0.06)


class Dispatch:
    """Delivers the alarms of one outbox, several at a time.

    Each alarm starts at the next address and goes to the following one at once when one fails; it goes there as well
    when one is late. When all have failed it waits its own random back-off. While no address takes any, single alarms
    (or mere connections, where nobody listens) are the probes, and the first success makes all that wait due. What
    every address refuses for a reason that lies in the alarm costs only that alarm a wait, and makes it a dead letter
    in the end. When the addresses change, POSTs under way come to their end and count.

    Args:
        outbox: where alarms come from and their fate is written.
        receivers: report addresses; without any, an alarm is delivered once the archive has it.
        archive: a local copy, written first; its failure does not keep an alarm from the receivers.
        posters: who POSTs; gives each post back to ``back`` in the owner's thread.
        clock: monotonic, in seconds.
        jitter: a random number between two limits.

    Attributes:
        last_error: why the last delivery failed; empty once one has succeeded.
        archive_failures: local copies that could not be written.
    """

    def __init__(
        self,
        outbox: Outbox,
        receivers: Sequence[Receiver],
        archive: Sink | None,
        posters: Posters,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.last_error = ""
        self.archive_failures = 0
        self._outbox = outbox
        self._posters = posters
        self._clock = clock
        self._jitter = jitter
        self._copy = Receiver(archive.name, lambda: archive, jitter=jitter) if archive is not None else None
        self._receivers: list[Receiver] = []
        self._ready: deque[Errand] = deque()
        self._posts: list[Post] = []
        self._delivered: list[str] = []
        self._to_write: deque[Callable[[], object]] = deque()
        self.readdress(receivers)
        self._all_due = False
        self._out_since: float | None = None
        self._recall = True
        """Alarms may wait because of an outage that this process has not seen; the first answer makes all due."""
        self._early_at = self._busy_at = clock()
        self._blocked = self._nothing_came = False
        self._rests = True

    @property
    def outage(self) -> bool:
        """True while no address takes alarms."""
        return self._routing.outage

    def readdress(self, receivers: Sequence[Receiver]) -> None:
        """Goes on with other addresses, at once where one is new; those that stay are the same objects."""
        before = self._receivers
        self._receivers = list(receivers) or ([self._copy] if self._copy is not None else [])
        self._archive = self._copy if receivers else None
        self._routing = Routing([receiver.breaker for receiver in self._receivers])
        renumber(self._posts, self._ready, before, self._receivers)
        for receiver in set(self._receivers) - set(before):
            receiver.recall(self._clock())
            self._all_due = True
        for receiver in set(before) - set(self._receivers):
            receiver.rest()
            self.last_error = ""  # it may have been this one's; another's comes again

    def hurry(self) -> None:
        """Makes everything that waits due, but for what Retry-After asked for."""
        self._all_due = True
        for receiver in self._receivers:
            receiver.breaker.hurry(self._clock())

    def step(self) -> float:
        """Does what can be done now; returns the seconds after which another step makes sense.

        Raises:
            StoreError: the outbox cannot be read or written; nothing is forgotten.
        """
        now = self._clock()
        self._nothing_came = False
        self._write()
        self._pass_over_late(now)
        self._claim(now)
        self._route(now)
        self._tell_outage(now)
        self._write()
        self._rest_if_idle(now)
        return self._wait_s(now)

    def finish(self) -> None:
        """While stopping: records what has come back, and gives back what was not begun.

        Raises:
            StoreError: the outbox cannot be written.
        """
        ids = [errand.event.id for errand in self._ready if not errand.under_way]
        self._ready.clear()
        if ids:
            self._to_write.append(partial(self._outbox.unclaim, ids))
        self._write()

    def forget(self) -> None:
        """Gives up what could not be written; those alarms stay pending."""
        self._ready.clear()
        self._delivered.clear()
        self._to_write.clear()
        self._all_due = False

    @property
    def done(self) -> bool:
        """Nothing is under way that matters, and nothing is left to write."""
        waits = any(post.errand is not None and not post.errand.settled for post in self._posts)
        return not (waits or self._ready or self._delivered or self._to_write)

    def rest(self) -> None:
        """Lets go of idle threads and connections."""
        self._posters.rest()
        for receiver in self._receivers:
            receiver.rest()

    def _write(self) -> None:
        """Writes what has become of alarms. What the outbox cannot write it remembers, and hands out nothing before."""
        if self._delivered:
            failpoints.hit("post.answered")
            ids, self._delivered = self._delivered, []
            self._outbox.delivered(ids)
            failpoints.hit("post.acknowledged")
        if self._all_due:
            self._outbox.retry_now()
            self._all_due = False
        while self._to_write:
            self._to_write.popleft()()

    def _claim(self, now: float) -> None:
        due_s = self._outbox.due_in() if len(self._ready) < POSTS else None
        if due_s is None:
            return
        if not self._receivers:
            self._count_only()
        elif self._routing.outage:
            self._claim_probe(now)
        elif due_s <= 0:
            if self._has_room():
                self._take_in_hand(self._outbox.claim(_IN_HAND - len(self._ready)))
        elif self._recall and now >= self._early_at and not self._posts:
            self._early_at = now + _EARLY_S
            self._take_in_hand(self._outbox.claim(1, early=True))

    def _claim_probe(self, now: float) -> None:
        """In an outage: connects where nobody listened, and takes one alarm for addresses that answered or hung."""
        due = [i for i in self._routing.probes_due(now) if self._receivers[i].may_try(now)]
        answering = [i for i in due if not self._receivers[i].breaker.unreachable]
        for i in due:
            if i not in answering:
                self._begin(Post(i, self._receivers[i], Slot(None)))
        if answering and not self._ready:
            self._take_in_hand(self._outbox.claim(1) or self._outbox.claim(1, early=True))

    def _take_in_hand(self, events: Sequence[PendingEvent]) -> None:
        self._nothing_came = not events
        self._ready.extend(Errand(event, self._routing.begin(), event.archived) for event in events)
        if events:
            failpoints.hit("post.claimed")

    def _count_only(self) -> None:
        while events := self._outbox.claim(_COUNT_AT_ONCE):
            for event in events:
                _log.info("alarm %s: no report address and no event_dir, so it is only counted", event.id)
            self._outbox.delivered([event.id for event in events])

    def _has_room(self) -> bool:
        return sum(post.errand is not None and not post.late for post in self._posts) < POSTS

    def _route(self, now: float) -> None:
        """Begins POSTs for the alarms in hand, as far as there is room."""
        self._blocked = False
        given_back: list[str] = []
        for errand in list(self._ready):
            if not self._has_room():
                break
            if self._send_on(errand, now):
                continue
            self._ready.remove(errand)
            if errand.under_way:
                continue
            if errand.asked:
                self._fail(errand)
            else:
                given_back.append(errand.event.id)
        if given_back:
            self._to_write.append(partial(self._outbox.unclaim, given_back))

    def _send_on(self, errand: Errand, now: float) -> bool:
        """Posts the alarm to the next address; True also when it has to wait for a slot, False when none is left."""
        blocked = False
        for i in self._routing.candidates(errand.start, errand.asked, now):
            receiver = self._receivers[i]
            if receiver.breaker.open and receiver.breaker.unreachable:
                self._begin(Post(i, receiver, Slot(None)))
                continue
            slot = receiver.take_slot()
            if slot is None:
                blocked = True
                continue
            self._ready.remove(errand)
            archive = self._archive if not errand.archived else None
            self._begin(Post(i, receiver, slot, errand, archive=archive))
            return True
        self._blocked |= blocked
        return blocked

    def _begin(self, post: Post) -> None:
        post.probe = post.receiver.breaker.begun()
        if post.errand is not None:
            post.errand.asked.add(post.index)
            post.errand.under_way += 1
            post.errand.archived |= post.archive is not None
        self._posts.append(post)
        self._posters.hand(post)

    def back(self, post: Post) -> None:
        """Takes in a post that is done: what it says of the address, then of the alarm."""
        self._posts.remove(post)
        self._note_address(post)
        if post.index == GONE:
            post.receiver.rest()
        errand, error = post.errand, post.error
        if error is not None and (errand is None or not errand.settled):
            self.last_error = str(error)
        if errand is None:
            return
        errand.under_way -= 1
        self._note_archive(errand, post.error if post.receiver is self._copy else post.archive_error)
        if errand.settled:
            return
        if error is None:
            errand.settled = True
            self._delivered.append(errand.event.id)
            self.last_error = ""
            if errand in self._ready:
                self._ready.remove(errand)
        else:
            errand.errors.append(error)
            if errand not in self._ready:
                self._ready.appendleft(errand)

    def _note_address(self, post: Post) -> None:
        """Tells the address's breaker how it went, and everybody who has to know that it came back or went."""
        receiver, errand, now = post.receiver, post.errand, self._clock()
        breaker, was_open, outage = receiver.breaker, receiver.breaker.open, self._routing.outage
        breaker.ended()
        if errand is None and post.error is None:
            receiver.connected(now)
            return
        well = self._judge(post, now)
        if errand is not None and (was_open if well else outage):
            receiver.note_try(now, well=well)
        if breaker.open and not was_open:
            if not self._routing.outage:  # an outage is told as such, for all addresses at once
                _log.warning("%s; it is left out for now", post.error)
        elif was_open and not breaker.open:
            _log.info("%s takes alarms again", receiver.name)
        if well and (outage or self._recall):
            self._recall = False
            self._all_due = True
            for one in self._receivers:
                one.breaker.hope()

    def _judge(self, post: Post, now: float) -> bool:
        """Whether the address is well; a refusal that says more of the address than of the alarm becomes a failure."""
        breaker, error = post.receiver.breaker, post.error
        probe = post.probe and not post.late
        if error is None:
            breaker.took(post.ended_at - (post.begun_at or post.ended_at))
            return True
        if isinstance(error, AlarmRefusedError) and error.retry_after_s is None and post.errand is not None:
            if not breaker.refused(now, post.errand.event.id, probe=probe):
                post.error = DeliveryError(str(error))
            return not breaker.open
        breaker.failed(now, probe=probe, unreachable=error.unreachable, retry_after_s=error.retry_after_s)
        return False

    def _note_archive(self, errand: Errand, error: DeliveryError | None) -> None:
        if error is not None:
            self.archive_failures += 1
            errand.archived = False
            _log.error("the local copy of an alarm could not be written: %s", error)

    def _fail(self, errand: Errand) -> None:
        """No address took the alarm in this round."""
        event, text = errand.event, "; ".join(map(str, errand.errors))
        self.last_error = text
        if errand.archived and not event.archived and self._archive is not None:
            self._to_write.append(partial(self._outbox.archived, event.id))
        refused = is_refused(errand.errors, len(self._receivers))
        if refused and event.refusals + 1 >= REFUSALS:
            _log.error(
                "an alarm is a dead letter (/alarm/dead), for every receiver refused it %d times: %s", REFUSALS, text
            )
            self._to_write.append(partial(self._outbox.bury, event.id, text))
            return
        if self._out_since is None:  # of an outage only begin and end are told
            _log.warning("no receiver took an alarm: %s", text)
        delay_s = retry_delay_s(event.refusals + 1 if refused else event.attempt, self._jitter)
        self._to_write.append(partial(self._outbox.failed, event.id, delay_s, text, refused=refused))

    def _tell_outage(self, now: float) -> None:
        if self._routing.outage and self._out_since is None:
            self._out_since = now
            why = self.last_error or "as other tasks have found"
            _log.warning("no address takes alarms, they wait in the outbox: %s", why)
        elif self._out_since is not None and not self._routing.outage:
            _log.warning("alarms are delivered again, after %.0f s without any address", now - self._out_since)
            self._out_since = None

    def _pass_over_late(self, now: float) -> None:
        """Sends alarms on to another address whose address has not answered for too long; the POST goes on."""
        for post in self._posts:
            if self._late_in(post, now) <= 0:
                post.late = True
                post.receiver.breaker.late(now, probe=post.probe)
                _log.warning("%s is late with its answer: others are asked as well", post.receiver.name)
                if post.errand is not None and not post.errand.settled and post.errand not in self._ready:
                    self._ready.appendleft(post.errand)

    def _late_in(self, post: Post, now: float) -> float:
        """Seconds until a post is late; infinite when it is already, or when nobody else could be asked."""
        if post.late or post.errand is None:
            return float("inf")
        asked = {post.index} if post.errand.settled else post.errand.asked
        if not self._routing.is_closed_left(asked):
            return float("inf")
        return post.receiver.breaker.patience_s - (now - (post.begun_at or now))

    def _rest_if_idle(self, now: float) -> None:
        """Lets threads and connections go when there was nothing to do for a while."""
        if self._posts:
            self._busy_at, self._rests = now, False
        elif not self._rests and now - self._busy_at >= IDLE_S:
            self._rests = True
            self.rest()

    def _wait_s(self, now: float) -> float:
        waits = [IDLE_S, *(self._late_in(post, now) for post in self._posts)]
        if self._blocked:
            waits.append(self._jitter(*_SLOT_WAIT_S))
        due_s = self._outbox.due_in() if self._receivers and self._has_room() and not self._ready else None
        if due_s is not None:
            if self._routing.outage:
                due_s = self._routing.probe_in(now)
            elif self._recall and not self._posts:
                due_s = min(due_s, max(0.0, self._early_at - now))
            waits.append(max(due_s, _NOTHING_CAME_S if self._nothing_came else 0.0))
        return min(waits)
