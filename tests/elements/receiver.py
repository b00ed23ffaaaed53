"""A client process of the standard library: takes what http_push posts, and answers as the test says."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, Any]
ACCEPTED: Answer = (200, {"message": "Request received and processed successfully", "response": 1})


class Receiver:
    """Listens on loopback; ``answer(message, how many came before)`` gives status and JSON of the reply.

    Args:
        answer: what to reply; by default every message is accepted.
        port: 0 for any free one.
        keep_alive: False closes the connection after each reply without saying so beforehand.
        tls: for HTTPS.
    """

    def __init__(
        self,
        answer: Callable[[Any, int], Answer] = lambda message, number: ACCEPTED,
        *,
        port: int = 0,
        keep_alive: bool = True,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.messages: list[Any] = []
        self.bodies: list[bytes] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.connections = 0
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                with receiver._lock:
                    receiver.connections += 1

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                message = json.loads(body)
                status, reply = answer(message, len(receiver.messages))
                with receiver._lock:  # the n-th of each list belong together, whoever posts at the same time
                    receiver.messages.append(message)
                    receiver.bodies.append(body)
                    receiver.paths.append(self.path)
                    receiver.headers.append(dict(self.headers))
                data = json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
                self.close_connection = not keep_alive

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass

        self._server = Server(("127.0.0.1", port), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def __enter__(self) -> Receiver:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
