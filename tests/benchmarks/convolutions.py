"""Weight gradients of 3×3 convolutions on a CPU in bfloat16: one matrix product against the library's kernel.

    python tests/benchmarks/convolutions.py --work FOLDER

Forward and backward of both, interleaved, on the grids of the default models; the best of many runs of each, and the
ratio library ÷ ours. `model.nets.Conv3x3` uses the product up to its MAX_SIDE.
"""

import time
from collections.abc import Callable

import common
import torch
from torch import Tensor
from torch.nn import functional as F

from vae_cli.model.nets import Conv3x3, _SmallGridConv

SHAPES = ((64, 96, 7), (64, 128, 7), (64, 192, 4), (64, 96, 8), (64, 192, 8), (64, 64, 14), (64, 96, 16))
"""(batch, channels, side)."""


def seconds(run: Callable[[], Tensor]) -> float:
    """Of one forward and backward pass."""
    start = time.perf_counter()
    out = run()
    out.backward(torch.ones_like(out))
    return time.perf_counter() - start


def measure(batch: int, channels: int, side: int, repeats: int) -> tuple[float, float]:
    """Best seconds of the library's kernel and of the product."""
    x = torch.randn(batch, channels, side, side).contiguous(memory_format=torch.channels_last).bfloat16()
    weight = torch.randn(channels, channels, 3, 3).contiguous(memory_format=torch.channels_last).bfloat16()
    tensors = [x.requires_grad_(), weight.requires_grad_(), torch.zeros(channels).bfloat16().requires_grad_()]
    runs = (lambda: F.conv2d(*tensors, padding=1), lambda: _SmallGridConv.apply(*tensors))
    best = [float("inf"), float("inf")]
    for _ in range(repeats):
        best = [min(old, seconds(run)) for old, run in zip(best, runs, strict=True)]
    return best[0], best[1]


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=30, help="of each (default 30)")
    arguments = parser.parse_args()
    ratios = {}
    for batch, channels, side in SHAPES:
        library, product = measure(batch, channels, side, arguments.repeats)
        name = f"{channels}x{side}x{side}"
        ratios[name] = library / product
        used = "used" if side <= Conv3x3.MAX_SIDE else "not used"
        print(f"{name:>12}  library {1e3 * library:6.2f} ms  product {1e3 * product:6.2f} ms  "
              f"ratio {ratios[name]:5.2f}  ({used})")  # fmt: skip
    common.finish("convolutions", ratios, protocol={"repeats": arguments.repeats}, precision="bfloat16")


if __name__ == "__main__":
    main()
