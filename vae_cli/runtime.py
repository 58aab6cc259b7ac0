"""Where a command runs: device, precision, memory format, threads and ranks.

The precision follows from what the processor can do, so that the same machine always chooses the same; a short trial
only rules out bfloat16 where it gains little. The choice is stored with a run and not made again.
"""

import contextlib
import datetime
import os
import platform
import re
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vae_cli.company import Company
from vae_cli.errors import ConfigError, OutOfMemoryError, RanksError, first_line
from vae_cli.ranks import Ranks

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

_HOST_MEMORY_ERRORS = ("not enough memory", "DefaultCPUAllocator")
_DEVICE_MEMORY_ERRORS = ("out of memory", "_ALLOC_FAILED")
"""Parts of messages of plain RuntimeErrors: not every allocator has a class of its own for them."""
RANK_TIMEOUT = datetime.timedelta(days=365)  # of a collective: rank 0 does some things alone, and `Company` watches
MIN_SPEED_UP = 1.2  # of bfloat16 over float32 in the trial
ALONE = Ranks()
Module = TypeVar("Module", bound=nn.Module)
Value = TypeVar("Value")


@dataclass(frozen=True)
class Runtime:
    """Device, number format and place among the ranks of one process."""

    device: torch.device
    dtype: torch.dtype = torch.float32
    channels_last: bool = False
    rank: int = 0
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    @property
    def precision(self) -> str:
        return str(self.dtype).removeprefix("torch.")

    @property
    def machine(self) -> str:
        """What the networks are computed on, in words for people."""
        if self.device.type == "cuda":
            name = torch.cuda.get_device_name(self.device)
            return f"{self.world_size} × {name}" if self.world_size > 1 else name
        threads = torch.get_num_threads() * self.world_size
        return f"{cpu_name()}, {threads} thread{'s' * (threads != 1)}"

    def place(self, module: Module) -> Module:
        """The module on the device, in the memory format that is fastest there."""
        module = module.to(self.device)
        return module.to(memory_format=torch.channels_last) if self.channels_last else module

    def move(self, tensor: Tensor) -> Tensor:
        """A batch on the device; images in the modules' memory format."""
        tensor = tensor.to(self.device, non_blocking=True)
        is_image = self.channels_last and tensor.ndim == 4
        return tensor.contiguous(memory_format=torch.channels_last) if is_image else tensor

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Reduced precision for networks; probabilities ask for float32 themselves."""
        is_reduced = self.dtype != torch.float32
        return torch.autocast(self.device.type, dtype=self.dtype) if is_reduced else contextlib.nullcontext()


def pick_device(name: str, local_rank: int = 0) -> torch.device:
    """`auto` takes CUDA, then MPS, then the CPU; each rank of a node has a CUDA device of its own.

    Raises ConfigError for a device this machine lacks.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name == "cuda":
        name = f"cuda:{local_rank}"  # each rank of torchrun has a device of its own
    match = re.fullmatch(r"cpu|mps|cuda:([0-9]{1,9})", name)  # torch takes more, and numbers modulo 256
    if match is None:
        raise ConfigError(f"--device {name}: unknown device; use auto, cpu, cuda, cuda:N or mps")
    if match[1] and int(match[1]) >= torch.cuda.device_count():
        raise ConfigError(f"--device {name}: no such CUDA device ({torch.cuda.device_count()} found); use --device cpu")
    if name == "mps" and not torch.backends.mps.is_available():
        raise ConfigError(f"--device {name}: no MPS device here; use --device cpu")
    return torch.device(name)


def cpu_name() -> str:
    """As Linux tells it, else the kind of processor."""
    with contextlib.suppress(OSError):
        if found := re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE):
            return found[1]
    return platform.processor() or platform.machine()


def pick_dtype(device: torch.device, precision: str = "auto") -> torch.dtype:
    """The number format of the networks. `auto`: bfloat16 where the hardware multiplies it natively."""
    if precision != "auto":
        return torch.float32 if precision == "float32" else torch.bfloat16
    if not multiplies_bfloat16(device) or (device.type == "cpu" and _trial_speed_up() < MIN_SPEED_UP):
        return torch.float32
    return torch.bfloat16


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16 matrices; without them it is emulated, slowly."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    if not hasattr(torch.cpu, "get_capabilities"):  # older releases of torch
        return bool(torch.cpu._is_avx512_bf16_supported())
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def make_runtime(device: torch.device, precision: str = "auto", threads: int = 0, ranks: Ranks = ALONE) -> Runtime:
    """Everything about this process. `threads` 0 keeps torch's own number."""
    if threads and device.type == "cpu":
        torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    dtype = pick_dtype(device, precision)
    channels_last = device.type == "cuda" or (device.type == "cpu" and dtype == torch.bfloat16)
    return Runtime(device, dtype, channels_last, ranks.rank, ranks.world_size)


def _trial_speed_up() -> float:
    """How much faster a small convolution runs in bfloat16; the best of four of each, interleaved, on one thread.

    Measured in the thread's own processor time, so that a busy machine chooses as an idle one does.
    """
    clock = time.perf_counter if os.name == "nt" else time.thread_time  # which ticks every 16 ms on Windows
    conv = nn.Conv2d(64, 64, 3, padding=1).to(memory_format=torch.channels_last)
    x = torch.zeros(32, 64, 16, 16).contiguous(memory_format=torch.channels_last)
    seconds: dict[bool, list[float]] = {False: [], True: []}
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for reduced in (False, True) * 5:
            with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=reduced):
                start = clock()
                for _ in range(5):
                    conv(x)
                seconds[reduced].append(clock() - start)
    finally:
        torch.set_num_threads(num_threads)
    return min(seconds[False][1:]) / min(seconds[True][1:])  # without the first runs, which compile kernels


class Undrawn(TorchFunctionMode):
    """New weights stay as they are: to draw some of those without memory, torch would load its compiler for seconds."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def load_saved(path: Path) -> Any:
    """What `torch.save` has written to a file, on the CPU, as far as it is tensors and plain containers.

    Raises many things on other files, among them zips that are packed: they may take any memory.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(info.file_size for info in archive.infolist()) > path.stat().st_size:
                raise ValueError("its members are compressed")
    return torch.load(path, map_location="cpu", weights_only=True)


@contextlib.contextmanager
def memory_errors_explained(advice: str) -> Iterator[None]:
    """Turns the allocator's exceptions into OutOfMemoryError with advice; everything else passes."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = str(error)
        if isinstance(error, torch.OutOfMemoryError):
            place = "the device"
        elif isinstance(error, MemoryError) or any(part in text for part in _HOST_MEMORY_ERRORS):
            place = "this machine"
        elif any(part in text for part in _DEVICE_MEMORY_ERRORS):
            place = "the device"
        else:
            raise
        raise OutOfMemoryError(f"{place} ran out of memory; {advice}") from error


@contextlib.contextmanager
def distributed(
    runtime: Runtime, store: "Store | None",
    *, on_loss: Callable[[str], object] = lambda what: None, on_stop: Callable[[], object] = lambda: None,
) -> Iterator[Company]:  # fmt: skip
    """Connects the ranks, which have met in the store, for as long as the block lasts; nothing to do for a single one.

    on_loss, on_stop: as of Company. Raises RanksError when one of them goes.
    """
    if store is None:
        yield Company()
        return
    is_cuda = runtime.device.type == "cuda"
    if is_cuda:
        torch.cuda.set_device(runtime.device)
    company: Company | None = None
    try:
        with Company(store, runtime.rank, runtime.world_size, on_loss=on_loss, on_stop=on_stop) as company:
            torch.distributed.init_process_group("nccl" if is_cuda else "gloo", store=store, rank=runtime.rank,
                                                 world_size=runtime.world_size, timeout=RANK_TIMEOUT)  # fmt: skip
            yield company
    except RuntimeError as error:
        if not isinstance(error, torch.distributed.DistError) and "gloo" not in str(error):
            raise
        is_gone = "by peer" in str(error)  # the connection was closed or reset
        reason = "another one has ended, and tells why" if is_gone else first_line(error)[:300]
        reason = (company and company.problem) or reason
        raise RanksError(f"rank {runtime.rank}: cannot go on with the other ranks: {reason}") from error
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def wait_for_ranks() -> None:
    """Returns when all ranks are here; signals are heeded meanwhile."""
    if torch.distributed.is_initialized():
        here = torch.distributed.barrier(async_op=True)
        while not here.is_completed():
            time.sleep(0.02)
        here.wait()


@contextlib.contextmanager
def main_rank_first() -> Iterator[None]:
    """Rank 0 runs the block while the others wait, then they run it, finding what rank 0 has left on disk."""
    is_main = not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0
    if not is_main:
        wait_for_ranks()
    yield
    if is_main:
        wait_for_ranks()


def mean_over_ranks(tensor: Tensor) -> Tensor:
    """The mean of each rank's tensor, without a gradient; the tensor itself where there is one rank."""
    if not torch.distributed.is_initialized():
        return tensor.detach()
    mean = tensor.detach().clone(memory_format=torch.contiguous_format)
    torch.distributed.all_reduce(mean)
    return mean / torch.distributed.get_world_size()


def of_all_ranks(value: Value) -> list[Value]:
    """Each rank's value, in their order."""
    if not torch.distributed.is_initialized():
        return [value]
    values = [value] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values


def of_main_rank(value: float, device: torch.device) -> float:
    """Rank 0's value on every rank."""
    if not torch.distributed.is_initialized():
        return value
    shared = torch.tensor([value], dtype=torch.float64, device=device)
    torch.distributed.broadcast(shared, 0)
    return shared.item()


def is_any_rank(value: bool, device: torch.device) -> bool:
    """Whether it is true on one of the ranks at least."""
    if not torch.distributed.is_initialized():
        return value
    shared = torch.tensor([float(value)], device=device)
    torch.distributed.all_reduce(shared, torch.distributed.ReduceOp.MAX)
    return bool(shared.item())
