"""Who is counted, and the totals that outlive restarts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamserver.plugin_api import Kind, Presence, event_name, objects_of, rule_events, rule_names, track_buffer

passenger_flow_classes = (0,)
"""The classes that are counted unless the task's ``Extend.Classes`` says otherwise: persons."""

passenger_flow_in_thresh = 3
"""Processed frames in a row that somebody must be there, with an engine that knows no rules."""


class FlowTotals:
    """How many came in and went out since the task was accepted, and how many are there now.

    Args:
        algorithm: the entry of the task.
    """

    def __init__(self, algorithm: Mapping[str, Any]) -> None:
        self.come_in = self.gone_out = self.current = 0
        extend = algorithm.get("Extend")
        self._each = not (isinstance(extend, Mapping) and extend.get("ReportEvents") is False)
        self._presence: Presence[str] = Presence(
            enter_frames=int(algorithm.get("TrackInterval") or passenger_flow_in_thresh),
            leave_frames=track_buffer(algorithm),
        )

    def update(self, json_data: Mapping[str, Any]) -> list[str]:
        """Counts what happened in a posted frame; returns the names of what is to be reported of it."""
        events = rule_events(json_data)
        if events is None:
            return self._count_objects(json_data)
        flow = [one for one in events if one.kind is Kind.FLOW]
        self.come_in += sum(one.direction == "in" for one in flow)
        self.gone_out += sum(one.direction == "out" for one in flow)
        self.current = next((one.count for one in events if one.count is not None), self.current)
        counts = [one for one in events if one.kind is Kind.COUNT][:1]  # each of several lines has its own
        return [event_name(one) for one in (*(flow if self._each else ()), *counts)]

    def memory(self) -> dict[str, int]:
        """The totals, as they are kept and reported."""
        return {"In": self.come_in, "Out": self.gone_out, "Current": self.current}

    def recall(self, memory: Mapping[str, int]) -> None:
        """Goes on with totals of before; who is there now has yet to be seen."""
        self.come_in, self.gone_out = memory["In"], memory["Out"]

    def _count_objects(self, json_data: Mapping[str, Any]) -> list[str]:
        due = rule_names(json_data, self._presence)
        self.come_in += len(due)
        self.current = len(objects_of(json_data))
        return due if self._each else []


def new_state(algorithm: Mapping[str, Any]) -> FlowTotals:
    """The memory of one algorithm of one task.

    Args:
        algorithm: its entry of the task.
    """
    return FlowTotals(algorithm)


passenger_flow_infos = new_state({})
"""The memory of those who call ``passenger_flow_logic`` without a state."""
