"""Every error that a user can meet: its number, its message and its cure.

``code`` travels as ``Code`` in HTTP replies, so it never changes its meaning. Two numbers are the old server's own and
stay: -1 for a delete that finds nothing and 1 for a query that finds nothing running.
"""

from __future__ import annotations


class StreamServerError(Exception):
    """The root of all our errors.

    Args:
        message: names the thing, the value and what is wrong with it.
        cure: what the reader can do about it; appended to the message.
    """

    code = 5000

    def __init__(self, message: str, *, cure: str = "") -> None:
        super().__init__(f"{message}; {cure}" if cure else message)
        self.message = message
        self.cure = cure


class BadRequestError(StreamServerError):
    """A request that cannot be accepted; ``path`` is the JSON path of the culprit, ``$`` for the whole body."""

    code = 4000

    def __init__(self, message: str, *, path: str = "$", cure: str = "") -> None:
        super().__init__(f"{path}: {message}" if path else message, cure=cure)
        self.path = path


class BodyTooLargeError(BadRequestError):
    """The request body is larger than the setting ``max_body_bytes``."""

    code = 4001


class UnknownAlgorithmError(BadRequestError):
    """``Type`` names no algorithm of ``config_algorithm.map_type``."""

    code = 4002


class NotUpdatableError(BadRequestError):
    """An update asks for something that cannot change while the task runs; ``/task/create`` starts it anew."""

    code = 4003


class RefusedAddressError(BadRequestError):
    """A stream or report address, or a file, that the settings let no task use; the message names the setting.

    Args:
        message: what leads where.
        path: the JSON path of the address; empty where no request is being answered.
        cure: what the reader can do about it.
    """

    code = 4004

    def __init__(self, message: str, *, path: str = "", cure: str = "") -> None:
        super().__init__(message, path=path, cure=cure)


class AccessError(StreamServerError):
    """Who sent the request may not do this; the HTTP status says so on every path."""

    code = 4030


class KeyNeededError(AccessError):
    """The request needs an API key and has none that is valid."""

    code = 4010


class TooManyRequestsError(AccessError):
    """One key or address asks too often, or sent too many wrong keys.

    Args:
        message: what there was too much of.
        cure: what the reader can do about it.
        retry_after_s: when to ask again, in seconds.
    """

    code = 4290

    def __init__(self, message: str, *, cure: str = "", retry_after_s: float) -> None:
        super().__init__(message, cure=cure)
        self.retry_after_s = retry_after_s


class KeyBookError(AccessError):
    """The book of API keys cannot be read, so nobody can be let in who needs a key."""

    code = 5021


class TaskNotFoundError(StreamServerError):
    """No task has this TaskID (or, for delete, this SrcID)."""

    code = -1


class TaskNotRunningError(StreamServerError):
    """Query found no running task of this TaskID; ``Result``, where there is one, says how it ended."""

    code = 1


class ConfigError(StreamServerError):
    """A configuration file of ours (settings, models.yaml) is wrong; the message names file and key."""

    code = 5001


class GraphError(StreamServerError):
    """A demo, graph or element file cannot be used; the message names file, element and key."""

    code = 5002


class ModelNotFoundError(StreamServerError):
    """Weights are in no model directory and cannot be fetched."""

    code = 5003


class ModelError(StreamServerError):
    """Weights were found but cannot be used (checksum, unknown layout, wrong class count)."""

    code = 5004


class DeviceError(StreamServerError):
    """A GPU failed while a model ran; after a restart it may be well again."""

    code = 5013


class StoppedError(StreamServerError):
    """What was under way was given up because the process is to end; nothing failed."""

    code = 5020


class SourceError(StreamServerError):
    """A source cannot be opened or read; the message carries the masked address."""

    code = 5005


class LoginRefusedError(SourceError):
    """A source refused user or password; tried again less often than others, for cameras lock users out."""

    code = 5016


class SourceMissingError(SourceError):
    """A source that a retry cannot mend, e.g. a file that does not exist."""

    code = 5006


class AddressError(SourceMissingError):
    """An address that cannot be meant so; names the part at fault and never shows a secret.

    Args:
        field: which part of the address, e.g. ``begtime``.
        problem: what is wrong with it, with what came unless that may be secret.
        cure: what to write instead.
    """

    code = 5014

    def __init__(self, field: str, problem: str, *, cure: str) -> None:
        super().__init__(f"{field}: {problem}", cure=cure)
        self.field = field


class PreviewError(StreamServerError):
    """A preview or snapshot cannot be given now: too many are watched or wait, or the engine gives none."""

    code = 5015


class SampleError(StreamServerError):
    """An algorithm under samples/ is broken; the message names the sample and what is missing."""

    code = 5007


class StoreError(StreamServerError):
    """The task database cannot be read or written."""

    code = 5008


class StateLostError(StoreError):
    """The state folder was removed or replaced while a supervisor worked in it."""

    code = 5012


class PortError(StreamServerError):
    """A port is taken or none is free."""

    code = 5009


class StoreDamagedError(StoreError):
    """A database is damaged; whoever opens it next moves it aside and restores what can be restored."""

    code = 5017


class DiskFullError(StreamServerError):
    """The disk of the state folder is nearly full, so nothing new is accepted."""

    code = 5018


class LicenceError(StreamServerError):
    """Application keys give no licence (unknown, wrong, expired, revoked), or a licence is not valid."""

    code = 5019


class DeliveryError(StreamServerError):
    """A report address or the local folder did not take an alarm; the message names it, its secrets masked.

    Args:
        message: names the address and what was wrong.
        cure: what the reader can do about it.
        retry_after_s: how long the address asked to be left alone, in seconds; ``None`` when it did not.
        unreachable: nobody could be connected to, so the address cannot have got the alarm.
    """

    code = 5010

    def __init__(
        self, message: str, *, cure: str = "", retry_after_s: float | None = None, unreachable: bool = False
    ) -> None:
        super().__init__(message, cure=cure)
        self.retry_after_s = retry_after_s
        self.unreachable = unreachable


class AlarmRefusedError(DeliveryError):
    """A report address that is well does not want this very alarm; it may take others."""

    code = 5011
