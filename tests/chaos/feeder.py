"""The harness in the place of an engine: it posts frames to a task's client and knows which alarms were promised.

An alarm is promised once the client has answered ``response: 1`` to the message with the picture; from then on it must
reach a receiver, whatever happens. Sends each frame once and never again, so every frame has one alarm at most.
"""

from __future__ import annotations

import http.client
import itertools
import json
import threading
from collections.abc import Iterable
from typing import Any

from tests.business.support import message, with_pictures
from tests.chaos.receivers import Delivery
from tests.e2e.harness import Server, task, wait_for

DEAD_CAMERA = "rtsp://127.0.0.1:9/nobody"
"""A source that gives no frames, so that the harness is the only one that posts."""

_TIMEOUT_S = 30.0


def dead_camera_task(task_id: str, urls: Iterable[str]) -> dict[str, Any]:
    """A create body of a tripwire task whose engine has nothing to say."""
    body = task(task_id, DEAD_CAMERA, "")
    body["Reporting"]["ReportUrlList"] = list(urls)
    return body


def wait_client(server: Server, task_id: str) -> int:
    """Waits until the task is RUNNING; returns its client's port."""
    return int(server.wait_state(task_id, "RUNNING")["Algorithms"][0]["Port"])


class Feeder:
    """Posts frames that raise one alarm each, for one task at a time.

    Args:
        first_frame: number of the first frame; a new feeder for the same task goes on above the last.

    Attributes:
        promised: numbers of the frames whose alarm the client has taken.
        offered: numbers of all frames whose second message was begun.
    """

    def __init__(self, first_frame: int = 0) -> None:
        self.promised: set[int] = set()
        self.offered: set[int] = set()
        self._numbers = itertools.count(first_frame)
        self._halt = threading.Event()
        self._threads: list[threading.Thread] = []

    def raise_alarm(self, connection: http.client.HTTPConnection) -> int | None:
        """Posts one frame; returns its number, or ``None`` when the client answered anything but success.

        Raises:
            OSError, http.client.HTTPException: there was no answer.
        """
        number = next(self._numbers)
        posted = message(number, [1])
        if not _post(connection, posted).get("pictures"):
            return None
        self.offered.add(number)
        if _post(connection, with_pictures(posted)).get("response") != 1:
            return None
        self.promised.add(number)
        return number

    def raise_alarms(self, port: int, count: int) -> None:
        """Posts ``count`` frames, one after another; each must be taken."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
        try:
            for _ in range(count):
                assert self.raise_alarm(connection) is not None
        finally:
            connection.close()

    def start(self, port: int, *, threads: int = 1, pause_s: float = 0.0) -> None:
        """Posts from so many threads until ``stop``; where a client is gone, connecting is tried again and again."""
        for _ in range(threads):
            thread = threading.Thread(target=self._run, args=(port, pause_s), daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Ends the threads of ``start``."""
        self._halt.set()
        for thread in self._threads:
            thread.join()
        self._halt.clear()
        self._threads.clear()

    def wait_promised(self, count: int) -> None:
        """Waits until so many alarms more than now are promised."""
        goal = len(self.promised) + count
        wait_for(lambda: len(self.promised) >= goal, f"{count} alarms are taken", lambda: len(self.promised))

    def _run(self, port: int, pause_s: float) -> None:
        while not self._halt.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
            try:
                while not self._halt.wait(pause_s):
                    self.raise_alarm(connection)
            except (OSError, http.client.HTTPException, ValueError):
                self._halt.wait(0.02)
            finally:
                connection.close()


def frame_of(delivery: Delivery) -> int:
    """Which frame a report came from."""
    return int(delivery.place.partition(" ")[0])


def _post(connection: http.client.HTTPConnection, posted: Any) -> dict[str, Any]:
    connection.request("POST", "/flask_test/0", json.dumps(posted), {"Content-Type": "application/json"})
    with connection.getresponse() as response:
        answer: dict[str, Any] = json.loads(response.read())
    return answer
