"""A camera of the standard library: an HTTP server on loopback that dies and comes back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

MJPEG = "multipart/x-mixed-replace; boundary=frame"


class Camera:
    """Gives each connection the same bytes and closes it, as a camera does that restarts.

    Args:
        body: what each connection gets.
        content_type: of the reply.
        hold: keep connections open after the body, until the camera is closed.
    """

    def __init__(self, body: bytes, *, content_type: str = "video/mp2t", hold: bool = False) -> None:
        self.connections = 0
        self.status = 200
        self._release = threading.Event()
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                camera.connections += 1
                self.send_response(camera.status)
                self.send_header("Content-Type", content_type)
                self.send_header("Connection", "close")
                self.end_headers()
                try:
                    if camera.status == 200:
                        self.wfile.write(body)
                        self.wfile.flush()
                        if hold:
                            camera._release.wait(30)
                except ConnectionError:
                    pass

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://user:secret@127.0.0.1:{self._server.server_address[1]}/cam?token=hidden"

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._release.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def stopping_at_the_end() -> Iterator[threading.Event]:
    """An event that is set when the test is over."""
    stopping = threading.Event()
    try:
        yield stopping
    finally:
        stopping.set()


def multipart(jpegs: list[bytes]) -> bytes:
    """The body of an MJPEG camera."""
    head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
    return b"".join(head % len(jpeg) + jpeg + b"\r\n" for jpeg in jpegs)
