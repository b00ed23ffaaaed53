"""The address of a model on a server of the Open Inference Protocol: ``oip+grpc://host:port/model``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

from streamserver.core.secrets import register
from streamserver.core.urls import decoded, take_apart

FORM = "oip+grpc://host:port/model"
"""What such an address looks like, for messages."""

ANSWER_S = 10.0
"""How long a server has to answer, unless the setting ``remote_timeout_s`` says otherwise."""

_SCHEMES = {"oip+grpc": False, "oip+grpcs": True}
_PATH = re.compile(r"/(?P<model>[^/?#]+)(?:/versions/(?P<version>[1-9][0-9]{0,17}))?/?")


class Waiting(Protocol):
    """What waits for a server that is away; called in the thread that needs it."""

    def wait(self, reason: str, pause_s: float) -> bool:
        """Says why, and returns after ``pause_s`` seconds; False, at once, when the process wants to end."""

    def over(self, running: str) -> None:
        """The server is back; ``running`` says what runs where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAddress:
    """Where a model is, and how to wait for it; as text it shows no secret.

    Attributes:
        host: a name or an IP address, without brackets.
        port: where the server speaks gRPC.
        model: its name there.
        version: its number there; empty for the one that the server chooses.
        secure: with TLS.
        user: who asks (HTTP's Basic scheme); empty for nobody, and with a ``password`` that is a Bearer token then.
        password: of ``user``, or the token.
        timeout_s: how long the server has to answer one request.
        waiting: what waits while the server is away; ``None`` for an error at once.
    """

    host: str
    port: int
    model: str
    version: str = ""
    secure: bool = False
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    timeout_s: float = field(default=ANSWER_S, compare=False)
    waiting: Waiting | None = field(default=None, compare=False, repr=False)

    @classmethod
    def from_text(cls, text: str) -> ModelAddress:
        """Takes an address apart and notes its secrets, which no log shows from then on.

        Raises:
            ValueError: it cannot be meant so; says which part, what came unless that may be secret, and what to write.
        """
        register(text)
        parts = take_apart(text)
        if parts is None or parts.scheme not in _SCHEMES:
            scheme = text.partition(":")[0]
            raise ValueError(f"the scheme '{scheme}' is none of a model server; write {FORM}, or oip+grpcs:// for TLS")
        if not parts.host or any(letter.isspace() for letter in parts.host):
            raise ValueError(f"the host is missing; write {FORM}")
        if parts.port is None or not 0 < parts.port < 65536:
            raise ValueError(f"the port is missing or none; write {FORM} (a Triton's port for gRPC is 8001)")
        found = _PATH.fullmatch(re.sub(r"^[^/?#]*", "", parts.location.removeprefix("@")))
        if found is None:
            raise ValueError(
                f"the name of the model is missing, or more follows it than its version; write {FORM} or "
                f"{FORM}/versions/3"
            )
        return cls(
            host=parts.host,
            port=parts.port,
            model=unquote(found["model"]),
            version=found["version"] or "",
            secure=_SCHEMES[parts.scheme],
            user=decoded(parts.user or ""),
            password=decoded(parts.password or ""),
        )

    @property
    def target(self) -> str:
        """Host and port, as gRPC takes them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def server(self) -> str:
        """The server's part of the address."""
        return f"oip+grpc{'s' * self.secure}://{self.target}"

    @property
    def name(self) -> str:
        """What the model is called in messages, as a file by its name."""
        return f"{self.model}/versions/{self.version}" if self.version else self.model

    def __str__(self) -> str:
        return f"{self.server}/{self.name}"


ModelPlace = Path | ModelAddress
"""Where a model is: a file here, or on a server."""


def is_model_address(text: str) -> bool:
    """Whether somebody means a model on a server, however well it is written."""
    return re.match(r"(oip|grpcs?)\b[^/]*:/", text, re.IGNORECASE) is not None
