"""tools/packages.sh as run_tests.sh calls it, with stand-ins for Debian's programs that note what they are asked."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from streamserver.core.settings import PROJECT_DIR

STAND_INS = {
    "dpkg-query": 'sed "s/$/ installed/" "$STAND_INS/installed"',
    "id": 'echo "$FAKE_UID"',
    "apt-get": """
echo "$*" >> "$STAND_INS/asked"
cp "$PACKAGES_ROOT/usr/sbin/policy-rc.d" "$STAND_INS/policy" 2> /dev/null
case "$* $FAKE_APT" in
  *update*offline*) echo "W: old lists"; echo "E: Temporary failure resolving 'deb.debian.org'"; exit 100 ;;
  *update*) touch "$STAND_INS/has-lists" ;;
  *install*well*) printf '%s\\n' "$@" >> "$STAND_INS/installed" ;;
  *install*without-lists*) [ -e "$STAND_INS/has-lists" ] && printf '%s\\n' "$@" >> "$STAND_INS/installed" ;;
  *) exit 100 ;;
esac
""",
}

ALL = (PROJECT_DIR / "tools" / "packages.sh").read_text().partition("TEST_PACKAGES=(")[2].partition(")")[0].split()


class Debian:
    """A system with some packages."""

    def __init__(self, folder: Path, missing: set[str]) -> None:
        self.folder = folder
        for part in ("usr/sbin", "run/lock"):
            (folder / part).mkdir(parents=True)
        self.bin = folder / "bin"
        self.bin.mkdir()
        for name, body in STAND_INS.items():
            (self.bin / name).write_text(f"#!/bin/bash\n{body}\n")
            (self.bin / name).chmod(0o755)
        (folder / "installed").write_text("".join(f"{name}\n" for name in ALL if name not in missing))
        self.policy = folder / "usr" / "sbin" / "policy-rc.d"

    def ensure(self, apt: str = "well", *, uid: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
        """Calls the function as run_tests.sh does."""
        fakes = {
            "STAND_INS": str(self.folder),
            "PACKAGES_ROOT": str(self.folder),
            "FAKE_UID": str(uid),
            "FAKE_APT": apt,
        }
        script = "set -eu; . tools/packages.sh; ensure_test_packages; echo goes on"
        return subprocess.run(
            ["bash", "-c", script],
            cwd=PROJECT_DIR,
            env={"PATH": f"{self.bin}:{os.environ['PATH']}", **fakes, **variables},
            capture_output=True,
            text=True,
            timeout=300,
        )

    @property
    def asked(self) -> list[str]:
        """What apt-get was asked for."""
        log = self.folder / "asked"
        return log.read_text().splitlines() if log.exists() else []


def test_nothing_is_said_or_done_when_nothing_is_missing(tmp_path: Path) -> None:
    debian = Debian(tmp_path, set())
    result = debian.ensure()
    assert (result.returncode, result.stdout, result.stderr) == (0, "goes on\n", "")
    assert debian.asked == []


def test_what_is_missing_is_installed_and_no_service_started(tmp_path: Path) -> None:
    debian = Debian(tmp_path, {"nginx-light", "sip-tester"})
    result = debian.ensure()
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "Installing nginx-light sip-tester ...\ngoes on\n"
    assert [line.partition("install ")[2] for line in debian.asked] == [
        "--yes --no-install-recommends nginx-light sip-tester"
    ]
    assert (debian.folder / "policy").read_text().endswith("exit 101\n")
    assert not debian.policy.exists()


def test_lists_are_fetched_where_there_are_none(tmp_path: Path) -> None:
    debian = Debian(tmp_path, {"ffmpeg"})
    assert debian.ensure("without-lists").stderr == ""
    assert [line.split()[3] for line in debian.asked] == ["install", "update", "install"]


def test_a_failure_is_one_line_with_the_tests_that_skip(tmp_path: Path) -> None:
    debian = Debian(tmp_path, {"nginx-light", "python3-gi", "gstreamer1.0-rtsp"})
    result = debian.ensure("offline")
    assert result.returncode == 0 and result.stdout.endswith("goes on\n")
    assert result.stderr == (
        "note: not installed: python3-gi gstreamer1.0-rtsp nginx-light (apt-get failed: Temporary failure resolving "
        "'deb.debian.org'); skipped: those of RTMP and HLS, those of RTSP and RTSPS\n"
    )
    assert not debian.policy.exists()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"uid": 1000}, "only root can install them: apt-get install --no-install-recommends sip-tester"),
        ({"INSTALL_PACKAGES": "no"}, "INSTALL_PACKAGES=no"),
    ],
)
def test_who_may_not_install_is_told_what_to_do(tmp_path: Path, options: dict[str, object], why: str) -> None:
    debian = Debian(tmp_path, {"sip-tester"})
    result = debian.ensure(**options)  # type: ignore[arg-type]
    assert result.stderr == f"note: not installed: sip-tester ({why}); skipped: the SIP scenarios of GB28181\n"
    assert debian.asked == []


def test_a_policy_of_the_operators_stays_as_it_is(tmp_path: Path) -> None:
    debian = Debian(tmp_path, {"sip-tester"})
    debian.policy.write_text("#!/bin/sh\nexit 0\n")
    debian.ensure()
    assert debian.policy.read_text() == "#!/bin/sh\nexit 0\n"
    assert debian.asked != []


def test_the_policy_of_an_earlier_call_that_was_killed_goes(tmp_path: Path) -> None:
    debian = Debian(tmp_path, {"sip-tester"})
    debian.policy.write_text("#!/bin/sh\n# by run_tests.sh, only while it installs\nexit 101\n")
    debian.ensure()
    assert not debian.policy.exists()


def test_nothing_is_installed_where_a_service_could_not_be_kept_from_starting(tmp_path: Path) -> None:
    debian = Debian(tmp_path, {"sip-tester"})
    debian.policy.parent.rmdir()
    result = debian.ensure()
    assert "cannot be written, and without it a service would be started" in result.stderr
    assert debian.asked == [] and result.stdout.endswith("goes on\n")
