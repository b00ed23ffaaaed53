"""PyAV is left out by those who cannot ship its GPL parts: who needs it asks here, and only when it is needed."""

from __future__ import annotations

from streamserver.core.errors import SourceMissingError

INSTALL = "install the package 'av' as requirements.txt names it"
"""How to come by it, for messages."""


def why_no_av() -> str:
    """Why PyAV cannot be used here; empty where it can."""
    try:
        import av  # noqa: F401
    except ImportError as e:
        return f"PyAV cannot be imported ({e})"
    return ""


def require_av(name: str) -> None:
    """Makes sure that PyAV can decode.

    Args:
        name: of the source that it is wanted for, without secrets.

    Raises:
        SourceMissingError: it cannot be imported.
    """
    if problem := why_no_av():
        raise SourceMissingError(
            f"'{name}': the setting 'decoder' is 'av', but {problem}", cure=f"{INSTALL}, or set it to 'opencv'"
        )
