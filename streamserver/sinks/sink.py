"""The contract of a sink: one way for an alarm to leave the house. A new one is one file beside this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """An alarm on its way out.

    Attributes:
        id: the same in every copy.
        body: the JSON array of CONTRACT 6.3, with one element.
        created: when it was raised, seconds since the epoch.
        attempt: 1 for the first try.
    """

    id: str
    body: bytes
    created: float
    attempt: int = 1


class Sink(Protocol):
    """Takes alarms, one at a time, not always from the same thread."""

    name: str
    """For logs and status: an address with its secrets masked, or a folder."""

    def send(self, alarm: Alarm) -> None:
        """Hands ``alarm`` over; when it returns, the alarm has arrived.

        Raises:
            AlarmRefusedError: it has not, for a reason that lies in the alarm.
            DeliveryError: it has not, or nobody knows; carries how long the address wants to be left alone.
        """

    def knock(self) -> None:
        """Connects and no more, to learn whether anybody is there.

        Raises:
            DeliveryError: nobody is, and says why.
        """

    def close(self) -> None:
        """Lets go of connections."""
