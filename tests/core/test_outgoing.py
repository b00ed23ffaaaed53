"""Which addresses and files tasks may use by the settings; tests/ssrf proves that the rest is not reached."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamserver.core.errors import ConfigError, RefusedAddressError
from streamserver.core.lookups import Lookups
from streamserver.core.networks import parse_networks
from streamserver.core.outgoing import Policy
from streamserver.core.settings import Settings, load

PATIENCE_S = 60.0


def default() -> Policy:
    return Policy.from_settings(Settings())


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "169.254.170.2",
        "100.100.100.200",
        "192.0.0.192",
        "168.63.129.16",
        "[fd00:ec2::254]",
        "[fd20:ce::254]",
        "[fe80::1%25eth0]",
        "2852039166",
        "0",
        "0.0.0.0",
        "[::]",
        "[::ffff:0:0]",
        "[64:ff9b::a9fe:a9fe]",
    ],
)
def test_metadata_and_link_local_addresses_are_refused_by_default(host: str) -> None:
    for scheme in ("http", "rtsp", "srt", "gb28181"):
        with pytest.raises(RefusedAddressError, match="the setting deny_networks forbids"):
            default().check(f"{scheme}://{host}:80/")


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:8089/api/upload",
        "http://[::1]:8089/api/upload",
        "http://localhost:8089/",
        "rtsp://admin:p@ss/w@10.0.0.1:554/1",
        "rtsp://192.168.1.64/1",
        "http://203.0.113.5/",
        "udp://0.0.0.0:5000",
        "udp://@:5000",
        "udp://[::]:5000",
        "udp://@239.0.0.1:5000",
        "srt://0.0.0.0:9000?mode=listener",
        "srt://0.0.0.0:9000?latency=20&mode=listener",
        "base64://0.0.0.0:12348/cam1",
        "/dev/video0",
        "http://[::1",
        "rtsp://",
    ],
)
def test_what_people_have_at_home_passes_by_default(address: str) -> None:
    default().check(address)


@pytest.mark.parametrize("address", ["srt://0.0.0.0:9000", "srt://0.0.0.0:9000?mode=caller", "udp://169.254.1.1:5000"])
def test_only_who_listens_may_name_all_addresses(address: str) -> None:
    with pytest.raises(RefusedAddressError):
        default().check(address)


def test_zero_is_this_machine_where_the_defaults_are_replaced() -> None:
    rules = Policy(deny=parse_networks("127.0.0.0/8, ::1", setting="deny_networks"))
    for host in ("0.0.0.0", "::", "::ffff:0.0.0.0", "127.0.0.1", "::1"):
        with pytest.raises(RefusedAddressError):
            rules.judge(host)
    rules.judge("10.0.0.1")


def test_the_refused_address_is_named_by_its_place() -> None:
    with pytest.raises(RefusedAddressError) as caught:
        default().check_all({"$.A": "http://127.0.0.1/", "$.B": "http://169.254.169.254/"})
    assert str(caught.value).startswith("$.B: 169.254.169.254, and the setting deny_networks forbids 169.254.0.0/16; ")
    assert caught.value.path == "$.B"


class _SilentNames:
    """A resolver that does not answer for ``*.silent`` until the test is over."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.over = threading.Event()
        self.before = set(lookups())
        self.asked: list[str] = []
        real = socket.getaddrinfo

        def look_up(host: Any, *arguments: Any, **options: Any) -> Any:
            if str(host).endswith(".silent"):
                self.asked.append(host)
                self.over.wait(PATIENCE_S)
                raise socket.gaierror("no answer")
            return real(host, *arguments, **options)

        monkeypatch.setattr(socket, "getaddrinfo", look_up)

    def threads(self) -> set[threading.Thread]:
        """Those that look up names of this test; a test before may have left some that still wait for an answer."""
        return set(lookups()) - self.before


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[_SilentNames]:
    names = _SilentNames(monkeypatch)
    yield names
    names.over.set()
    wait_for(lambda: not names.threads())


def lookups() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "lookup"]


def wait_for(done: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_names_that_are_not_looked_up_in_time_pass_and_cost_few_threads(silent: _SilentNames) -> None:
    rules = Policy(deny=parse_networks("127.66.0.0/16", setting="deny_networks"))
    rules.check_all({str(n): f"http://n{n}.silent/" for n in range(32)})
    rules.check("http://n0.silent/")
    wait_for(lambda: len(silent.asked) >= len(silent.threads()))
    assert len(silent.threads()) == len(silent.asked) <= 8
    with pytest.raises(RefusedAddressError):
        rules.check("http://127.66.0.1/")


def test_an_answer_is_kept_for_the_next_question(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    real = socket.getaddrinfo

    def look_up(host: Any, *arguments: Any, **options: Any) -> Any:
        asked.append(host)
        return real("127.0.0.1", *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr("streamserver.core.lookups._KEEP_S", 3600.0)  # how long the three questions take is not tried
    rules = Policy()
    for _ in range(3):
        rules.check("http://bücher.test/")
    assert asked == ["xn--bcher-kva.test"]


def test_connect_tries_the_next_address_of_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def two(host: Any, port: Any, **options: Any) -> Any:
        return real("127.66.7.8", port, **options) + real("127.0.0.1", port, **options)

    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(socket, "getaddrinfo", two)
        with Policy().connect("two.test", server.getsockname()[1], 2.0) as connection:
            assert connection.getpeername()[0] == "127.0.0.1"
            assert connection.gettimeout() == 2.0


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """A folder that tasks may read, one beside it, and links between them."""
    (tmp_path / "media" / "clips").mkdir(parents=True)
    (tmp_path / "media" / "clips" / "a.mp4").touch()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "b.mp4").touch()
    (tmp_path / "media" / "link.mp4").symlink_to(tmp_path / "outside" / "b.mp4")
    (tmp_path / "media" / "folder").symlink_to(tmp_path / "outside")
    (tmp_path / "media" / "loop").symlink_to(tmp_path / "media" / "loop")
    (tmp_path / "way_in").symlink_to(tmp_path / "media")
    (tmp_path / "media-too").mkdir()
    return tmp_path


def test_a_file_is_opened_by_its_real_path(room: Path) -> None:
    rules = Policy(file_dirs=[room / "way_in"])
    for name in ("media/clips/a.mp4", "way_in/clips/../clips/a.mp4", "outside/../media/clips//a.mp4"):
        assert rules.file(room / name) == room / "media" / "clips" / "a.mp4"
    assert rules.file(f"{room}/media") == room / "media"
    assert rules.file(f"{room}/media/not yet.mp4") == room / "media" / "not yet.mp4"


@pytest.mark.parametrize(
    "name",
    [
        "outside/b.mp4",
        "outside/missing.mp4",
        "media/link.mp4",
        "media/folder/b.mp4",
        "media/folder/missing.mp4",
        "media/../outside/b.mp4",
        "media-too/c.mp4",
        "",
        "media/\udcff/../../outside/b.mp4",
    ],
)
def test_what_leads_out_of_the_directories_is_refused_whether_it_exists_or_not(room: Path, name: str) -> None:
    rules = Policy(file_dirs=[room / "media"])
    with pytest.raises(RefusedAddressError) as caught:
        rules.file(f"{room}/{name}")
    assert "does not lie in the directories that tasks may read" in caught.value.message
    assert caught.value.cure == f"copy it below one of {room}/media, or add its directory to the setting file_dirs"
    with pytest.raises(RefusedAddressError):
        rules.check(f"{room}/{name}")


@pytest.mark.parametrize(
    "address",
    [
        "file:///etc/passwd",
        "file://localhost/etc/passwd",
        "FILE:///etc/passwd",
        "file:///%65tc/passwd",
        "file://../etc/passwd",
        "file:////etc/passwd",
        "/etc/./passwd",
        "//etc/passwd",
    ],
)
def test_no_spelling_of_a_file_address_leads_out(room: Path, address: str) -> None:
    with pytest.raises(RefusedAddressError, match="add its directory to the setting file_dirs"):
        Policy(file_dirs=[room / "media"]).check(address)


@pytest.mark.parametrize(
    "path", ["/a\0b", "/a\ud800b", "clip.mp4", "../etc/passwd", ""], ids=["null", "half", "plain", "up", "empty"]
)
def test_what_is_no_absolute_path_is_refused(path: str) -> None:
    with pytest.raises(RefusedAddressError, match="write a path from / on, without null bytes"):
        Policy(file_dirs=[Path("/")]).file(path)


@pytest.mark.parametrize("path", ["/proc/self/environ", "/proc/1/status", "/sys/kernel", "/dev/stdin", "/dev/sda"])
def test_devices_and_processes_are_no_files_even_where_all_are_allowed(path: str) -> None:
    with pytest.raises(RefusedAddressError):
        Policy(file_dirs=[Path("/")]).file(path)
    assert Policy(file_dirs=[Path("/")]).file("/dev/shm/a.mp4") == Path("/dev/shm/a.mp4")


def test_the_state_folder_is_never_read_even_where_all_is_allowed(room: Path) -> None:
    (room / "state").mkdir()
    (room / "media" / "state").symlink_to(room / "state")
    rules = Policy.from_settings(Settings(state_dir=str(room / "state"), file_dirs="/"))
    assert rules.file(room / "outside" / "b.mp4")
    for name in ("state", "state/keys.sqlite", "media/state/tasks.sqlite"):
        with pytest.raises(RefusedAddressError):
            rules.file(room / name)


def test_a_path_that_is_exchanged_after_the_check_is_refused_at_the_next(room: Path) -> None:
    rules = Policy(file_dirs=[room / "media"])
    clip = room / "media" / "clips" / "a.mp4"
    rules.check(str(clip))
    clip.unlink()
    clip.symlink_to(room / "outside" / "b.mp4")
    with pytest.raises(RefusedAddressError):
        rules.file(clip)


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("10.0.0.5/8", "write 10.0.0.0/8 for the network, or 10.0.0.5 for one"),
        ("10.0.0.0/8 172.16.0.0/12", "separate them by commas"),
        ("192.168.*.*", "write 192.168.0.0/16"),
        ("10.*", "write 10.0.0.0/8"),
        ("metadata.google.internal", "names are not looked up"),
        ("10.0.0.0/33", "or a network such as 10.0.0.0/8"),
        ("fe80::/129", "or a network such as 10.0.0.0/8"),
        ("0x7f000001", "write an address such as 10.0.0.5"),
    ],
)
@pytest.mark.parametrize("setting", ["deny_networks", "allow_networks", "trusted_networks"])
def test_a_slip_in_a_network_is_told_at_the_start_with_its_cure(setting: str, text: str, cure: str) -> None:
    variable = f"STREAMSERVER_{setting.upper()}"
    with pytest.raises(ConfigError) as caught:
        load(file=Path("/nonexistent"), environment={variable: f"127.0.0.1, {text}"})
    assert str(caught.value).startswith(f"{variable}: '{text}' is no IP address and no network; ")
    assert cure in caught.value.cure


def test_networks_of_the_settings_may_have_blanks_and_empty_parts() -> None:
    networks = parse_networks(" 10.0.0.0/8,,fd00::/8 ,127.0.0.1,", setting="deny_networks")
    assert [str(network) for network in networks] == ["10.0.0.0/8", "fd00::/8", "127.0.0.1/32"]


def test_names_are_looked_up_again_once_the_system_has_threads_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    lookups = Lookups()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        for number in range(20):
            assert lookups.addresses(f"{number}.test", until=time.monotonic() + 30) == ()
    assert lookups.addresses("localhost", until=time.monotonic() + 30)
