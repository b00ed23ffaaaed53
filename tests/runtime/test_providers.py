"""Which provider is asked for, and what is said about the one that came; decisions only, so no GPU is needed."""

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from streamserver.core.errors import ModelError
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
)

CUDA_WANTED = ProviderChoice(((CUDA, {}), CPU))


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
    assert choice.wants_cuda != bool(choice.obstacle)


@pytest.mark.skipif(cuda_device_count() > 0, reason="this machine has a GPU")
def test_cuda_without_a_gpu_is_an_error_with_a_cure() -> None:
    with pytest.raises(ModelError, match=r"device 'cuda' cannot be used: .*STREAMSERVER_DEVICE=auto"):
        choose_providers("cuda")


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two GPUs and all of CUDA, as far as anybody can tell before a model is loaded."""
    monkeypatch.setattr(providers, "cuda_device_count", lambda: 2)
    monkeypatch.setattr(providers, "cuda_library_problem", lambda: "")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])


@pytest.mark.parametrize(("device", "number"), [("cuda", None), ("auto", None), ("cuda:0", "0"), ("cuda:1", "1")])
def test_one_gpu_of_several_is_asked_for_by_its_number(two_gpus: None, device: str, number: str | None) -> None:
    (name, options), cpu = choose_providers(device).providers
    assert (name, dict(options).get("device_id"), cpu) == (CUDA, number, CPU)


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
