"""Exit codes of the worker and client processes and what the supervisor does about each."""

from __future__ import annotations

FINISHED = 0
"""The source ended (a file that was played), or the client has nothing left to deliver."""

USAGE = 64
"""The command line was wrong."""

BAD_GRAPH = 65
"""A demo, graph or element file cannot be used."""

MODEL_MISSING = 66
"""Weights are missing or unusable."""

SOURCE_MISSING = 67
"""The source does not exist and waiting will not bring it."""

BAD_SAMPLE = 68
"""The algorithm's own code or configuration is broken."""

CRASHED = 70
"""An unexpected error, with a traceback in the log."""

PORT_TAKEN = 73
"""Another program listens on the port; the supervisor chooses the next free one."""

STATE_LOST = 74
"""The supervisor's state folder was removed or replaced under it, or the task database is damaged: all start anew."""

PERMANENT = frozenset({USAGE, BAD_GRAPH, MODEL_MISSING, SOURCE_MISSING, BAD_SAMPLE})
"""Causes that a restart cannot mend: the task is FAILED with the reason and costs no restarts."""

MEANING = {
    FINISHED: "finished",
    USAGE: "wrong command line",
    BAD_GRAPH: "the graph cannot be used",
    MODEL_MISSING: "the model is missing or unusable",
    SOURCE_MISSING: "the source cannot be read",
    BAD_SAMPLE: "the algorithm's own code is broken",
    CRASHED: "crashed",
    PORT_TAKEN: "the port is taken",
    STATE_LOST: "the state folder was removed or its database is damaged; all start anew",
}


def describe(exit_code: int) -> str:
    """Says in words how a process ended; negative numbers are signals, as in ``subprocess``."""
    if exit_code < 0:
        return f"killed by signal {-exit_code}"
    return MEANING.get(exit_code, f"exit code {exit_code}")
