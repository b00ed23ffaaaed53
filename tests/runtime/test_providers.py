"""Which provider is asked for, and what is said about the one that came; decisions only, so no GPU is needed."""

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from streamserver.core.errors import DeviceError, ModelError
from streamserver.core.settings import PROJECT_DIR
from streamserver.runtime import providers
from streamserver.runtime.providers import (
    CPU,
    CUDA,
    ProviderChoice,
    check_providers,
    choose_providers,
    cuda_device_count,
    cuda_obstacle,
    missing_libraries,
    tell_nodes,
)
from streamserver.runtime.tensorrt import TENSORRT, alone_in, engine_folder, needed_libraries

CUDA_WANTED = ProviderChoice(((CUDA, {}), CPU))


def asked_for(choice: ProviderChoice) -> dict[str, dict[str, Any]]:
    """The options of each provider, in order."""
    return dict((one, {}) if isinstance(one, str) else one for one in choice.providers)


@pytest.mark.parametrize(
    ("available", "device_count", "part_of_reason"),
    [
        ([CPU], 1, "has no CUDA"),
        ([CUDA, CPU], 0, "no NVIDIA GPU"),
        (["TensorrtExecutionProvider", CUDA, CPU], 2, ""),
    ],
)
def test_cuda_needs_the_package_and_a_device(available: list[str], device_count: int, part_of_reason: str) -> None:
    reason = cuda_obstacle(available=available, device_count=device_count)
    assert part_of_reason in reason
    assert bool(reason) == bool(part_of_reason)


def test_the_cpu_is_asked_for_alone_when_the_setting_says_so() -> None:
    assert choose_providers("cpu") == ProviderChoice((CPU,))


def test_auto_never_fails_and_says_why_it_takes_the_cpu() -> None:
    choice = choose_providers("auto")
    assert choice.providers[-1] == CPU
    assert choice.wants_gpu != bool(choice.obstacle)


@pytest.mark.skipif(cuda_device_count() > 0, reason="this machine has a GPU")
def test_cuda_without_a_gpu_is_an_error_with_a_cure() -> None:
    with pytest.raises(ModelError, match=r"device 'cuda' cannot be used: .*STREAMSERVER_DEVICE=auto"):
        choose_providers("cuda")


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two GPUs and all of CUDA, as far as anybody can tell before a model is loaded."""
    monkeypatch.setattr(providers, "cuda_device_count", lambda: 2)
    monkeypatch.setattr(providers, "cuda_library_problem", lambda: "")
    monkeypatch.setattr(providers, "tensorrt_problem", lambda: "")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])


@pytest.mark.parametrize(("device", "number"), [("cuda", None), ("auto", None), ("cuda:0", "0"), ("cuda:1", "1")])
def test_one_gpu_of_several_is_asked_for_by_its_number(two_gpus: None, device: str, number: str | None) -> None:
    asked = asked_for(choose_providers(device))
    assert list(asked) == [CUDA, CPU]
    assert asked[CUDA].get("device_id") == number


def test_a_gpu_of_a_number_that_is_not_there_is_an_error(two_gpus: None) -> None:
    with pytest.raises(ModelError, match=r"device 'cuda:2' cannot be used: there is no GPU 2, the driver offers 2"):
        choose_providers("cuda:2")


@pytest.mark.skipif(cuda_device_count() > 0, reason="this machine has a GPU")
@pytest.mark.skipif(CUDA not in onnxruntime.get_available_providers(), reason="this onnxruntime is without CUDA")
@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_a_gpu_without_the_libraries_of_cuda_is_told_by_their_names(tmp_path: Path, device: str) -> None:
    """A driver that offers a GPU, made here, and none of CUDA's libraries."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler to make a driver with")
    (tmp_path / "driver.c").write_text("int cuInit(unsigned f){return 0;} int cuDeviceGetCount(int *c){*c=1;return 0;}")
    driver = [compiler, "-shared", "-fPIC", "-o", str(tmp_path / "libcuda.so.1"), str(tmp_path / "driver.c")]
    subprocess.run(driver, check=True)
    code = (
        "import logging, sys; logging.basicConfig(format='%(levelname)s %(message)s')\n"
        "from streamserver.runtime.providers import choose_providers\n"
        "from streamserver.core.errors import ModelError\n"
        "try: print(choose_providers(sys.argv[1]).providers)\n"
        "except ModelError as e: print(e)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, device],
        cwd=PROJECT_DIR,
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    if device == "cuda":
        assert done.stdout.startswith("device 'cuda' cannot be used: CUDA lacks libcu")
        assert done.stderr == ""
    else:
        assert done.stdout == "('CPUExecutionProvider',)\n"
        assert done.stderr.startswith("WARNING there is a GPU, but CUDA lacks libcu")


def test_what_onnxruntime_says_names_the_missing_libraries() -> None:
    said = (
        "Failed to load libcublas.so.13: libcublas.so.13: cannot open\nPlease follow https://a\nFailed to load b.so: x"
    )
    assert missing_libraries(said) == ["libcublas.so.13", "b.so"]
    assert missing_libraries("all is well") == []


def test_a_silent_fallback_is_an_error_when_cuda_was_demanded() -> None:
    with pytest.raises(ModelError, match=r"'m.onnx' runs on CPUExecutionProvider.*install CUDA"):
        check_providers(CUDA_WANTED, [CPU], device="cuda", name="m.onnx")


def test_a_silent_fallback_is_a_warning_otherwise(caplog: pytest.LogCaptureFixture) -> None:
    assert check_providers(CUDA_WANTED, [CPU], device="auto", name="m.onnx") == CPU
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_the_log_names_the_provider_that_is_really_used(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert check_providers(CUDA_WANTED, [CUDA, CPU], device="auto", name="m.onnx") == CUDA
    assert check_providers(ProviderChoice((CPU,), "no GPU"), [CPU], device="auto", name="m.onnx") == CPU
    assert caplog.messages == [
        "'m.onnx' runs on CUDAExecutionProvider",
        "'m.onnx' runs on CPUExecutionProvider (no GPU)",
    ]


@pytest.mark.parametrize(("device", "number"), [("tensorrt", "0"), ("tensorrt:1", "1")])
def test_tensorrt_comes_before_cuda_where_it_is_named(two_gpus: None, tmp_path: Path, device: str, number: str) -> None:
    choice = choose_providers(device, engines=tmp_path)
    asked = asked_for(choice)
    assert (list(asked), choice.best) == ([TENSORRT, CUDA, CPU], TENSORRT)
    options = asked[TENSORRT]
    assert (options["device_id"], options["trt_engine_cache_path"]) == (number, str(tmp_path))
    assert options["trt_fp16_enable"] == "False"
    assert choice.number == int(number)


def test_what_tensorrt_is_not_to_run_goes_to_cuda(two_gpus: None) -> None:
    assert choose_providers("tensorrt:1").providers == choose_providers("cuda:1").providers


def test_auto_never_asks_for_tensorrt_which_builds_for_minutes(two_gpus: None, tmp_path: Path) -> None:
    assert choose_providers("auto", engines=tmp_path).best == CUDA


def test_tensorrt_that_cannot_be_loaded_is_an_error_that_names_the_library(
    two_gpus: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(providers, "tensorrt_problem", lambda: "TensorRT lacks libnvinfer.so.10")
    with pytest.raises(ModelError, match=r"device 'tensorrt' cannot be used: TensorRT lacks libnvinfer.so.10"):
        choose_providers("tensorrt", engines=tmp_path)
    assert choose_providers("cuda").best == CUDA


def test_a_driver_that_has_lost_its_gpu_may_find_it_again(two_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "cuda_device_count", lambda: 0)
    monkeypatch.setattr(providers, "has_driver", lambda: True)
    with pytest.raises(DeviceError, match=r"device 'cuda:0' cannot be used: no NVIDIA GPU"):
        choose_providers("cuda:0")
    assert choose_providers("auto").best == CPU


def test_the_libraries_of_tensorrt_are_those_that_onnxruntime_was_linked_with(tmp_path: Path) -> None:
    library = tmp_path / "provider.so"
    library.write_bytes(b"\0libnvonnxparser.so.10\0libcudart.so.13\0libnvinfer.so.10\0libnvinfer.so.10\0")
    assert needed_libraries(library) == ["libnvinfer.so.10", "libnvonnxparser.so.10"]
    assert needed_libraries(tmp_path / "absent.so") == []


def test_engines_are_kept_by_what_a_file_holds_not_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMSERVER_STATE_DIR", str(tmp_path / "state"))
    model = tmp_path / "m.onnx"
    model.write_bytes(b"one")
    before = engine_folder(model)
    model.write_bytes(b"two")
    assert before != engine_folder(model)
    assert before.parent == engine_folder(model).parent == (tmp_path / "state" / "tensorrt").resolve()


def test_one_process_at_a_time_builds_engines(tmp_path: Path) -> None:
    """Each of two processes notes its coming and going; neither comes while the other is there."""
    code = (
        "import sys, time; from pathlib import Path; from streamserver.runtime.tensorrt import alone_in\n"
        "with alone_in(Path(sys.argv[1])):\n"
        "    with open(sys.argv[2], 'a') as log:\n"
        "        log.write('in\\n'); log.flush(); time.sleep(0.2); log.write('out\\n')"
    )
    log = tmp_path / "log"
    command = [sys.executable, "-c", code, str(tmp_path / "engines"), str(log)]
    for process in [subprocess.Popen(command, cwd=PROJECT_DIR) for _ in range(2)]:
        assert process.wait() == 0
    assert log.read_text().split() == ["in", "out", "in", "out"]


def test_a_first_build_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with alone_in(tmp_path):
        (tmp_path / "a.engine").touch()
    with alone_in(tmp_path):
        pass
    assert [message.partition(" in ")[0] for message in caplog.messages] == ["TensorRT builds an engine"]


@pytest.mark.parametrize(
    ("counts", "level", "said"),
    [
        ({(CUDA, "Conv"): 3}, None, None),
        ({(CUDA, "Conv"): 3, (CPU, "Shape"): 1, (CPU, "Gather"): 1}, "INFO", "3 of 5 nodes on CUDAExecutionProvider"),
        ({(CUDA, "Conv"): 1, (CPU, "QLinearConv"): 9}, "WARNING", "others: 9 QLinearConv on CPUExecutionProvider"),
    ],
    ids=["all", "some", "few"],
)
def test_what_a_gpu_leaves_to_the_cpu_is_told(
    caplog: pytest.LogCaptureFixture, counts: dict[tuple[str, str], int], level: str | None, said: str | None
) -> None:
    caplog.set_level(logging.INFO)
    tell_nodes(counts, CUDA, name="m.onnx")
    assert [record.levelname for record in caplog.records] == ([level] if level else [])
    assert all(str(said) in message for message in caplog.messages)
