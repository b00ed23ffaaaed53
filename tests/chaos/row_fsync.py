"""Nothing is promised that is not on the disk: web and client are watched by strace while they promise things."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.context import Context, Outcome, judged
from tests.chaos.feeder import Feeder, dead_camera_task
from tests.chaos.lone_client import LoneClient
from tests.chaos.strace import Promise, Strace, missing_tools, promises
from tests.chaos.world import Receivers
from tests.e2e.harness import Server

FAULT = "every answer that promises something has an fsync before it (strace)"
PASS = "100 %"
ORDER = 40

_FULL_ALARMS, _FULL_TASKS = 500, 50
_NO_ENGINES = {"STREAMSERVER_CLIENT_PORT_BASE": "65535", "STREAMSERVER_NURSERIES": "false"}
"""Only the answers of web count here, and one port is not enough for tasks to run."""

_NOBODY = "http://127.0.0.1:9/"


def run(context: Context) -> Outcome:
    """Counts promises of both kinds and how many were on the disk in time."""
    if reason := missing_tools():
        return Outcome(False, reason, (reason,))
    alarms, tasks = context.count(_FULL_ALARMS, least=5), context.count(_FULL_TASKS, least=3)
    of_client = client_promises(context.folder / "client", context.project, alarms)
    of_web = web_promises(context.folder / "web", context.project, tasks)
    complaints = []
    for who, found, wanted in (("client", of_client, alarms), ("web", of_web, 2 * tasks)):
        if len(found) != wanted:
            complaints.append(f"{who}: {len(found)} answers were seen, {wanted} were promised")
        if early := [promise for promise in found if not promise.kept]:
            complaints.append(
                f"{who}: {len(early)} of {len(found)} answers came before the fsync, e.g. {early[0].answer[:200]}"
            )
    both = of_client + of_web
    share = 100 * sum(promise.kept for promise in both) / max(1, len(both))
    return judged(f"{share:g} % of {len(of_client)} alarms and {len(of_web)} creates and deletes", complaints)


def client_promises(folder: Path, project: Path, count: int) -> list[Promise]:
    """What a client promised when it was posted ``count`` frames with an alarm, one after another.

    No receiver listens, so that hardly anything but alarms is written to the outbox.
    """
    with Receivers(1) as receivers:
        receivers[0].deafen()
        client = LoneClient(folder, project, receivers.urls)
        client.start()
        try:
            with Strace([client.pid], folder / "trace") as strace:
                Feeder().raise_alarms(client.port, count)
        finally:
            client.end()
    return promises(
        strace.calls(),
        is_request=lambda text: "POST /flask_test" in text,
        is_promise=lambda text: '\\"response\\": 1' in text and '\\"pictures\\"' not in text,
        log="outbox.sqlite-wal",
    )


def web_promises(folder: Path, project: Path, count: int) -> list[Promise]:
    """What web promised over ``count`` creates and as many deletes."""
    folder.mkdir(parents=True)
    server = Server(folder / "state", project=project, environment=_NO_ENGINES)
    server.start()
    try:
        web = [pid for pid, line in server.processes().items() if "gunicorn" in line or "server.py" in line]
        with Strace(web, folder / "trace") as strace:
            for number in range(count):
                for reply in (
                    server.create(dead_camera_task(f"t{number}", [_NOBODY])),
                    server.post("/task/delete", {"TaskID": f"t{number}"}),
                ):
                    assert reply["Code"] == 0, reply
    finally:
        server.stop()
    return promises(
        strace.calls(),
        is_request=lambda text: "POST /task/create" in text or "POST /task/delete" in text,
        is_promise=lambda text: "HTTP/1.1 200" in text,
        log="tasks.sqlite-wal",
    )
