"""What an update of a running task may change: everything that its engine can take over between two frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from streamserver.core.errors import NotUpdatableError
from streamserver.core.extend_options import DEFAULT_GATE_HOLD_S, TASK_WIDE_KEYS
from streamserver.core.settings import PROJECT_DIR, Settings
from streamserver.graph.changes import obstacles
from streamserver.graph.demo import Channel
from streamserver.supervise.plan import Plan, plan

_CURE = "use /task/create, which starts it anew"
_USUAL = {"Loop": 1, "Fps": 25, "Transport": "auto", "Gate": "off", "GateHold": DEFAULT_GATE_HOLD_S}
"""What the absence of such keys of ``Extend`` means."""


def require_updatable(
    old: Mapping[str, Any], new: Mapping[str, Any], settings: Settings, *, project: Path = PROJECT_DIR
) -> None:
    """Goes all the way to the files of both versions of a task, without writing them.

    Args:
        old: the request that is in force, canonical.
        new: the one that is wanted, canonical.
        settings: the server's settings.
        project: the folder with config_algorithm.py and samples/.

    Raises:
        NotUpdatableError: the engine would have to be another one; names the key.
        StreamServerError: the new version could not run at all; see ``plan``.
    """
    for path in fixed_keys(old, new):
        raise _not_updatable(path, "cannot be changed while the task runs")
    port = settings.client_port_base
    before, after = (plan(request, port=port, settings=settings, project=project) for request in (old, new))
    for path, problem in _differences(before, after, fixed=settings.engine_binary is not None):
        raise _not_updatable(path, problem)


def fixed_keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """The JSON paths of what differs in two requests and cannot be changed, as far as the requests alone tell."""
    for key in ("SrcID", "StreamSrc"):
        if old["InputSrc"][key] != new["InputSrc"][key]:
            yield f"$.InputSrc.{key}"
    if len(old["Algorithm"]) != len(new["Algorithm"]):
        yield "$.Algorithm"
        return
    for index, (before, after) in enumerate(zip(old["Algorithm"], new["Algorithm"], strict=True)):
        for key in ("Type", "DetectInterval"):
            if before[key] != after[key]:
                yield f"$.Algorithm[{index}].{key}"
        extends = [entry["Extend"] if isinstance(entry["Extend"], Mapping) else {} for entry in (before, after)]
        for key in TASK_WIDE_KEYS:
            usual = _USUAL.get(key)
            if extends[0].get(key, usual) != extends[1].get(key, usual):
                yield f"$.Algorithm[{index}].Extend.{key}"


def _differences(before: Plan, after: Plan, *, fixed: bool) -> Iterator[tuple[str, str]]:
    """What in the files would need another engine: the JSON path of the algorithm, and what it is."""
    if [_rest_of(before), before.finite, before.replayable] != [_rest_of(after), after.finite, after.replayable]:
        yield "$.Algorithm", "the new version reads its source in another way"
    for index, (old, new) in enumerate(zip(before.demo.channels, after.demo.channels, strict=True)):
        for key in _changed(old, new):
            yield f"$.Algorithm[{index}]", f"would change '{key}' of its channel"
    whose = "a sophon-stream program takes nothing over while it runs: " if fixed else ""
    for index, (one, other) in enumerate(zip(before.graphs, after.graphs, strict=True)):
        for obstacle in obstacles(one, other, fixed=fixed):
            yield f"$.Algorithm[{index}]", f"{whose}would change {obstacle} of its graph, which is fixed while it runs"


def _rest_of(planned: Plan) -> dict[str, Any]:
    return {key: value for key, value in planned.demo.to_json().items() if key != "channels"}


def _changed(old: Channel, new: Channel) -> list[str]:
    before, after = old.to_json(), new.to_json()
    return [key for key in {**before, **after} if before.get(key) != after.get(key)]


def _not_updatable(path: str, problem: str) -> NotUpdatableError:
    return NotUpdatableError(problem, path=path, cure=_CURE)
