"""Memory of one `vae inpaint` over many small images, and of a long training: it must not grow with their number.

    python tests/benchmarks/soak.py --work FOLDER [--images 10000] [--side 32] [--minutes 60]

Draws PNGs with a mask each and fills them with `--method classical` in one process, whose resident memory is noted
after each fiftieth result; then `--preset tiny` learns from made-up pictures for --minutes, and its memory is noted
every two seconds. Measured: the mean of the last quarter over that of the second, after the start-up. The two phases of
a training hold different things, so that each is measured on its own.
"""

import json
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import numpy as np
from PIL import Image

TARGETS = (common.Target("growth", 1.02), common.Target("vae_growth", 1.02), common.Target("flow_growth", 1.02))


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--images", type=int, default=10_000, help="how many (default 10000)")
    parser.add_argument("--side", type=int, default=32, help="of each (default 32)")
    parser.add_argument("--minutes", type=float, default=60, help="of training (default 60)")
    args = parser.parse_args()
    figures = filled(args.work, args.images, args.side, args.seed) | trained(args.work, args.minutes)
    common.table([tuple(figures), tuple(figures.values())])
    protocol = {"images": args.images, "side": args.side, "minutes": args.minutes}
    common.finish("soak", figures, targets=TARGETS, protocol=protocol)


def filled(work: Path, num: int, side: int, seed: int) -> dict[str, float]:
    """What the memory of `vae inpaint` does over so many images."""
    images, masks, out = (work / name for name in ("images", "masks", "out"))
    rng, hole = np.random.default_rng(seed), np.zeros((side, side), np.uint8)
    hole[side // 3 : side // 2] = 255
    for folder in (images, masks):
        folder.mkdir(parents=True, exist_ok=True)
    for number in range(num):
        few = Image.fromarray(rng.integers(0, 256, (3, 3, 3), dtype=np.uint8))
        few.resize(hole.shape, Image.Resampling.BICUBIC).save(images / f"{number:05}.png")
    Image.fromarray(hole).save(masks / "all.png")
    bytes_at = dict[int, int]()

    def note(resident: int) -> None:
        bytes_at.setdefault(sum(1 for _ in out.iterdir()) // 50 if out.is_dir() else 0, resident)

    watched(work, "inpaint", images, "--mask", masks / "all.png", "--method", "classical", "--out", out, "--overwrite",
            "--quiet", every=0.2, note=note)  # fmt: skip
    return growth([bytes_at[step] for step in sorted(bytes_at) if step], "")


def trained(work: Path, minutes: float) -> dict[str, float]:
    """What the memory of a training does in each of its phases."""
    run, bytes_in = work / "run", defaultdict[str, list[int]](list)

    def note(resident: int) -> None:
        metrics = run / "metrics.jsonl"
        last = metrics.read_text().splitlines()[-1:] if metrics.exists() else []
        bytes_in[json.loads(last[0])["phase"] if last else "start"].append(resident)

    watched(work, "train", "--preset", "tiny", "--time", common.seconds_of(minutes), "--out", run, "--overwrite",
            every=2, note=note)  # fmt: skip
    return growth(bytes_in["vae"], "vae_") | growth(bytes_in["flow"], "flow_")


def watched(work: Path, *words: Any, every: float, note: Callable[[int], None]) -> None:
    """Runs a command of `vae`, and every so many seconds notes its resident bytes."""
    with (work / f"{words[0]}.log").open("wb") as log:
        process = subprocess.Popen(common.vae_command(*words), stdout=log, stderr=log, env=common.environment(work))
        try:
            while process.poll() is None:
                if resident := resident_bytes(process.pid):
                    note(resident)
                time.sleep(every)
        finally:
            process.kill()
    if process.returncode:
        raise SystemExit(f"{words[0]} ended with {process.returncode}; see {log.name}")


def growth(resident: list[int], prefix: str) -> dict[str, float]:
    """Megabytes of the second and the last quarter, and their ratio."""
    quarter = len(resident) // 4
    second, last = (float(np.mean(part)) / 1e6 for part in (resident[quarter : 2 * quarter], resident[-quarter:]))
    return {f"{prefix}second_quarter_mb": second, f"{prefix}last_quarter_mb": last, f"{prefix}growth": last / second}


def resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
    except OSError:
        return 0


if __name__ == "__main__":
    main()
