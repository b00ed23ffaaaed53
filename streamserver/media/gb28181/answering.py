"""What we answer to a platform's requests: decided from the request alone, but for whose call it belongs to."""

from __future__ import annotations

from collections import OrderedDict

from streamserver.media.gb28181.message import Headers, Request, Response, tag_of
from streamserver.media.gb28181.writer import ALLOW, reply

_REMEMBERED = 64
_ALLOW: Headers = (("Allow", ALLOW),)
_PLAIN: dict[str, tuple[int, str, Headers]] = {
    "OPTIONS": (200, "OK", (*_ALLOW, ("Accept", "application/sdp, Application/MANSCDP+xml"))),
    "MESSAGE": (200, "OK", ()),
    "NOTIFY": (200, "OK", ()),
    "INVITE": (488, "Not Acceptable Here", ()),
    "CANCEL": (481, "Call/Transaction Does Not Exist", ()),
}
_IN_A_CALL = frozenset({"BYE", "INFO"})


def response_to(request: Request, *, tag: str, sender: tuple[str, int], ours: bool) -> Response | None:
    """Our answer; ``None`` where none may be given.

    Args:
        request: the platform's.
        tag: ours, for what belongs to no call.
        sender: host and port that it came from.
        ours: it belongs to a call that we know.
    """
    if request.method == "ACK" or not request.branch:
        return None
    mandatory = request.value("From") and request.value("To") and request.call_id
    if not mandatory or request.cseq[1] != request.method:
        return reply(request, 400, "Bad Request", tag=tag, sender=sender)
    if request.method in _IN_A_CALL and not ours:
        return reply(request, 481, "Call/Transaction Does Not Exist", tag=tag, sender=sender)
    if request.method in _IN_A_CALL:
        return reply(request, 200, "OK", tag=tag, sender=sender)
    status, phrase, extra = _PLAIN.get(request.method, (405, "Method Not Allowed", _ALLOW))
    return reply(request, status, phrase, tag=tag, sender=sender, extra=extra)


class Answered:
    """The last answers, for requests that come again because an answer was lost."""

    def __init__(self) -> None:
        self._answers: OrderedDict[tuple[str, str, str], Response] = OrderedDict()

    def before(self, request: Request) -> Response | None:
        """What was answered to this very request; ``None`` for one that is new."""
        return self._answers.get(_transaction(request))

    def keep(self, request: Request, response: Response) -> None:
        """Remembers an answer, and forgets the oldest."""
        self._answers[_transaction(request)] = response
        while len(self._answers) > _REMEMBERED:
            self._answers.popitem(last=False)


def _transaction(request: Request) -> tuple[str, str, str]:
    return request.branch, request.method, f"{request.call_id} {request.value('CSeq')} {tag_of(request.value('From'))}"
