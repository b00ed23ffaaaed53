"""Triples: one algorithm spread over neighbouring elements by ``configure.stage`` (CONTRACT 2.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamserver.graph.fields import show
from streamserver.graph.model import RawElement, RawGraph

STAGES = ("pre", "infer", "post")

_OWNED_BY_PRE = ("bgr2rgb", "bgr2gray", "mean", "std", "roi")
_OWNED_BY_INFER = ("model_path",)

Chain = tuple[RawElement, ...]
"""Elements of one name whose stages together are ``STAGES``, each leading only to the next."""


def is_staged(element: RawElement) -> bool:
    """True for a part of a triple; a group ignores ``stage``, and without the key an element is whole."""
    return not element.is_group and "stage" in element.configure


def stage_chains(graph: RawGraph) -> tuple[list[Chain], list[str]]:
    """The triples of a graph, and in words what keeps the other staged elements from being one."""
    staged = {element.element_id: element for element in graph.elements if is_staged(element)}
    problems = [problem for element in staged.values() if (problem := _stage_problem(element))]
    if problems:
        return [], problems
    chains = []
    seen: set[int] = set()
    for element in staged.values():
        if _stages(element)[0] == STAGES[0]:
            chain, problem = _follow(graph, element)
            seen |= {member.element_id for member in chain}
            if problem:
                problems.append(problem)
            else:
                chains.append(chain)
    problems += [_orphan_problem(element) for element in staged.values() if element.element_id not in seen]
    return chains, problems


def merge_configure(chain: Chain) -> dict[str, Any]:
    """One ``configure`` object for a triple.

    A stage decides about the keys that it uses: pre about the picture (colour order, mean, std, roi), infer about the
    model, post about everything else; a key that the deciding stage does not give comes from the latest that does.
    """
    merged = {key: value for element in chain for key, value in element.configure.items()}
    for stage, keys in ((STAGES[0], _OWNED_BY_PRE), (STAGES[1], _OWNED_BY_INFER)):
        owner = _owner(chain, stage)
        merged |= {key: owner[key] for key in keys if key in owner}
    merged.pop("stage", None)
    return merged


def _owner(chain: Chain, stage: str) -> Mapping[str, Any]:
    return next(element.configure for element in chain if stage in _stages(element))


def _stages(element: RawElement) -> tuple[str, ...]:
    """The element's stages in running order; expects a usable ``stage``."""
    return tuple(stage for stage in STAGES if stage in element.configure["stage"])


def _stage_problem(element: RawElement) -> str:
    value = element.configure["stage"]
    known = isinstance(value, list) and value and all(stage in STAGES for stage in value)
    if known and "".join(_stages(element)) in "".join(STAGES):
        return ""
    return (
        f"element {element.element_id} '{element.name}': stage: {show(value)} is none; use neighbours of "
        f"{', '.join(STAGES)}, or the element '{element.name}_group'"
    )


def _follow(graph: RawGraph, first: RawElement) -> tuple[Chain, str]:
    """Collects the stages from ``first`` on; the second value says what is missing, if anything is."""
    elements = {element.element_id: element for element in graph.elements}
    chain = [first]
    missing = list(STAGES[len(_stages(first)) :])
    while missing:
        last = chain[-1]
        next_ids = {edge.dst for edge in graph.edges if edge.src == last.element_id}
        following = [elements[i] for i in sorted(next_ids) if i in elements]
        step = following[0] if len(following) == 1 else None
        if step is None or not _continues(graph, last, step, missing):
            return tuple(chain), _missing_problem(last, missing, following)
        chain.append(step)
        del missing[: len(_stages(step))]
    return tuple(chain), ""


def _continues(graph: RawGraph, last: RawElement, step: RawElement, missing: list[str]) -> bool:
    """True if ``step`` does the next missing stages of the same algorithm and nothing but ``last`` leads to it."""
    if step.name != last.name or not is_staged(step):
        return False
    stages = list(_stages(step))
    feeders = {edge.src for edge in graph.edges if edge.dst == step.element_id}
    return stages == missing[: len(stages)] and feeders == {last.element_id}


def _missing_problem(last: RawElement, missing: list[str], following: list[RawElement]) -> str:
    then = ", ".join(f"{element.element_id} '{element.name}'" for element in following) or "nothing"
    return (
        f"element {last.element_id} '{last.name}': stage: {' and '.join(missing)} must follow, fed by nothing else; "
        f"what follows is {then}"
    )


def _orphan_problem(element: RawElement) -> str:
    return (
        f"element {element.element_id} '{element.name}': stage: {' and '.join(_stages(element))} does not follow "
        f"the stage before it"
    )
