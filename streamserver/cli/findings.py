"""What the doctor says."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of ``check``.

    Attributes:
        what: what was looked at.
        level: ``OK``, ``WARN`` or ``FAIL``.
        found: what is so.
        cure: what to do about it; empty where all is well.
    """

    what: str
    level: str
    found: str
    cure: str = ""


def ok(what: str, found: str) -> Finding:
    """All is well."""
    return Finding(what, OK, found)


def warn(what: str, found: str, cure: str) -> Finding:
    """It works, and somebody should know."""
    return Finding(what, WARN, found, cure)


def fail(what: str, found: str, cure: str) -> Finding:
    """It does not work so."""
    return Finding(what, FAIL, found, cure)
