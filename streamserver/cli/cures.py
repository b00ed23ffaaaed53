"""What to do about a source that is away, by why it is; docs/sources.md says more of each."""

from __future__ import annotations

_CURES = (
    ("the name '", "correct the address, or this machine's DNS"),
    ("no resolver has answered", "correct this machine's DNS"),
    ("the connection was refused", "the host is there and nobody listens: is the camera starting, the port right?"),
    ("the host cannot be reached", "look at its power, cable, switch and route; ping it from this machine"),
    ("the network of the host cannot", "look at this machine's route and network; ping the host"),
    ("no answer in time", "look at its power, cable and switch, and at firewalls; ping it from this machine"),
    ("the user name or the password", "correct them in the address; a task is deleted and created again for it"),
    ("access was refused (403)", "give this user the right to watch, at the camera"),
    ("there is no such stream (404)", "correct the path of the address"),
    ("the server does not give this stream", "start what publishes it, or correct the path of the address"),
    ("TLS failed", "is it rtsps, https or rtmps where it should not be, or the port wrong?"),
    ("nothing has come at this port", "start the sender, or correct its port; open the firewall for UDP"),
    ("no picture", "the connection stands and nothing comes: look at the camera's own page, restart it"),
    ("the same picture", "the camera hangs: restart it"),
    ("data comes, but", "set the camera's codec to H.264 or H.265, and a key frame every 1 to 4 s"),
    ("the server ended the connection, or", "is it an RTSP port? A camera that restarts says this for a while, too"),
    ("the server ended", "wait; again and again: the camera restarts, or has too many viewers"),
)


def cure_of(reason: str) -> str:
    """What to do about a ``Reason`` of a source; empty where no cure is known, or it says one itself."""
    return next((cure for start, cure in _CURES if reason.startswith(start)), "") if "; " not in reason else ""
