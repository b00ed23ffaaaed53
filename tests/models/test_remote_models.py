"""Models on servers among the weights: what configs/models.yaml may say of them, and how names in graphs find them."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamserver.core.errors import ConfigError, ModelError, ModelNotFoundError
from streamserver.core.model_address import ModelAddress
from streamserver.core.settings import Settings
from streamserver.models.__main__ import main
from streamserver.models.registry import Registry
from streamserver.models.store import ModelStore

SHARED = ModelAddress(host="gpu", port=8001, model="people")
ENTRY = """
models:
  crowd:
    remote: oip+grpc://gpu:8001/people
    task: detection
    family: yolox
    licence: our own
    labels: names.txt
  file:
    file: file.onnx
    sha256: "{digits}"
    task: detection
    family: yolov8
    licence: our own
bmodels:
  - {{pattern: "yolox*.bmodel", model: crowd, classes: [cat]}}
"""


@pytest.fixture
def registry_file(tmp_path: Path) -> Path:
    (tmp_path / "names.txt").write_text("person\ncat\n")
    path = tmp_path / "models.yaml"
    path.write_text(ENTRY.format(digits="0" * 64))
    return path


@pytest.fixture
def store(tmp_path: Path, registry_file: Path) -> ModelStore:
    return ModelStore(Settings(models=str(tmp_path), model_cache=str(tmp_path)), registry_file=registry_file)


@pytest.mark.parametrize(
    ("name", "entry", "labels"),
    [
        ("crowd", "crowd", ("person", "cat")),
        ("oip+grpc://gpu:8001/people", "crowd", ("person", "cat")),
        ("../data/yolox_s_fp16_4b.bmodel", "crowd", ("cat",)),
    ],
)
def test_a_name_an_address_and_a_bmodel_lead_to_the_server(
    store: ModelStore, name: str, entry: str, labels: tuple[str, ...]
) -> None:
    found = store.resolve(name)
    assert (found.path, found.entry and found.entry.name, found.labels) == (SHARED, entry, labels)


@pytest.mark.parametrize(
    ("address", "entry"), [("oip+grpc://other:1/file/versions/2", "file"), ("oip+grpc://gpu:8001/unheard", None)]
)
def test_an_address_that_no_entry_has_goes_by_the_models_name(
    store: ModelStore, address: str, entry: str | None
) -> None:
    found = store.resolve(address)
    assert str(found.path) == address
    assert (found.entry.name if found.entry else None) == entry


def test_an_address_that_cannot_be_meant_so_shows_no_secret(store: ModelStore) -> None:
    with pytest.raises(ModelError, match="is no address of a model: the port is missing") as caught:
        store.resolve("oip+grpc://eve:s3cr3t-w0rd@gpu/people")
    assert "s3cr3t" not in str(caught.value)


def test_there_is_nothing_to_fetch(store: ModelStore) -> None:
    with pytest.raises(ModelNotFoundError, match="'crowd' is no file: it is on a server, at oip"):
        store.fetch(store.entry("crowd"))


def test_the_commands_tell_where_it_is(
    registry_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("streamserver.core.logs.configure", lambda **options: None)  # it is for a whole process
    monkeypatch.setenv("STREAMSERVER_MODELS", str(registry_file.parent))
    monkeypatch.setenv("STREAMSERVER_MODEL_CACHE", str(registry_file.parent))
    assert main(["--registry", str(registry_file), "list"]) == 0
    assert "crowd  detection  our own  on a server: oip+grpc://gpu:8001/people" in capsys.readouterr().out
    assert main(["--registry", str(registry_file), "verify", "crowd"]) == 0
    assert "crowd: on a server (oip+grpc://gpu:8001/people)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("gpu:8001/people", "gpu/people", r"models.crowd.remote: the port is missing"),
        ("    remote: oip", "    file: a.onnx\n    remote: oip", r"models.crowd.remote: stands beside file"),
        ("    remote: oip", "    url: https://a/b\n    remote: oip", r"models.crowd.remote: stands beside url"),
        ("    family: yolox\n", "", r"models.crowd.family: is missing"),
        ("    file: file.onnx\n", "", r"models.file.file: is missing"),
    ],
    ids=["address", "file", "url", "family", "none"],
)
def test_what_an_entry_says_wrongly_is_named(registry_file: Path, old: str, new: str, problem: str) -> None:
    text = registry_file.read_text()
    assert old in text
    registry_file.write_text(text.replace(old, new))
    with pytest.raises(ConfigError, match=problem):
        Registry.from_file(registry_file)
