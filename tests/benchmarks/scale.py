"""On paper: what an update of `base` at 64 px costs on 8 GPUs and on 8 nodes of 8, from counted operations and bytes.

    python tests/benchmarks/scale.py --work FOLDER [--batch 2048] [--teraflops 300] [--node-gbytes 300]
        [--net-gbytes 50]

Nothing is run: operations and weights are counted (cost.py), the machine is what the options say of one GPU: matrix
products as networks reach them, all-reduce inside a node, and between nodes a GPU. The milliseconds are those of

- compute: operations of the GPU's images over its speed; the frozen VAE's encoder, 3.2 billion an image,
  left out of the flow's.
- all-reduce: a ring's 2 (n - 1) / n gradients of 4 bytes; most of it is hidden behind the backward pass.
- data: the draws of the GPU's images over PCIe at 25 GB/s, float32; uint8 pixels only where the set does not fit.
- checkpoint: weights, average, best and moments to a disk at 1 GB/s, as a share of `save_every` updates.

What it says: with the preset's 256 images, 32 a GPU, an update of 8 GPUs takes about 2 ms of computing, less than the
launches of its kernels (an estimated 2,000 of 3 to 5 µs), so that larger batches are free up to about 128 a GPU. Over
8 × 8 GPUs the flow's all-reduce of 144 MB takes 5.7 ms at 50 GB/s: only from about 128 images a GPU on, a batch of
8,192, is it hidden. A checkpoint every 5,000 updates of 2 ms is 8 % of the time, as all wait for rank 0:
`training.save_every` grows with the speed.
"""

import common
import cost

SIDE, DRAWS_AN_IMAGE = 64, 4 * (64 * 64 * (3 + 1) + 2 * 8 * 16 * 16)  # bytes: noise on pixels, mask, two latents


def milliseconds(found: cost.Cost, num: int, args: object, images: int, save_every: int) -> dict[str, float]:
    """Of an update on so many GPUs with `images` in all."""
    own, gradients = images / num, 4 * found.parameters
    speed = args.node_gbytes if num <= 8 else args.net_gbytes  # type: ignore[attr-defined]
    compute = own * found.update_flops / args.teraflops / 1e9  # type: ignore[attr-defined]
    share = 2 * (num - 1) / num * gradients / speed / 1e6
    return {"compute": compute, "all_reduce": share, "data": own * DRAWS_AN_IMAGE / 25e6,
            "checkpoint": 5 * gradients / 1e6 / save_every}  # fmt: skip


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--teraflops", type=float, default=300)
    parser.add_argument("--node-gbytes", type=float, default=300)
    parser.add_argument("--net-gbytes", type=float, default=50)
    args = parser.parse_args()
    counted, save_every = cost.of_preset("base", (SIDE, SIDE)), 5000
    rows, figures = [("", "images a GPU", "compute", "all-reduce", "data", "checkpoint")], {}
    for phase, found in counted.items():
        for num in (8, 64):
            for images in (256, args.batch):
                made = milliseconds(found, num, args, images, save_every)
                figures[f"{phase}, {num} GPUs, batch {images}"] = made
                cells = (f"{value:.2f} ms" for value in made.values())
                rows.append((f"{phase}, {num} GPUs", str(images // num), *cells))
    common.table(rows)
    common.finish("scale", figures, protocol={name: str(value) for name, value in vars(args).items()})


if __name__ == "__main__":
    main()
