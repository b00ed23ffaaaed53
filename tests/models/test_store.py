"""Finding and fetching weights, against a real HTTP server on the loopback."""

import hashlib
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from streamserver.core.errors import ModelError, ModelNotFoundError
from streamserver.core.settings import PROJECT_DIR, Settings
from streamserver.models import checksum
from streamserver.models.download import DownloadError, ProgressBar, download
from streamserver.models.store import ModelStore

CONTENT = random.Random(3).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class _Server(ThreadingHTTPServer):
    """Serves CONTENT, or fails in the way the path says; counts the requests."""

    requests = 0


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, _Server)
        self.server.requests += 1
        if self.path.startswith("/missing"):
            self.send_error(404)
            return
        if self.path == "/slow":
            time.sleep(0.3)
        self.send_response(200)
        if self.path != "/unknown-length":
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write({"/broken-off": CONTENT[:100_000], "/wrong": CONTENT[::-1]}.get(self.path, CONTENT))

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with _Server(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def time_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is not taken for silent only because the machine is busy."""
    monkeypatch.setitem(download.__kwdefaults__, "answer_s", 60.0)


class House:
    """A registry with one model, a user's model directory and a cache."""

    def __init__(self, folder: Path, url: str = "") -> None:
        self.mine, self.cache, self.task = folder / "mine", folder / "cache", folder / "task"
        for sub in (self.mine, self.task):
            sub.mkdir()
        self.registry = folder / "models.yaml"
        self.registry.write_text(
            "models:\n  tiny:\n    file: tiny.onnx\n    task: t\n    family: yolox\n    licence: MIT\n"
            f"    labels: names.txt\n    sha256: {SHA256!r}\n    url: {url!r}\n"
            "bmodels:\n  - {pattern: 'one_*.bmodel', model: tiny, classes: [dog]}\n"
            "  - {pattern: 'all_*', model: tiny}\n"
        )
        (folder / "names.txt").write_text("cat\ndog\n")

    def store(self, *, model_download: bool = True, age_s: float = 0.0) -> ModelStore:
        settings = Settings(models=str(self.mine), model_cache=str(self.cache), model_download=model_download)
        return ModelStore(settings, registry_file=self.registry, clock=lambda: time.time() + age_s)

    def left_behind(self) -> list[str]:
        return sorted(path.name for path in self.cache.iterdir())


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def online(tmp_path: Path, server: _Server, path: str) -> House:
    return House(tmp_path, f"http://127.0.0.1:{server.server_port}{path}")


@pytest.mark.parametrize("name", ["tiny", "tiny.onnx", "../somewhere/tiny.onnx", "/nowhere/tiny.onnx"])
def test_weights_are_found_by_name_and_by_file_name_in_a_model_directory(house: House, name: str) -> None:
    (house.mine / "tiny.onnx").write_bytes(CONTENT)
    found = house.store().resolve(name, base_dir=house.task)
    assert (found.path, found.labels, found.classes) == (house.mine / "tiny.onnx", ("cat", "dog"), None)
    assert house.store().find(name, base_dir=house.task) == house.mine / "tiny.onnx"


def test_an_existing_file_wins_and_is_known_only_by_its_content(house: House) -> None:
    (house.mine / "tiny.onnx").write_bytes(CONTENT)
    own = house.task / "tiny.onnx"
    own.write_bytes(b"weights of my own")
    found = house.store().resolve("tiny.onnx", base_dir=house.task)
    assert (found.path, found.entry, found.labels) == (own, None, ())
    own.write_bytes(CONTENT)
    found = house.store().resolve("tiny.onnx", base_dir=house.task)
    assert (found.path, found.entry) == (own, house.store().entry("tiny"))


def test_a_file_that_the_registry_does_not_know_is_found_in_a_model_directory(house: House) -> None:
    (house.mine / "other.onnx").write_bytes(b"x")
    found = house.store().resolve("../data/other.onnx", base_dir=house.task)
    assert (found.path, found.entry) == (house.mine / "other.onnx", None)


@pytest.mark.parametrize(
    ("name", "classes", "labels"),
    [("../data/BM1688/one_s.bmodel", (1,), ("dog",)), ("ALL_s.BMODEL", None, ("cat", "dog"))],
)
def test_a_bmodel_is_never_opened_but_has_a_stand_in(
    house: House, name: str, classes: tuple[int, ...] | None, labels: tuple[str, ...]
) -> None:
    (house.mine / "tiny.onnx").write_bytes(CONTENT)
    (house.task / "ALL_s.BMODEL").write_bytes(b"Sophgo's own format")
    found = house.store().resolve(name, base_dir=house.task)
    assert (found.path, found.classes, found.labels) == (house.mine / "tiny.onnx", classes, labels)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("big.bmodel", "no ONNX model stands in for 'big.bmodel'.*'bmodels' in configs/models.yaml"),
        ("huge", "model 'huge' is no file, not in .*mine.* and not in configs/models.yaml; known names: tiny"),
        ("", "model '' is no file"),
        ("tiny", "model 'tiny' .* is not in .*mine.*names no address for it; put the file into .*cache$"),
    ],
)
def test_what_cannot_be_had_is_named_with_the_cure(house: House, name: str, problem: str) -> None:
    with pytest.raises(ModelNotFoundError, match=problem):
        house.store().resolve(name, base_dir=house.task)


@pytest.mark.parametrize(
    ("url", "cure"),
    [("", "put the right file in its place"), ("http://127.0.0.1:9/", "delete it and run '.* fetch tiny'")],
)
def test_a_file_under_a_known_name_with_another_checksum_is_refused(tmp_path: Path, url: str, cure: str) -> None:
    house = House(tmp_path, url)
    (house.mine / "tiny.onnx").write_bytes(b"something else")
    other = hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(
        ModelError, match=f"tiny.onnx' is not 'tiny': its sha256 is {other}, expected {SHA256}; {cure}, or, for weights"
    ):
        house.store().find("tiny")


@pytest.mark.parametrize("path", ["/right", "/unknown-length"])
def test_missing_weights_are_fetched_into_the_cache(tmp_path: Path, server: _Server, path: str) -> None:
    house = online(tmp_path, server, path)
    assert house.store().find("tiny") == house.cache / "tiny.onnx"
    assert (house.cache / "tiny.onnx").read_bytes() == CONTENT
    house.store().find("tiny")
    assert server.requests == 1
    assert house.left_behind() == [".tiny.onnx.lock", "tiny.onnx"]


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/missing", "the server answers 404"),
        ("/broken-off", "broken off after 100000 of 300000 bytes"),
        ("/wrong", f"sha256 is [0-9a-f]{{64}}, expected {SHA256}"),
    ],
)
def test_a_failed_download_leaves_no_part_and_is_not_repeated_at_once(
    tmp_path: Path, server: _Server, path: str, problem: str
) -> None:
    house = online(tmp_path, server, path)
    with pytest.raises(ModelNotFoundError, match=rf"fetching it failed: http://127.*{problem}"):
        house.store().find("tiny")
    assert house.left_behind() == [".tiny.onnx.failed", ".tiny.onnx.lock"]
    with pytest.raises(ModelNotFoundError, match=rf"failed \d+ s ago and is not tried again before 600 s: .*{problem}"):
        house.store(age_s=500).find("tiny")
    assert server.requests == 1
    with pytest.raises(ModelNotFoundError, match=problem):
        house.store(age_s=700).find("tiny")
    assert server.requests == 2


def test_fetch_tries_again_at_once_and_forgets_the_failure(tmp_path: Path, server: _Server) -> None:
    house = online(tmp_path, server, "/missing")
    with pytest.raises(ModelNotFoundError):
        house.store().find("tiny")
    house.registry.write_text(house.registry.read_text().replace("/missing", "/right"))
    with pytest.raises(ModelNotFoundError, match="not tried again"):
        house.store().find("tiny")
    store = house.store()
    assert store.fetch(store.entry("tiny")) == house.cache / "tiny.onnx"
    assert house.left_behind() == [".tiny.onnx.lock", "tiny.onnx"]


def test_fetch_replaces_a_wrong_file_in_the_cache_but_not_in_a_users_directory(tmp_path: Path, server: _Server) -> None:
    house = online(tmp_path, server, "/right")
    store = house.store()
    house.cache.mkdir()
    (house.cache / "tiny.onnx").write_bytes(b"damaged")
    store.fetch(store.entry("tiny.onnx"))
    assert (house.cache / "tiny.onnx").read_bytes() == CONTENT
    (house.mine / "tiny.onnx").write_bytes(b"damaged")
    with pytest.raises(ModelError, match=r"mine/tiny.onnx' is not 'tiny'"):
        store.fetch(store.entry("tiny"))


def test_a_refused_connection_says_so(tmp_path: Path, server: _Server) -> None:
    with _Server(("127.0.0.1", 0), _Handler) as other:
        port = other.server_port
    house = House(tmp_path, f"http://127.0.0.1:{port}/right")
    with pytest.raises(ModelNotFoundError, match="Connection refused"):
        house.store().find("tiny")


def test_nothing_is_fetched_when_downloads_are_off(tmp_path: Path, server: _Server) -> None:
    house = online(tmp_path, server, "/right")
    with pytest.raises(ModelNotFoundError, match="STREAMSERVER_MODEL_DOWNLOAD"):
        house.store(model_download=False).find("tiny")
    assert server.requests == 0


def test_a_cache_that_cannot_be_made_is_named(tmp_path: Path, server: _Server) -> None:
    house = online(tmp_path, server, "/right")
    house.cache.write_text("a file where a folder should be")
    with pytest.raises(ModelNotFoundError, match=r"cache' cannot be written"):
        house.store().find("tiny")


def test_many_processes_that_start_at_once_download_once(tmp_path: Path, server: _Server) -> None:
    house = online(tmp_path, server, "/slow")
    code = (
        "import sys; from pathlib import Path; from streamserver.core.settings import Settings; "
        "from streamserver.models.store import ModelStore; from streamserver.models.download import download; "
        "download.__kwdefaults__['answer_s'] = 60.0; "
        "settings = Settings(model_cache=sys.argv[2]); "
        "print(ModelStore(settings, registry_file=Path(sys.argv[1])).find('tiny').stat().st_size)"
    )
    command = [sys.executable, "-c", code, str(house.registry), str(house.cache)]
    started = [subprocess.Popen(command, cwd=PROJECT_DIR, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate()[0] for process in started] == [f"{len(CONTENT)}\n"] * 4
    assert server.requests == 1


def test_the_checksum_of_a_large_file_is_remembered_until_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "large.onnx"
    path.write_bytes(b"one")
    first = checksum.remembered_sha256(path, tmp_path, large_bytes=1)
    memory = (tmp_path / checksum.MEMORY_FILE).read_text()
    assert first == hashlib.sha256(b"one").hexdigest()
    assert first in memory
    (tmp_path / checksum.MEMORY_FILE).write_text(memory.replace(first, "remembered"))
    assert checksum.remembered_sha256(path, tmp_path, large_bytes=1) == "remembered"
    path.write_bytes(b"other")
    assert checksum.remembered_sha256(path, tmp_path, large_bytes=1) == hashlib.sha256(b"other").hexdigest()


@pytest.mark.parametrize("memory", ["", "not JSON", "[]", '{"x": 1}'])
def test_a_damaged_memory_of_checksums_costs_only_a_reading(tmp_path: Path, memory: str) -> None:
    (tmp_path / checksum.MEMORY_FILE).write_text(memory.replace("x", str(tmp_path / "large.onnx")))
    (tmp_path / "large.onnx").write_bytes(b"one")
    found = checksum.remembered_sha256(tmp_path / "large.onnx", tmp_path, large_bytes=1)
    assert found == hashlib.sha256(b"one").hexdigest()


def test_small_files_are_always_read(tmp_path: Path) -> None:
    (tmp_path / "small.onnx").write_bytes(b"one")
    checksum.remembered_sha256(tmp_path / "small.onnx", tmp_path)
    assert not (tmp_path / checksum.MEMORY_FILE).exists()


def test_a_download_reports_its_progress(tmp_path: Path, server: _Server) -> None:
    seen: list[tuple[int, int | None]] = []
    url = f"http://127.0.0.1:{server.server_port}"
    download(f"{url}/right", tmp_path / "a", sha256=SHA256, on_progress=lambda *row: seen.append(row))
    assert seen[-1] == (300_000, 300_000)
    download(f"{url}/unknown-length", tmp_path / "b", sha256=SHA256, on_progress=lambda *row: seen.append(row))
    assert seen[-1] == (300_000, None)


def test_a_server_that_never_answers_does_not_hold_up_the_start(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a"
        with pytest.raises(DownloadError, match=r"/a: no answer within 0\.05 s"):
            download(url, tmp_path / "a", sha256=SHA256, on_progress=lambda received, total: None, answer_s=0.05)


def test_a_name_that_is_looked_up_for_ever_does_not_hold_up_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()

    def look_up(*_: object, **__: object) -> None:
        over.wait(30)
        raise socket.gaierror("nobody knows it")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    url = "http://weights.invalid/a"
    try:
        with pytest.raises(DownloadError, match="no answer within"):
            download(url, tmp_path / "a", sha256=SHA256, on_progress=lambda received, total: None, answer_s=0.05)
    finally:
        over.set()


def test_secrets_of_an_address_stay_out_of_messages(tmp_path: Path, server: _Server) -> None:
    url = f"http://127.0.0.1:{server.server_port}/missing?token=geheim"
    with pytest.raises(DownloadError, match=r"token=\*\*\*") as caught:
        download(url, tmp_path / "a", sha256=SHA256, on_progress=lambda received, total: None)
    assert "geheim" not in str(caught.value)


def test_progress_is_a_growing_line_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    bar = ProgressBar("tiny.onnx", terminal=True)
    for received in (0, 500_000, 500_001, 1_000_000):
        bar(received, 1_000_000)
    bar.close()
    lines = capsys.readouterr().err.split("\r")
    assert len(lines) == 4
    assert lines[2] == f"tiny.onnx [{'#' * 15}{'.' * 15}] 0.5 of 1.0 MB"
    assert lines[3].endswith("1.0 of 1.0 MB\n")


def test_progress_is_a_log_line_for_every_quarter_elsewhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    bar = ProgressBar("tiny.onnx", terminal=False)
    for received in range(0, 1_000_001, 10_000):
        bar(received, 1_000_000)
    bar.close()
    assert len(caplog.messages) == 5
    assert caplog.messages[2] == "fetching 'tiny.onnx': 0.5 of 1.0 MB"


def test_the_project_names_no_weights_in_its_repository() -> None:
    assert not list((PROJECT_DIR / "configs").rglob("*.onnx"))
