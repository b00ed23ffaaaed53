"""Stands in for sophon-stream's ``main``, as light as can be: posts one frame with one object, then sleeps.

Imports nothing but built-in modules and ``socket``'s core, for a hundred of it start on two cores.
"""

import _socket
import sys
import time

_HEAD = '{"mDetectedObjectMetadatas": [{"mBox": {"mHeight": 120, "mWidth": 60, "mX": 10, "mY": 20}, "mClassify": 0, '
_MIDDLE = '"mScores": [0.87]}], "mTrackedObjectMetadatas": [{"mTrackId": 7}], "mFps": 0.0, "mFrame": {"mChannelId": '
_TAIL = (
    ', "mEndOfStream": false, "mFrameId": %d, "mHeight": 240, "mSpData": "%s", "mTimestamp": 1700000000000000, '
    '"mWidth": 320}, "mGraphId": 0, "mSubId": 0}'
)
_PICTURE = (
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAgGBgcGBQgHBwcJCQgKDBQNDAsLDBkSEw8UHRofHh0aHBwgJC4nICIsIxwcKDcpLDAxNDQ0Hyc5PT"
    "gyPC4zNDL/wAALCAAIAAgBAREA/8QAHwAAAQUBAQEBAQEAAAAAAAAAAAECAwQFBgcICQoL/8QAtRAAAgEDAwIEAwUFBAQAAAF9AQIDAAQRBRIh"
    "MUEGE1FhByJxFDKBkaEII0KxwRVS0fAkM2JyggkKFhcYGRolJicoKSo0NTY3ODk6Q0RFRkdISUpTVFVWV1hZWmNkZWZnaGlqc3R1dnd4eXqDhI"
    "WGh4iJipKTlJWWl5iZmqKjpKWmp6ipqrKztLW2t7i5usLDxMXGx8jJytLT1NXW19jZ2uHi4+Tl5ufo6erx8vP09fb3+Pn6/9oACAEBAAA/APv+"
    "iiigD//Z"
)


def number(text: str, key: str) -> int:
    """The number that follows ``"key":`` in JSON text."""
    rest = text[text.index(f'"{key}"') + len(key) + 3 :].lstrip()
    digits = len(rest) - len(rest.lstrip("0123456789"))
    return int(rest[:digits])


def post(port: int, body: bytes) -> None:
    """One POST to the client of this task; no answer is waited for longer than 20 s."""
    connection = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    connection.settimeout(20.0)
    connection.connect(("127.0.0.1", port))
    head = (
        f"POST /flask_test/0 HTTP/1.1\r\nHost: client\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    )
    connection.send(f"{head}\r\nConnection: close\r\n\r\n".encode() + body)
    while connection.recv(4096):
        pass
    connection.close()


def main() -> None:
    """Runs until a signal ends it."""
    with open("client.json", encoding="utf-8") as file:
        port = number(file.read(), "port")
    message = _HEAD + _MIDDLE + "0" + _TAIL % (time.time_ns() // 1_000_000 % 1_000_000_000, _PICTURE)
    post(port, message.encode())
    time.sleep(1e8)


if __name__ == "__main__":
    sys.exit(main())
