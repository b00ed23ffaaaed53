"""What the HTTP API answers: the old server's keys, with ours beside them (CONTRACT 5.2)."""

from __future__ import annotations

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
    fps: float = Field(alias="Fps", description="frames analysed a second over the last seconds, while RUNNING")
    frames: int = Field(alias="Frames", description="frames analysed since the task was accepted")
    dropped: int = Field(alias="Dropped", description="live frames left out because the engine was busy")
    events: int = Field(alias="Events", description="alarms raised since the task was accepted")
    pending: int = Field(alias="Pending", description="alarms that wait for a receiver")
    restarts: int = Field(alias="Restarts", description="how often its processes were started again")
    since: str = Field(alias="Since", description="when State began, UTC, ISO 8601", examples=["2026-11-20T10:41:05Z"])
    detector: str = Field(alias="Detector", description="what really detects, e.g. motion; empty before it runs")
    algorithms: list[AlgorithmStatus] = Field(alias="Algorithms", description="in the order of the request")


class Reply(Answer):
    """The whole answer to create and delete, and to everything that went wrong."""

    code: int = Field(default=0, alias="Code", description="0 for success, see the error table")
    msg: str = Field(default="success", alias="Msg", description="success, or what is wrong, where, and the cure")


class QueryReply(Reply):
    """The answer to query; ``Code`` is 1 when the task has ended."""

    result: TaskEntry = Field(alias="Result")


class ListReply(Reply):
    """The answer to list."""

    result: list[TaskEntry] = Field(alias="Result", description="oldest first; ended tasks stay until they are deleted")
