"""What of the system the test servers need, and the Debian packages that bring it; ``./run_tests.sh`` installs them."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path

import pytest

SYSTEM_PYTHON = "/usr/bin/python3"
GST_SCRIPT = Path(__file__).with_name("gst_rtsp.py")
NGINX_MODULES = Path("/usr/lib/nginx/modules")

_PACKAGES = {
    "ffmpeg": "ffmpeg",
    "openssl": "openssl",
    "sipp": "sip-tester",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "nginx": "nginx-light and libnginx-mod-rtmp",
    "rtsp": "python3-gi, gir1.2-gst-rtsp-server-1.0, gstreamer1.0-plugins-base, -good and -bad, gstreamer1.0-rtsp",
    "rtsps": "glib-networking, openssl and those of rtsp",
}


def needs(*parts: str) -> None:
    """Skips the test when a part is absent, naming what to install.

    Args:
        parts: of ``ffmpeg``, ``openssl``, ``sipp``, ``prometheus``, ``promtool``, ``nginx`` (with
            RTMP), ``rtsp`` (GStreamer's server), ``rtsps``.
    """
    for part in parts:
        if reason := _absent(part):
            pytest.skip(f"{part}: {reason}; install {_PACKAGES[part]}, or let ./run_tests.sh do it as root")


def program(name: str) -> str | None:
    """Where a program lies; servers lie where not every user's PATH looks."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@functools.cache
def _absent(part: str) -> str:
    if part == "nginx":
        module = NGINX_MODULES / "ngx_rtmp_module.so"
        return _no_program("nginx") or ("" if module.exists() else f"no {module}")
    if part == "rtsp":
        return _gstreamer("--check")
    if part == "rtsps":
        return _no_program("openssl") or _gstreamer("--check-tls")
    return _no_program(part)


def _no_program(name: str) -> str:
    return "" if program(name) else f"no program '{name}'"


def _gstreamer(option: str) -> str:
    if not Path(SYSTEM_PYTHON).exists():
        return f"no {SYSTEM_PYTHON}"
    result = subprocess.run([SYSTEM_PYTHON, "-I", GST_SCRIPT, option], capture_output=True, text=True, timeout=120)
    lines = (result.stdout + result.stderr).strip().splitlines()
    return "" if result.returncode == 0 else (lines or ["it fails"])[-1]
