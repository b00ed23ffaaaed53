"""The requests of the HTTP API: one definition for validation, documentation and types (CONTRACT 5.2 and 6.2).

Wire spelling lives in the aliases here, in ``drawings`` and in ``replies``. The way in is ``parse_create`` and
``parse_task_id``; what leaves for the store, ``prepare`` and the samples is ``canonical``.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from itertools import chain, islice
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, Strict

from streamserver.core.address_checks import check_source, report_address, sensible_address
from streamserver.core.drawings import DetectInfo, TargetSize, not_contradictory
from streamserver.core.errors import BadRequestError, UnknownAlgorithmError
from streamserver.core.examples import NEW_TASK_BODY as NEW_TASK_BODY
from streamserver.core.extend_options import KEYS_OF_SAMPLES, TASK_WIDE_KEYS, ExtendOptions
from streamserver.core.outgoing import Policy
from streamserver.core.size_limits import check_sizes
from streamserver.core.slips import nearest
from streamserver.core.strict_json import JsonPath, parse_object, path_text
from streamserver.core.wire_errors import fault, validate
from streamserver.core.wire_types import SourceName, TaskName, Whole, Wire, without_controls

log = logging.getLogger(__name__)

MAX_ALGORITHMS = 32
MAX_DETECT_INFOS = 64
MAX_REPORT_URLS = 32
MAX_DETECT_INTERVAL = 100_000
MAX_INTERVAL = 1_000_000
_MAX_WARNINGS = 10
_MOST_LOOKED_AT = 1000
"""Unknown keys that are compared with the known ones."""


def _percent(threshold: float) -> float:
    """Below 1 it is a fraction (application-web sends 0.5 and 50 for the same thing); 1 is 1 %.

    Never less than 1, or whoever reads the canonical request would take it for a fraction again.
    """
    return float(threshold) if threshold >= 1 else max(1.0, round(threshold * 100, 6))


def _at_least_one(interval: int) -> int:
    return max(1, interval)


class Algorithm(Wire):
    """What to look for, how often and where; the defaults are what application-web gives a new task."""

    type: Whole = Field(alias="Type", description="number of the algorithm, a key of map_type", examples=[1])
    detect_interval: Annotated[Whole, AfterValidator(_at_least_one)] = Field(
        default=3,
        alias="DetectInterval",
        ge=0,
        le=MAX_DETECT_INTERVAL,
        description="every how many frames one is analysed; 0 is taken as 1",
        examples=[3],
    )
    track_interval: Whole = Field(
        default=20,
        alias="TrackInterval",
        ge=0,
        le=MAX_INTERVAL,
        description="analysed frames that an object must be there before its first alarm",
        examples=[20],
    )
    alarm_interval: Whole = Field(
        default=300,
        alias="AlarmInterval",
        ge=0,
        le=MAX_INTERVAL,
        description="analysed frames between two alarms of the same about one object; 0: again only after it was gone",
        examples=[300],
    )
    threshold: Annotated[float, Strict(), Field(gt=0, le=100), AfterValidator(_percent)] = Field(
        default=50.0,
        description="least confidence: below 1 a fraction (0.5 is 50 %), from 1 to 100 percent; never less than 1 %",
        alias="threshold",
        examples=[50],
    )
    target_size: Annotated[TargetSize, AfterValidator(not_contradictory)] = Field(
        default=TargetSize(), alias="TargetSize", description="how large an object may be"
    )
    detect_infos: list[DetectInfo] = Field(
        default=[],
        alias="DetectInfos",
        max_length=MAX_DETECT_INFOS,
        description="lines and areas; absent, null or [] for the whole picture",
        examples=[[{"HotArea": [{"X": 0, "Y": 0}, {"X": 1920, "Y": 0}, {"X": 1920, "Y": 1080}]}]],
    )
    extend: Any = Field(
        default={}, alias="Extend", description="any JSON for the algorithm; known keys of an object: ExtendOptions"
    )


class StreamSrc(Wire):
    """Where the pictures come from."""

    address: Annotated[
        str,
        Strict(),
        Field(min_length=1),
        AfterValidator(sensible_address),
        AfterValidator(without_controls),
    ] = Field(
        alias="Address",
        description="rtsp(s)://, rtmp(s)://, http(s)://, udp://, srt://, gb28181://, gb28181_playback://, base64://, "
        "/dev/video0, or the absolute path of a file or folder on the server",
        examples=["rtsp://192.0.2.1:554/stream"],
    )


class InputSrc(Wire):
    """The source and its name."""

    src_id: SourceName = Field(alias="SrcID", description="name of the source, sent with each alarm", examples=["cam1"])
    stream_src: StreamSrc = Field(
        alias="StreamSrc", description="how to reach it", examples=[{"Address": "rtsp://192.0.2.1:554/stream"}]
    )


def _list_of_addresses(value: Any) -> Any:
    if isinstance(value, str):
        raise fault("expected a list", cure='put the address into a list: ["http://…"]')
    return value


ReportUrl = Annotated[str, Strict(), AfterValidator(report_address), AfterValidator(without_controls)]


class Reporting(Wire):
    """Where alarms go."""

    report_urls: Annotated[list[ReportUrl], BeforeValidator(_list_of_addresses)] = Field(
        default=[],
        alias="ReportUrlList",
        max_length=MAX_REPORT_URLS,
        description="http(s) addresses that take turns; may be empty only when events are also kept locally",
        examples=[["http://127.0.0.1:8089/api/upload"]],
    )


class TaskIdRequest(Wire):
    """Names a task; a number is taken as its text."""

    task_id: TaskName = Field(
        alias="TaskID", description="name of the task: any text of 1 to 256 characters, never a path", examples=["t1"]
    )


class CreateRequest(TaskIdRequest):
    """One stream, what to look for in it, and where alarms go."""

    input_src: InputSrc = Field(
        alias="InputSrc",
        description="the source",
        examples=[{"SrcID": "cam1", "StreamSrc": {"Address": "rtsp://192.0.2.1:554/stream"}}],
    )
    algorithms: list[Algorithm] = Field(
        alias="Algorithm",
        min_length=1,
        max_length=MAX_ALGORITHMS,
        description="at least one algorithm; all work on the same pictures",
        examples=[[{"Type": 1, "DetectInterval": 3}]],
    )
    reporting: Reporting = Field(
        default=Reporting(),
        alias="Reporting",
        description="where alarms go",
        examples=[{"ReportUrlList": ["http://127.0.0.1:8089/api/upload"]}],
    )


def parse_create(
    body: bytes,
    *,
    known_types: Mapping[int, str],
    max_bytes: int,
    events_kept_locally: bool,
    source_exists: Callable[[str], bool],
    foreign_engine: bool = False,
    policy: Policy | None = None,
) -> CreateRequest:
    """The request in a body of ``/task/create``, checked as far as it can be without starting anything.

    Args:
        body: as it came.
        known_types: the algorithms of this server, name by ``Type``.
        max_bytes: largest body.
        events_kept_locally: whether a task may have no report address.
        source_exists: tells whether the file or folder at an absolute path can be played by this server.
        foreign_engine: whether a sophon-stream program is the engine; it reads sources that ours does not.
        policy: where addresses may lead; ``None`` where nothing will be connected to.

    Raises:
        BadRequestError: of the first thing that is wrong, with its JSON path.
        RefusedAddressError: an address leads to where the settings let no task go.
        UnknownAlgorithmError: a ``Type`` that this server does not have.
        BodyTooLargeError: the body is larger than ``max_bytes``.
    """
    content = parse_object(body, max_bytes=max_bytes)
    check_sizes(content)
    request = validate(CreateRequest, content)
    for index, algorithm in enumerate(request.algorithms):
        _check_type(algorithm.type, index, known_types)
        if isinstance(algorithm.extend, dict):
            validate(ExtendOptions, algorithm.extend, at=("Algorithm", index, "Extend"))
    if policy is not None:
        policy.check_all(_addresses(request))
    check_source(request.input_src.stream_src.address, source_exists=source_exists, foreign_engine=foreign_engine)
    if not request.reporting.report_urls and not events_kept_locally:
        raise BadRequestError(
            "there is no address to send alarms to",
            path="$.Reporting.ReportUrlList",
            cure='add one, e.g. ["http://127.0.0.1:8089/api/upload"], or set event_dir to keep them on the server',
        )
    for slip in slips_of(request):
        log.warning("task %r: %s", request.task_id, slip)
    return request


def parse_task_id(body: bytes, *, max_bytes: int) -> TaskIdRequest:
    """The request in a body of ``/task/delete`` or ``/task/query``.

    Raises:
        BadRequestError: the body is no object with a usable ``TaskID``.
        BodyTooLargeError: the body is larger than ``max_bytes``.
    """
    return validate(TaskIdRequest, parse_object(body, max_bytes=max_bytes))


def canonical(request: CreateRequest) -> dict[str, Any]:
    """The request as the store keeps it and samples receive it: wire spelling, every optional key filled in.

    ``threshold`` is in percent, as samples of the old server expect it; ``DetectInfos`` is a list whose entries have
    ``TripWire`` (all zero for none) and ``HotArea`` ([] for none, else corners without repeats); ``Extend`` is as it
    came, without known keys that are null, and ``{}`` when it did not come. Unknown keys are kept.
    """
    content = request.model_dump(by_alias=True)
    for algorithm in content["Algorithm"]:
        if isinstance(algorithm["Extend"], dict):
            options = ExtendOptions.model_validate(algorithm["Extend"])
            algorithm["Extend"] = options.model_dump(by_alias=True, exclude_unset=True)
    return content


def spec_hash(canonical_request: Mapping[str, Any]) -> str:
    """The same for two canonical requests that ask for the same thing, whatever the order of their keys."""
    text = json.dumps(canonical_request, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _check_type(number: int, index: int, known_types: Mapping[int, str]) -> None:
    if number not in known_types:
        there_are = ", ".join(f"{known} {name}" for known, name in sorted(known_types.items())) or "none"
        raise UnknownAlgorithmError(
            f"no algorithm has the number {number}",
            path=f"$.Algorithm[{index}].Type",
            cure=f"this server has: {there_are}",
        )


def _addresses(request: CreateRequest) -> dict[str, str]:
    """All addresses of a request by their JSON paths."""
    reports = {f"$.Reporting.ReportUrlList[{i}]": url for i, url in enumerate(request.reporting.report_urls)}
    return {"$.InputSrc.StreamSrc.Address": request.input_src.stream_src.address} | reports


def slips_of(request: CreateRequest) -> list[str]:
    """Unknown keys that look like known ones, and known ones where they say nothing, a sentence each, ten at most.

    Of very many unknown keys only the first thousand are looked at.
    """
    extends = [(("Algorithm", i, "Extend"), entry.extend) for i, entry in enumerate(request.algorithms)]
    models = [(at, ExtendOptions.model_validate(extend)) for at, extend in extends if isinstance(extend, dict)]
    found = chain(_slips(request, ()), _of_no_algorithm(request), *(_slips(model, at) for at, model in models))
    return list(islice(filter(None, islice(found, _MOST_LOOKED_AT)), _MAX_WARNINGS))


def _of_no_algorithm(request: CreateRequest) -> Iterator[str]:
    """Keys of the ``Extend`` beside ``Algorithm`` that hold for algorithms only."""
    extend = (request.model_extra or {}).get("Extend")
    for key in extend if isinstance(extend, dict) else ():
        if key in _HOMES and key not in TASK_WIDE_KEYS:
            yield _misplaced(key, ("Extend",))


def _slips(model: BaseModel, at: JsonPath) -> Iterator[str]:
    """A sentence for each unknown key that is a known one elsewhere or looks like one, else "", depth first."""
    known = [str(field.alias) for field in type(model).model_fields.values()]
    known += KEYS_OF_SAMPLES if isinstance(model, ExtendOptions) else ()
    known += ("Extend",) if isinstance(model, CreateRequest) else ()
    for key in model.model_extra or {}:
        if key in known:
            continue
        if key in _HOMES:
            yield _misplaced(key, at)
        else:
            near = nearest(key, known)
            yield f"{path_text((*at, key))} is no key of this server; did you mean {near!r}?" if near else ""
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        children = enumerate(value) if isinstance(value, list) else [(None, value)]
        for index, child in children:
            if isinstance(child, BaseModel):
                step = () if index is None else (index,)
                yield from _slips(child, (*at, str(field.alias), *step))


def _misplaced(key: str, at: JsonPath) -> str:
    return f"{path_text((*at, key))} says nothing there; its place is {_HOMES[key]}"


def _homes() -> dict[str, str]:
    """Where each key is understood; names that anybody's ``Extend`` may have for something else are left out."""
    models: dict[str, type[BaseModel]] = {
        "$.InputSrc": InputSrc,
        "$.Reporting": Reporting,
        "$.Algorithm[]": Algorithm,
        "$.Algorithm[].TargetSize": TargetSize,
        "$.Algorithm[].DetectInfos[]": DetectInfo,
        "$.Algorithm[].Extend": ExtendOptions,
    }
    homes = {str(field.alias): home for home, model in models.items() for field in model.model_fields.values()}
    homes |= dict.fromkeys(KEYS_OF_SAMPLES, "$.Algorithm[].Extend")
    return {key: home for key, home in homes.items() if key not in ("Type", "SrcID")}


_HOMES = _homes()
