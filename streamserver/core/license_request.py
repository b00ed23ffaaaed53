"""The request of ``/license``."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from streamserver.core.strict_json import parse_object
from streamserver.core.wire_errors import fault, validate
from streamserver.core.wire_types import Wire

_LONGEST = 256
_CURE = "send it as 'python -m streamserver.keys create' printed it"


def _key(value: Any) -> Any:
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST or not value.isprintable():
        raise fault(f"expected a text of 1 to {_LONGEST} printable characters", cure=_CURE, show=False)
    return value


Key = Annotated[str, Field(min_length=1, max_length=_LONGEST), BeforeValidator(_key)]
"""No message ever shows what came: it may be a secret, or half of one."""


class LicenseRequest(Wire):
    """The keys of an application, which a licence is wanted for."""

    app_key: Key = Field(description="names the application", examples=["08c2245afbff8310636c72d2"])
    app_secret: Key = Field(description="proves that the keys are yours", examples=["73bcddd6360b32e9…"])
    service_key: Key = Field(description="names what the keys are for", examples=["b92ca9bad1e5400b670293d6"])


def parse_license(body: bytes, *, max_bytes: int) -> LicenseRequest:
    """The request in a body of ``/license``.

    Raises:
        BadRequestError: of the first thing that is wrong, with its JSON path.
        BodyTooLargeError: the body is larger than ``max_bytes``.
    """
    return validate(LicenseRequest, parse_object(body, max_bytes=max_bytes))
