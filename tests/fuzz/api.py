"""Asks every endpoint of /openapi.json what its schema allows and what it does not; judges each reply by the schema."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import hypothesis
from hypothesis import HealthCheck
from schemathesis import Case, GenerationMode, Response
from schemathesis.specs.openapi import checks

_CHECKS: list[Any] = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
_MAY_FAIL = frozenset({501, 502, 503})
"""Statuses above 499 that an endpoint may answer, where its description says so."""

_LENIENT = frozenset({"POST /task/list"})
"""What the old server answered whatever the body was."""

_GOOD_TASK: dict[str, Any] = {
    "InputSrc": {"SrcID": "cam1", "StreamSrc": {"Address": "rtsp://192.0.2.1/stream"}},
    "Reporting": {"ReportUrlList": ["http://127.0.0.1:9/api"]},
}


@dataclass
class Findings:
    """What came of a run: how many requests of which kind had which answer, and every reply that must not be."""

    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many requests were sent."""
        return sum(sum(counts.values()) for counts in self.outcomes.values())


def ask_everything(schema: Any, *, examples: int, seed: int, headers: dict[str, str] | None = None) -> Findings:
    """Sends each operation ``examples`` requests that fit its schema, and as many that do not.

    Args:
        schema: as ``schemathesis.openapi.from_wsgi`` or ``from_url`` gives it.
        examples: of each kind for each operation; where nothing can vary it is asked once.
        seed: the same seed sends the same.
        headers: sent with each request, for a server with keys.
    """
    schema.config.generation.update(allow_extra_parameters=False)  # unknown keys are accepted, by every endpoint
    findings = Findings()
    for result in schema.get_all_operations():
        operation = result.ok()
        counts = findings.outcomes.setdefault(operation.label, Counter())
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            _ask(operation, mode, examples, seed, headers, counts, findings.failures)
    return findings


def _ask(
    operation: Any,
    mode: GenerationMode,
    examples: int,
    seed: int,
    headers: dict[str, str] | None,
    counts: Counter[str],
    failures: list[str],
) -> None:
    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=examples, database=None, deadline=None, suppress_health_check=list(HealthCheck), phases=_PHASES
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def one(case: Case) -> None:
        if mode is GenerationMode.POSITIVE and operation.label == "POST /task/create" and sum(counts.values()) % 2:
            _make_acceptable(case)
        response = case.call(headers=headers)
        counts[f"{response.status_code} {_code(response)}"] += 1
        problems = list(_problems(case, response, fits=mode is GenerationMode.POSITIVE))
        if problems:
            failures.append(f"{operation.label}: {'; '.join(problems)}\n{case.as_curl_command()[:600]}")

    try:
        one()
    except hypothesis.errors.Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE, f"{operation.label}: nothing fits its own schema"


_PHASES = (hypothesis.Phase.generate,)
"""Failures are collected rather than raised, so there is nothing to shrink."""


def _make_acceptable(case: Case) -> None:
    """Addresses and a Type that the server takes: random ones never get past the first check."""
    if isinstance(case.body, dict):
        body = copy.deepcopy(case.body) | copy.deepcopy(_GOOD_TASK)
        for algorithm in body.get("Algorithm", ()):
            algorithm |= {"Type": 1, "Extend": {}}
        case.body = body


def _problems(case: Case, response: Response, *, fits: bool) -> Iterator[str]:
    try:
        case.validate_response(response, checks=_CHECKS)
    except BaseExceptionGroup as e:
        yield from (str(one) for one in e.exceptions)
    if response.status_code >= 500 and response.status_code not in _MAY_FAIL:
        yield f"status {response.status_code}: {response.text[:300]}"
    code = _code(response)
    if code == "5000":
        yield f"an internal error: {response.text[:300]}"
    needs = not fits and f"{case.method.upper()} {case.path}" not in _LENIENT
    if needs and response.status_code == 200 and code in ("0", "-") and (case.method == "GET" or _has_body(response)):
        yield f"what the schema forbids was accepted: {response.text[:300]}"


def _has_body(response: Response) -> bool:
    """Whether one was sent; none at all is a body that fits, where it is optional."""
    return bool(response.request.body)


def _code(response: Response) -> str:
    """``Code`` of a reply that has one, else ``-``."""
    try:
        content = json.loads(response.content)
    except ValueError:
        return "-"
    return str(content.get("Code", "-")) if isinstance(content, dict) else "-"


def table(findings: Findings) -> Iterable[str]:
    """The outcomes as lines of a table."""
    yield "| operation | requests | HTTP status and Code |"
    yield "|---|---|---|"
    for operation, counts in findings.outcomes.items():
        seen = ", ".join(f"{outcome}: {count}" for outcome, count in counts.most_common())
        yield f"| {operation} | {sum(counts.values())} | {seen} |"
