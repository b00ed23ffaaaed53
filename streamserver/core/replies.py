"""What the HTTP API answers: the old server's keys, with ours beside them (CONTRACT 5.2)."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from streamserver.core.wire_types import alias_of


class Answer(BaseModel):
    """A JSON object that leaves the server."""

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True, field_title_generator=alias_of)


class AlgorithmStatus(Answer):
    """One algorithm of a task."""

    type: int = Field(alias="Type", description="its number")
    name: str = Field(alias="Name", description="its name; empty when map_type has lost it")
    port: int = Field(alias="Port", description="port of the task's client process; 0 before it has one")
    path: str = Field(alias="Path", description="where the engine posts this algorithm's frames on that port")
    events: int = Field(alias="Events", description="alarms that it raised")
    totals: dict[str, Any] | None = Field(
        alias="Totals",
        default=None,
        description="what it has counted since the task was accepted, across restarts; null unless it counts",
        examples=[{"In": 6, "Out": 5, "Current": 1}],
    )
    left_out: str = Field(
        alias="LeftOut",
        default="",
        description="whom it does not tell of, and why, since its engine started or it was updated: objects for their "
        "size, everybody outside the schedule, an area outside the picture; empty where nobody is left out",
        examples=["objects for their size: one of 260x420 pixels, even its shorter side is above 250"],
    )


class TaskEntry(Answer):
    """A task and how it is doing."""

    task_id: str = Field(alias="TaskID", description="name of the task")
    status: int = Field(alias="Status", description="1: is meant to run and will; 0: has ended")
    state: str = Field(
        alias="State",
        description="PENDING, STARTING, RUNNING, BACKOFF, FINISHED (a file has ended), FAILED, STOPPING or STOPPED",
    )
    reason: str = Field(alias="Reason", description="why, in words; empty when all is well")
    source: str = Field(
        alias="Source", description="while RUNNING: connecting, streaming, stalled, reconnecting or ended; else empty"
    )
    source_since: str = Field(
        alias="SourceSince", description="when Source began, UTC; empty without one", examples=["2026-11-20T10:41:05Z"]
    )
    frame_age: float | None = Field(
        alias="FrameAge", description="seconds since the last picture came, while RUNNING; null before the first"
    )
    reconnects: int = Field(alias="Reconnects", description="how often the stream came back, since the engine started")
    stalls: int = Field(alias="Stalls", description="how often a standing connection gave no new picture")
    broken_packets: int = Field(alias="BrokenPackets", description="packets that were lost or could not be decoded")
    stream: str = Field(alias="Stream", description="what is read, e.g. h264 1920x1080 25 fps")
    gate: str = Field(
        alias="Gate",
        description="with a motion gate, while RUNNING: open (all is decoded) or idle (key frames only); else empty",
    )
    fps: float = Field(alias="Fps", description="frames analysed a second over the last seconds, while RUNNING")
    frames: int = Field(alias="Frames", description="frames analysed since the task was accepted")
    dropped: int = Field(alias="Dropped", description="live frames left out because the engine was busy")
    events: int = Field(alias="Events", description="alarms raised since the task was accepted")
    pending: int = Field(alias="Pending", description="alarms that wait for a receiver")
    delivered: int = Field(alias="Delivered", description="alarms that a receiver has confirmed")
    dead: int = Field(alias="Dead", description="alarms that every receiver refused; see /alarm/dead")
    lost: int = Field(
        alias="Lost",
        description="alarms given up: kept for longer than the settings allow, or gone with a damaged file",
    )
    restarts: int = Field(alias="Restarts", description="how often its processes were started again")
    since: str = Field(alias="Since", description="when State began, UTC, ISO 8601", examples=["2026-11-20T10:41:05Z"])
    revision: int = Field(
        alias="Revision",
        description="grows with every /task/update: the one that its processes run; 0 before they run",
    )
    detector: str = Field(alias="Detector", description="what really detects, e.g. motion; empty before it runs")
    algorithms: list[AlgorithmStatus] = Field(alias="Algorithms", description="in the order of the request")


class DeadAlarm(Answer):
    """An alarm that every receiver refused for its own sake; it waits for a replay."""

    alarm_id: str = Field(alias="AlarmID", description="the id that each report carries as X-Alarm-Id")
    task_id: str = Field(alias="TaskID", description="the task that raised it")
    type: int | None = Field(
        alias="Type", description="the algorithm that raised it; null when the task has it no more"
    )
    created: str = Field(
        alias="Created", description="when it was raised, UTC, ISO 8601", examples=["2026-11-20T10:41:05Z"]
    )
    attempts: int = Field(alias="Attempts", description="how often it was sent")
    reason: str = Field(alias="Reason", description="what the receivers said, in words")
    bytes: int = Field(alias="Bytes", description="size of the report")


class OutboxProblem(Answer):
    """A task whose alarms cannot be looked at now."""

    task_id: str = Field(alias="TaskID", description="name of the task")
    reason: str = Field(alias="Reason", description="why, and the cure")


class LogLine(Answer):
    """A line of a task's log."""

    time: str = Field(alias="Time", description="when, UTC, ISO 8601", examples=["2026-11-20T10:41:05.123Z"])
    level: str = Field(alias="Level", description="DEBUG, INFO, WARNING, ERROR or CRITICAL")
    role: str = Field(alias="Role", description="who wrote it: engine or client")
    pid: int = Field(alias="Pid", description="its process; 0 where the file does not say")
    logger: str = Field(alias="Logger", description="the part of the program")
    message: str = Field(alias="Message", description="what it says; text of any kind, never markup")
    trace: str = Field(alias="Trace", description="a traceback, several lines; empty without one")


class TaskLog(Answer):
    """The last lines of a task's log."""

    task_id: str = Field(alias="TaskID", description="name of the task")
    lines: list[LogLine] = Field(alias="Lines", description="oldest first")


class License(Answer):
    """What application keys allow, signed; every value is a text, and none may be changed."""

    license_id: str = Field(description="names this licence")
    product: str = Field(description="stream-server")
    service: str = Field(description="what it allows, e.g. passflow")
    app_key: str = Field(description="whom it is for")
    service_key: str = Field(description="which of their services it is for")
    issued: str = Field(description="when it was signed, UTC, ISO 8601", examples=["2026-11-20T10:41:05Z"])
    expires: str = Field(description="from when on it is not valid", examples=["2027-11-20T10:41:05Z"])
    signature: str = Field(description="Ed25519, in Base64, over all of the above")


class LicenseResult(Answer):
    """A licence and what it can be checked with."""

    license: License = Field(alias="License")
    public_key: str = Field(alias="PublicKey", description="the server's Ed25519 key, 32 bytes in Base64")


class Reply(Answer):
    """The whole answer to create and delete, and to everything that went wrong."""

    code: int = Field(default=0, alias="Code", description="0 for success, see the error table")
    msg: str = Field(default="success", alias="Msg", description="success, or what is wrong, where, and the cure")


class WarnedReply(Reply):
    """A task that is accepted, though something in it is probably not what was meant."""

    warnings: list[str] = Field(alias="Warnings", description="unknown keys that look like known ones")


class Updated(Answer):
    """What an update has led to."""

    revision: int = Field(
        alias="Revision", description="of the accepted content; in force once the task's own Revision is the same"
    )


class UpdateReply(Reply):
    """The answer to update."""

    result: Updated = Field(alias="Result")
    warnings: list[str] = Field(default=[], alias="Warnings", description="unknown keys that look like known ones")


class QueryReply(Reply):
    """The answer to query; ``Code`` is 1 when the task has ended."""

    result: TaskEntry = Field(alias="Result")


class ListReply(Reply):
    """The answer to list."""

    result: list[TaskEntry] = Field(alias="Result", description="ended tasks stay until they are deleted")


class PageReply(ListReply):
    """The answer to list when a page was asked for."""

    total: int = Field(alias="Total", description="how many there are on all pages together")
    more: bool = Field(alias="More", description="there are more; ask again with the last TaskID as After")


class LogReply(Reply):
    """The answer to /task/log."""

    result: TaskLog = Field(alias="Result")


class DeadReply(Reply):
    """The answer to /alarm/dead."""

    result: list[DeadAlarm] = Field(alias="Result", description="by AlarmID, which is oldest first")
    more: bool = Field(alias="More", description="there are more; ask again with After")
    problems: list[OutboxProblem] = Field(
        default=[],
        alias="Problems",
        description="tasks whose dead letters cannot be read now; those of others are listed",
    )


class ReplayReply(Reply):
    """The answer to /alarm/replay."""

    replayed: int = Field(alias="Replayed", description="how many are on their way again")
    problems: list[OutboxProblem] = Field(
        default=[], alias="Problems", description="tasks whose dead letters cannot be reached now"
    )


class LicenseReply(Reply):
    """The answer to /license."""

    result: LicenseResult = Field(alias="Result")
