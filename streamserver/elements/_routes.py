"""What a distributor reads from its ``rules`` (CONTRACT 3.6): when which class leaves through which port."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from streamserver.engine.element import ElementContext

FULL_FRAME = "full_frame"
"""The class name of the frame as a whole; also what an empty list of classes means."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One interval and what leaves when it is over.

    Attributes:
        time_s: seconds from one firing to the next; ``None`` for a rule that goes by frames.
        frames: it fires with every frame whose ``frame_id`` is a multiple of this.
        ports: the port of each class.
    """

    time_s: float | None = None
    frames: int = 1
    ports: dict[str, int] = field(default_factory=dict)


def read_rules(context: ElementContext, default_port: int) -> tuple[Rule, ...]:
    """The rules; those of the same interval are one, in which a later route of a class takes an earlier one's place.

    Raises:
        GraphError: naming the key.
    """
    rules: dict[tuple[float | None, int], Rule] = {}
    for i, item in enumerate(_list(context, context.configure, "rules", "rules")):
        path = f"rules[{i}]"
        entry = _object(context, item, path)
        rule = Rule(*_interval(context, entry, path))
        rule = rules.setdefault((rule.time_s, rule.frames), rule)
        for j, route in enumerate(_list(context, entry, "routes", f"{path}.routes")):
            where = f"{path}.routes[{j}]"
            port = _port(context, _object(context, route, where), where, default_port)
            rule.ports.update(dict.fromkeys(_classes(context, route, where), port))
    return tuple(rules.values())


def classes_of(rules: Iterable[Rule]) -> set[str]:
    """All class names that rules route, without that of the whole frame."""
    return {name for rule in rules for name in rule.ports} - {FULL_FRAME}


def read_port(context: ElementContext, entry: Mapping[str, Any], key: str, path: str) -> int:
    """A port's number."""
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise context.error(path, f"expected a port's number, got {value!r}")
    return value


def _interval(context: ElementContext, entry: Mapping[str, Any], path: str) -> tuple[float | None, int]:
    if "time_interval" in entry and "frame_interval" in entry:
        raise context.error(path, "has time_interval and frame_interval", cure="make it two rules")
    if "time_interval" in entry:
        seconds = entry["time_interval"]
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < float("inf"):
            raise context.error(f"{path}.time_interval", f"expected seconds, got {seconds!r}")
        return float(seconds), 0
    frames = entry.get("frame_interval", 1)
    if isinstance(frames, bool) or not isinstance(frames, int) or frames < 1:
        raise context.error(f"{path}.frame_interval", f"expected a whole number from 1, got {frames!r}")
    return None, frames


def _port(context: ElementContext, route: Mapping[str, Any], path: str, default_port: int) -> int:
    port = read_port(context, route, "port", f"{path}.port")
    if port == default_port:
        raise context.error(f"{path}.port", f"{port} is the default_port", cure="parts need a port of their own")
    if context.output_ports and port not in context.output_ports:
        connected = ", ".join(map(str, sorted(context.output_ports)))
        raise context.error(f"{path}.port", f"output port {port} is not connected, only {connected}")
    return port


def _classes(context: ElementContext, route: Mapping[str, Any], path: str) -> list[str]:
    names = _list(context, route, "classes", f"{path}.classes")
    for i, name in enumerate(names):
        if not isinstance(name, str) or not name:
            raise context.error(f"{path}.classes[{i}]", f"expected a class name, got {name!r}")
    return names or [FULL_FRAME]


def _object(context: ElementContext, value: Any, path: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise context.error(path, f"expected an object, got {value!r}")
    return value


def _list(context: ElementContext, entry: Mapping[str, Any], key: str, path: str) -> list[Any]:
    value = entry.get(key)
    if not isinstance(value, list):
        raise context.error(path, "is missing" if key not in entry else f"expected a list, got {value!r}")
    return value
