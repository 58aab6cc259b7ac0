"""Memory of one `vae inpaint` over many small images: it must not grow with their number.

    python tests/benchmarks/soak.py --work FOLDER [--images 10000] [--side 32]

Draws PNGs with a mask each and fills them with `--method classical` in one process, whose resident memory is noted
after each fiftieth result. Measured: the mean of the last quarter over that of the second, after the start-up.
"""

import subprocess
import time
from pathlib import Path

import common
import numpy as np
from PIL import Image

TARGETS = (common.Target("growth", 1.02),)


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--images", type=int, default=10_000, help="how many (default 10000)")
    parser.add_argument("--side", type=int, default=32, help="of each (default 32)")
    args = parser.parse_args()
    images, masks, out = (args.work / name for name in ("images", "masks", "out"))
    rng, hole = np.random.default_rng(args.seed), np.zeros((args.side, args.side), np.uint8)
    hole[args.side // 3 : args.side // 2] = 255
    for folder in (images, masks):
        folder.mkdir(parents=True, exist_ok=True)
    for number in range(args.images):
        few = Image.fromarray(rng.integers(0, 256, (3, 3, 3), dtype=np.uint8))
        few.resize(hole.shape, Image.Resampling.BICUBIC).save(images / f"{number:05}.png")
    Image.fromarray(hole).save(masks / "all.png")
    command = common.vae_command("inpaint", images, "--mask", masks / "all.png", "--method", "classical", "--out", out,
                                 "--overwrite", "--quiet")  # fmt: skip
    started, bytes_at = time.monotonic(), dict[int, int]()
    with (args.work / "soak.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=common.environment(args.work))
        try:
            while process.poll() is None:
                num_done = sum(1 for _ in out.iterdir()) if out.is_dir() else 0
                bytes_at.setdefault(num_done // 50, resident_bytes(process.pid))
                time.sleep(0.2)
        finally:
            process.kill()
    seen = [bytes_at[step] for step in sorted(bytes_at) if step and bytes_at[step]]
    quarter = len(seen) // 4
    second, last = (float(np.mean(part)) for part in (seen[quarter : 2 * quarter], seen[-quarter:]))
    figures = {"images": args.images, "code": process.returncode, "seconds": time.monotonic() - started,
               "second_quarter_mb": second / 1e6, "last_quarter_mb": last / 1e6, "growth": last / second}  # fmt: skip
    common.table([tuple(figures), tuple(figures.values())])
    common.finish("soak", figures, targets=TARGETS, protocol={"side": args.side, "method": "classical"})


def resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
    except OSError:
        return 0


if __name__ == "__main__":
    main()
