"""Scratches, hairs and dust drawn on photographs and found again by `vae inpaint --mask-auto`; clean ones left alone.

    python tests/benchmarks/damage_detection.py --work FOLDER [--trials 3] [--large 12000x8400]

Photographs are ten of scikit-image's pictures that come with the package. On each, for every 512 x 512 pixels: six
scratches (bent a little, 1 to 4 pixels wide, 12 to 80 % of the shorter side long), three hairs (curved, 1 to 2.5 pixels
wide, 30 to 110 long) and twenty grains of dust (radius 1 to 4 pixels, soft edges); each white-ish or black-ish at
random, 70 to 100 % opaque, antialiased. Other trials draw other damage. Damage counts where it is at least a quarter
opaque and changes the picture by at least 20 of 255 grey levels.

Recall: the share of those pixels at most one pixel from the mask; exact recall: inside it; found: the share of the
scratches, hairs and grains of which recall is at least half. Precision: the share of the mask at most one pixel from
any drawn damage. All over all photographs and trials; recall and precision also as means over photographs. Clean: the
share of the mask on the photographs as they are, a mean over them, and the share of them that are left alone.

Beside them, without targets: walls, gravel, grass, handwriting, cells, stars, vessels. There thin and small things
are the picture. --large: time and memory on one picture of that size with grain and scratches, in a process of its own.
Into --work go overlays: right is green, what was taken for damage red, what was missed blue.

The detector's constants were chosen on trials 0 to 3 and 100; --first 200 draws others. Of the 27 pictures without
damage that were tried then, two did not pass as clean: stars, and a building with a long dark beam.
"""

import itertools
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

import common
import numpy as np
import skimage.data
from PIL import Image

from vae_cli.files.masks import dilate
from vae_cli.files.scratches import find_scratches

PHOTOGRAPHS = ("astronaut.png", "camera.png", "chelsea.png", "clock_motion.png", "coffee.png", "coins.png", "moon.png",
               "motorcycle_left.png", "page.png", "rocket.jpg")  # fmt: skip
OTHERS = ("brick.png", "cell.png", "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png", "retina.jpg",
          "text.png")  # fmt: skip
KINDS = ("scratch", "hair", "dust")
PER_512 = {"scratch": 6, "hair": 3, "dust": 20}
LEAST_OPACITY, LEAST_CHANGE, TOUCHED = 0.25, 20, 0.05
TARGETS = (
    common.Target("recall", 0.7, at_least=True),
    common.Target("precision", 0.8, at_least=True),
    common.Target("left_alone", 0.9, at_least=True),
    common.Target("seconds_a_megapixel", 1.0),
)
MEMORY_TARGET = common.Target("large_mebibytes_above_picture", 2048)


# ---- drawing


@dataclass
class Damage:
    """A damaged picture uint8 [H, W, C], and per pixel how opaque what lies there is and the number of that defect."""

    picture: np.ndarray
    opacity: np.ndarray
    number: np.ndarray
    kinds: list[int]
    """Of each defect its number in KINDS."""

    @classmethod
    def draw(cls, clean: np.ndarray, trial: int) -> "Damage":
        rng, shape = np.random.default_rng(trial), clean.shape[:2]
        made = cls(clean.astype(np.float32), np.zeros(shape, np.float32), np.zeros(shape, np.int64), [])
        for number, kind in enumerate(KINDS):
            for _ in range(max(1, round(PER_512[kind] * shape[0] * shape[1] / 512**2))):
                made._lay(COVERAGES[kind](rng, shape), rng)
                made.kinds.append(number)
        made.picture = made.picture.clip(0, 255).round().astype(np.uint8)
        return made

    def _lay(self, coverage: np.ndarray, rng: np.random.Generator) -> None:
        """Ink of one shade, more or less opaque."""
        ink = rng.uniform(210, 255) if rng.random() < 0.5 else rng.uniform(0, 45)
        opacity = coverage * rng.uniform(0.7, 1)
        colour = (ink + rng.uniform(-12, 12, self.picture.shape[2])).clip(0, 255)
        self.picture += opacity[..., None] * (colour - self.picture)
        self.number[opacity > TOUCHED] = len(self.kinds)
        np.maximum(self.opacity, opacity, out=self.opacity)


def stroke(shape: tuple[int, int], points: np.ndarray, width: float) -> np.ndarray:
    """float32 [H, W]: how much of each pixel a polyline through points [N, 2] covers."""
    covered = np.zeros(shape, np.float32)
    for start, end in itertools.pairwise(points):
        first = np.floor(np.minimum(start, end) - width - 1).clip(0, shape).astype(int)
        last = np.ceil(np.maximum(start, end) + width + 2).clip(0, shape).astype(int)
        rows, columns = np.mgrid[first[0] : last[0], first[1] : last[1]]
        way = end - start
        along = ((rows - start[0]) * way[0] + (columns - start[1]) * way[1]) / max(float(way @ way), 1e-9)
        along = along.clip(0, 1)
        off = np.hypot(rows - start[0] - along * way[0], columns - start[1] - along * way[1])
        part = covered[first[0] : last[0], first[1] : last[1]]
        np.maximum(part, (width / 2 - off + 0.5).clip(0, 1), out=part)
    return covered


def scratch(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    points, angle = [rng.uniform(0, shape)], rng.uniform(0, np.pi)
    length, count = rng.uniform(0.12, 0.8) * min(shape), rng.integers(1, 4)
    for _ in range(count):
        points.append(points[-1] + length / count * np.array([np.sin(angle), np.cos(angle)]))
        angle += rng.normal(0, 0.06)
    return stroke(shape, np.array(points), rng.uniform(1, 4))


def hair(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    points, angle, bend = [rng.uniform(0, shape)], rng.uniform(0, 2 * np.pi), rng.normal(0, 0.03)
    for _ in range(int(rng.uniform(10, 37))):
        points.append(points[-1] + 3 * np.array([np.sin(angle), np.cos(angle)]))
        angle += 3 * bend
        bend += rng.normal(0, 0.006)
    return stroke(shape, np.array(points), rng.uniform(1, 2.5))


def dust(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """An ellipse with a soft edge."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    centre, radius, softness = rng.uniform(0, shape), rng.uniform(1, 4), rng.uniform(1, 2.5)
    stretch, angle = rng.uniform(0.7, 1.3), rng.uniform(0, np.pi)
    down, right = rows - centre[0], columns - centre[1]
    along, across = right * np.cos(angle) + down * np.sin(angle), down * np.cos(angle) - right * np.sin(angle)
    return ((radius - np.hypot(along * stretch, across / stretch)) / softness + 0.5).clip(0, 1).astype(np.float32)


COVERAGES: dict[str, Callable[[np.random.Generator, tuple[int, int]], np.ndarray]] = {
    "scratch": scratch,
    "hair": hair,
    "dust": dust,
}


# ---- measuring


@dataclass
class Counts:
    """Pixels, and whole defects of each of KINDS, of one picture or of many."""

    marked: int = 0
    rightly: int = 0
    damaged: int = 0
    found: int = 0
    found_exactly: int = 0
    defects: np.ndarray = field(default_factory=lambda: np.zeros(len(KINDS), np.int64))
    defects_found: np.ndarray = field(default_factory=lambda: np.zeros(len(KINDS), np.int64))

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))

    def figures(self) -> dict[str, float]:
        kinds = self.defects_found / np.maximum(self.defects, 1)
        return {"recall": self.found / max(self.damaged, 1), "precision": self.rightly / max(self.marked, 1),
                "exact_recall": self.found_exactly / max(self.damaged, 1),
                **{f"found_{kind}": float(share) for kind, share in zip(KINDS, kinds, strict=True)}}  # fmt: skip


def visible(made: Damage, clean: np.ndarray) -> np.ndarray:
    """bool [H, W]: the damage that counts."""
    change = np.abs(made.picture.astype(np.int16) - clean).max(2)
    return (made.opacity >= LEAST_OPACITY) & (change >= LEAST_CHANGE)


def count(mask: np.ndarray, made: Damage, damaged: np.ndarray) -> Counts:
    found = damaged & dilate(mask, 1)
    pixels, pixels_found = (np.bincount(made.number[which], minlength=len(made.kinds)) for which in (damaged, found))
    is_found = pixels_found >= np.maximum(pixels / 2, 1)
    of_kind = [np.bincount(np.array(made.kinds)[which], minlength=len(KINDS)) for which in (pixels > 0, is_found)]
    rightly = mask & dilate(made.opacity > TOUCHED, 1)
    return Counts(*(int(which.sum()) for which in (mask, rightly, damaged, found, damaged & mask)), *of_kind)


def save_overlay(path: Path, mask: np.ndarray, made: Damage, damaged: np.ndarray) -> None:
    """The damaged picture, and beside it, dark, what was found and missed."""
    rgb = np.broadcast_to(made.picture, (*made.picture.shape[:2], 3))
    shown = (rgb * 0.55).astype(np.uint8)
    near = dilate(made.opacity > TOUCHED, 1)
    shown[mask & near], shown[mask & ~near] = (0, 255, 0), (255, 0, 0)
    shown[damaged & ~dilate(mask, 1)] = (0, 120, 255)
    Image.fromarray(np.concatenate([rgb, shown], 1)).save(path)


def picture(name: str) -> np.ndarray:
    """uint8 [H, W, C]."""
    with Image.open(Path(skimage.data.__file__).parent / name) as image:
        pixels = np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))
    return pixels.reshape(*pixels.shape[:2], -1)


def measure(name: str, trials: range, work: Path) -> tuple[Counts, dict[str, Any]]:
    """Pixels over all trials, and the picture's figures."""
    clean = picture(name)
    start = time.process_time()
    clean_mask = find_scratches(clean)
    seconds, total = time.process_time() - start, Counts()
    for trial in trials:
        made = Damage.draw(clean, trial)
        mask = find_scratches(made.picture)
        damaged = visible(made, clean)
        total += count(mask, made, damaged)
        save_overlay(work / f"{Path(name).stem}-{trial}.png", mask, made, damaged)
    return total, {**total.figures(), "clean_percent": 100 * float(clean_mask.mean()),
                   "left_alone": float(not clean_mask.any()),
                   "seconds_a_megapixel": seconds / clean_mask.size * 1e6}  # fmt: skip


def measure_large(width: int, height: int, send: Any) -> None:
    """Seconds, and the peak of memory above that before the call, of a picture with grain and scratches."""
    rng = np.random.default_rng(0)
    tile = Damage.draw(common.draw_picture(rng, 1024, 1024, 3), 0).picture
    image = np.tile(tile, (-(-height // 1024), -(-width // 1024), 1))[:height, :width].copy()
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before, start = memory("VmRSS"), time.process_time()
    share = float(find_scratches(image).mean())
    send.send({"large_seconds": time.process_time() - start, "large_mask_percent": 100 * share,
               "large_mebibytes_above_picture": memory("VmHWM") - before})  # fmt: skip


def memory(field: str) -> float:
    """Mebibytes, as Linux tells them of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"{field}:"))) / 1024


def large_figures(side: str) -> dict[str, float]:
    width, height = map(int, side.split("x"))
    receive, send = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=measure_large, args=(width, height, send))
    process.start()
    process.join()
    return dict(receive.recv())


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--trials", type=int, default=3, help="times that each picture is damaged (default 3)")
    parser.add_argument("--first", type=int, default=0, help="number of the first trial (default 0)")
    parser.add_argument("--large", metavar="WxH", help="size of one large picture, such as 12000x8400")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    trials = range(args.first, args.first + args.trials)
    found = {name: measure(name, trials, args.work) for name in (*PHOTOGRAPHS, *OTHERS)}
    each = {name: figures for name, (_, figures) in found.items()}
    photographs = sum((found[name][0] for name in PHOTOGRAPHS), Counts()).figures()
    means = {name: float(np.mean([each[photo][name] for photo in PHOTOGRAPHS])) for name in each[PHOTOGRAPHS[0]]}
    columns = list(means)
    common.table([("", *columns), *((name, *figures.values()) for name, figures in each.items()),
                  ("mean of photographs", *means.values()),
                  ("all their pixels", *(photographs.get(name, "") for name in columns))])  # fmt: skip
    large = large_figures(args.large) if args.large else {}
    common.finish(
        "damage_detection",
        {**photographs, **{name: means[name] for name in ("clean_percent", "left_alone", "seconds_a_megapixel")},
         "mean_recall": means["recall"], "mean_precision": means["precision"], **large, "pictures": each},
        targets=(*TARGETS, *([MEMORY_TARGET] if large else [])),
        protocol={"trials": list(trials), "photographs": PHOTOGRAPHS, "per_512": PER_512, "large": args.large,
                  "least_opacity": LEAST_OPACITY, "least_change": LEAST_CHANGE},
    )  # fmt: skip


if __name__ == "__main__":
    main()
