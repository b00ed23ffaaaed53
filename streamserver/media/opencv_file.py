"""A video file through OpenCV."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from streamserver.core.errors import SourceError, SourceMissingError
from streamserver.core.urls import for_ffmpeg
from streamserver.media.asking import refusal
from streamserver.media.connection import Decoded
from streamserver.media.diagnosis import NO_VIDEO, why_no_name, why_not
from streamserver.media.egress import FILE, PROTOCOLS, Egress, options_of_file
from streamserver.media.opencv_reader import OpenCvReader

_TIMEOUT_S = (10.0, 10.0)
_LOCAL_TIMEOUT_S = (60.0, 60.0)
_ASK_TIMEOUT_S = 3.0


class OpenCvFile:
    """A file, or something else that has an end, open to be read once; use it with ``with``.

    Args:
        source: an address, or the descriptor of a local file, which is not needed any longer afterwards.
        egress: what it may reach.
        on_broken: told of packets that could not be decoded.

    Raises:
        SourceError: it cannot be opened, or holds no video; the reason in words.
    """

    def __init__(self, source: str | int, *, egress: Egress, on_broken: Callable[[int], None]) -> None:
        if isinstance(source, str) and (reason := why_no_name(source, egress=egress)):
            raise SourceError(reason)
        egress.forget()
        try:
            self._reader = OpenCvReader(
                for_ffmpeg(source) if isinstance(source, str) else FILE,
                options=PROTOCOLS["VIDEO"] if isinstance(source, str) else options_of_file(source),
                timeout_s=_TIMEOUT_S if isinstance(source, str) else _LOCAL_TIMEOUT_S,
                on_broken=on_broken,
                egress=egress,
            )
        except SourceMissingError:
            raise
        except SourceError as e:
            egress.raise_if_refused()
            raise SourceError(_why_not_open(source, egress) if isinstance(source, str) else NO_VIDEO) from e

    @property
    def rate(self) -> float:
        """Frames a second, as the file says."""
        return self._reader.rate

    @property
    def stream(self) -> str:
        """What is read, in words."""
        return self._reader.stream

    def pictures(self) -> Iterator[Decoded]:
        """Every frame that can be decoded; raises ``SourceError`` where the file cannot be read on."""
        return self._reader.frames()

    def __enter__(self) -> OpenCvFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()


def _why_not_open(address: str, egress: Egress) -> str:
    return why_not(address, _ASK_TIMEOUT_S, egress) or refusal(address, _ASK_TIMEOUT_S, egress) or NO_VIDEO
