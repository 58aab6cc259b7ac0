"""Device, precision, memory errors: what a process finds out about where it runs."""

import os

import pytest
import torch
from torch import nn

from vae_cli import runtime
from vae_cli.errors import ConfigError, OutOfMemoryError


@pytest.mark.parametrize(
    "name",
    [
        "gpu",
        "cuda:99",
        "meta",
        "",
        "cuda:",
        "cuda:-1",
        "cuda:257",
        "cuda:99999999999999999999",
        "cpu:7",
        "mps:3",
        "CPU",
    ],
)
def test_devices_that_are_not_here_are_one_line(name: str) -> None:
    with pytest.raises(ConfigError, match="--device"):
        runtime.pick_device(name)


def test_auto_takes_the_best_device_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert runtime.pick_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    monkeypatch.setenv("LOCAL_RANK", "nonsense")  # only a training looks at it
    assert runtime.pick_device("auto") == torch.device("cuda:0")
    assert runtime.pick_device("auto", local_rank=3) == torch.device("cuda:3")


def test_the_trial_counts_processor_time_and_gives_the_threads_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for a busy machine is no reason to call bfloat16 slow."""
    if os.name == "nt":
        pytest.skip("thread time is too coarse there")
    wall = iter(range(1_000_000))
    monkeypatch.setattr(runtime.time, "perf_counter", lambda: 100.0 * next(wall))
    processor = iter([value for pair in range(10) for value in (0.0, 1.0 if pair % 2 else 3.0)])
    monkeypatch.setattr(runtime.time, "thread_time", lambda: next(processor))
    before = torch.get_num_threads()
    assert runtime._trial_speed_up.__wrapped__() == pytest.approx(3.0)
    assert torch.get_num_threads() == before


def test_precision_follows_the_processor_and_the_trial_may_only_veto(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(runtime, "_trial_speed_up", lambda: 5.0)
    monkeypatch.setattr(runtime, "multiplies_bfloat16", lambda device: False)
    assert runtime.pick_dtype(cpu) == torch.float32
    monkeypatch.setattr(runtime, "multiplies_bfloat16", lambda device: True)
    assert runtime.pick_dtype(cpu) == torch.bfloat16
    monkeypatch.setattr(runtime, "_trial_speed_up", lambda: 1.0)
    assert runtime.pick_dtype(cpu) == torch.float32
    assert runtime.pick_dtype(cpu, "bfloat16") == torch.bfloat16


def test_images_get_the_layout_of_the_modules() -> None:
    place = runtime.Runtime(torch.device("cpu"), torch.bfloat16, channels_last=True)
    module = place.place(nn.Conv2d(8, 8, 3))
    assert module.weight.is_contiguous(memory_format=torch.channels_last)
    assert place.move(torch.zeros(2, 8, 4, 4)).is_contiguous(memory_format=torch.channels_last)
    assert place.move(torch.zeros(3)).shape == (3,)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("not enough memory: 3 GB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
    ],
)
def test_memory_errors_get_advice(error: Exception) -> None:
    with pytest.raises(OutOfMemoryError, match="smaller"), runtime.memory_errors_explained("use something smaller"):
        raise error


def test_other_errors_keep_their_traceback() -> None:
    with pytest.raises(RuntimeError, match="shape"), runtime.memory_errors_explained("advice"):
        raise RuntimeError("shape mismatch")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_runs_the_same_model() -> None:
    place = runtime.make_runtime(runtime.pick_device("cuda"))
    module = place.place(nn.Conv2d(8, 8, 3))
    with place.autocast():
        assert module(place.move(torch.zeros(2, 8, 4, 4))).device.type == "cuda"
