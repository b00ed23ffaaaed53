"""What a platform's refusal means, in words that a person can act on."""

from __future__ import annotations

from streamserver.core.errors import LoginRefusedError, SourceError
from streamserver.media.gb28181.message import Response

_INVITE = {
    403: ("the platform forbids the stream", "allow this server's id to watch the channel"),
    404: ("the platform does not know the channel '{channel}'", "check deviceid"),
    408: ("the device did not answer the platform", "check that the device is online at the platform"),
    480: ("the device is offline", "check that the device is online at the platform"),
    481: ("the platform has dropped the call", ""),
    486: ("the device is busy", "it may allow only so many viewers at once"),
    488: ("the device does not accept the kind of stream that was asked for", "try the other media transport"),
    487: ("the platform has cancelled the call", ""),
}
_REGISTER = {
    401: ("the platform refuses the password of '{us}'", "check the password, and localid at the platform"),
    403: ("the platform refuses to register '{us}'", "check the password, and localid at the platform"),
    404: ("the platform does not know '{us}'", "add localid at the platform"),
    407: ("the platform refuses the password of '{us}'", "check the password, and localid at the platform"),
}
_UNAUTHORIZED = (401, 407)


class InviteRefusedError(SourceError):
    """The platform answers an INVITE with a refusal.

    Args:
        message: see ``StreamServerError``.
        cure: see ``StreamServerError``.
        status: SIP's number for it.
    """

    def __init__(self, message: str, *, cure: str = "", status: int) -> None:
        super().__init__(message, cure=cure)
        self.status = status


def invite_refused(response: Response, *, channel: str, us: str) -> InviteRefusedError:
    """Why there is no stream."""
    table = _REGISTER if response.status in _UNAUTHORIZED else _INVITE
    words, cure = table.get(response.status, ("the platform refuses the stream", ""))
    message = f"{words.format(channel=channel, us=us)} ({response.in_words})"
    return InviteRefusedError(message, cure=cure, status=response.status)


def registration_refused(response: Response, *, us: str) -> SourceError:
    """Why we are not let in."""
    words, cure = _REGISTER.get(response.status, ("the platform refuses the registration", ""))
    kind = LoginRefusedError if response.status in _UNAUTHORIZED else SourceError
    return kind(f"{words.format(us=us)} ({response.in_words})", cure=cure)
