"""Cases of the row ``damage`` with the real server: its task database is damaged before it starts, or while it runs."""

from __future__ import annotations

import random
from pathlib import Path

from streamserver.durable import noted
from tests.chaos import world
from tests.e2e.harness import Server, server, wait_for

NAMES = ("t0", "t1", "t2")


def judge(folder: Path, rng: random.Random, *, running: bool) -> list[str]:
    """Damages the database of a server with tasks; returns what went wrong."""
    folder.mkdir()
    clip = world.clip(folder)
    with world.Receivers(1) as receivers:
        bodies = [world.alarm_task(name, clip, receivers.urls, loops=0, fps=5) for name in NAMES]
        state = folder / "state"
        kind = "while it ran" if running else "before the start"
        try:
            if running:
                with server(state) as one:
                    _create(one, bodies)
                    _break(state, rng)
                    _require_well(one, state)
            else:
                with server(state) as one:
                    _create(one, bodies)
                _break(state, rng)
                with server(state) as one:
                    _require_well(one, state)
        except AssertionError as e:
            return [f"real server, damaged {kind}: {str(e)[:300]}"]
    return []


def _create(one: Server, bodies: list[dict[str, object]]) -> None:
    for body in bodies:
        assert one.create(body)["Code"] == 0, "a task was not accepted"
    for name in NAMES:
        one.wait_state(name, "RUNNING")


def _break(state: Path, rng: random.Random) -> None:
    """Overwrites the table in place, as a failing disk does; the file stays the same file."""
    path = state / "tasks.sqlite"
    with path.open("r+b") as file:
        size = path.stat().st_size
        for page in range(1, size // 4096):
            file.seek(page * 4096)
            file.write(rng.randbytes(256))
    wal = path.with_name("tasks.sqlite-wal")
    if wal.exists():
        with wal.open("r+b") as file:
            for at in range(4096, wal.stat().st_size - 64, 4096):
                file.seek(at)
                file.write(rng.randbytes(64))


def _require_well(one: Server, state: Path) -> None:
    def well() -> bool:
        return bool(noted(state)) and all(one.query(name).get("State") == "RUNNING" for name in NAMES)

    def show() -> object:
        return [one.query(name).get("State") for name in NAMES], [str(d) for d in noted(state)]

    wait_for(lambda: _calm(well), "the damage is reported and all tasks run", show, patience_s=180.0)
    reports = len(noted(state))
    assert one.create({"TaskID": "x"})["Code"] != 0
    assert one.post("/task/delete", {"TaskID": "t0"})["Code"] == 0, "a task cannot be deleted afterwards"
    wait_for(lambda: _calm(lambda: len(one.post("/task/list", {})["Result"]) == len(NAMES) - 1), "it is gone")
    assert len(noted(state)) == reports, f"it is mended again and again: {[str(d) for d in noted(state)]}"


def _calm(condition: object) -> bool:
    """``condition``, where a server that is just starting anew counts as not yet."""
    try:
        return bool(condition())  # type: ignore[operator]
    except (OSError, KeyError, TypeError):
        return False
