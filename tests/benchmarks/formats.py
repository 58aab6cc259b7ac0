"""`vae inpaint` on files that are hard to keep: nothing but the hole may change. Time and peak memory of each.

    python tests/benchmarks/formats.py --work FOLDER [--run RUN] [--side 4000x3000]

Draws a 16-bit grey TIFF and an EXIF-rotated JPEG photo of 4000 x 3000 pixels, and at a quarter of the area a CMYK
JPEG, a palette PNG with transparent entries and the rotated photo as PNG; all with 300 dpi, the photos and the TIFF
with an ICC profile, each with a mask of an ellipse and a scratch. `vae inpaint RUN FILE --mask MASK` runs as a process
of its own for each. Checked on the stored (not rotated) pixels: every one outside the hole equals the input's, except
in JPEG, which is re-encoded (the program has to say so; the mean difference must stay under 2 grey levels); format,
size, mode, bits, ICC profile, DPI, orientation tag and palette are the input's; the hole has changed.

Without --run, a small colour model is trained for a minute on drawn pictures: how fills look does not matter here.
Peak memory is the process's largest resident set, model and torch included.
"""

from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common
import numpy as np
from PIL import Image, ImageCms, ImageDraw

TARGETS = (common.Target("failed_checks", 0),)
DPI, BITS_TAG, ORIENTATION_TAG, CLOCKWISE = 300, 258, 274, 6
LARGEST_JPEG_DIFFERENCE = 2.0


@dataclass(frozen=True)
class Case:
    """A drawn file and its mask; `hole` is in stored orientation, the mask file as displayed."""

    name: str
    path: Path
    mask_path: Path
    hole: np.ndarray


def draw_hole(height: int, width: int) -> np.ndarray:
    """bool [H, W]: an ellipse of about 1 % and a scratch through a third of the width."""
    image = Image.new("1", (width, height))
    draw = ImageDraw.Draw(image)
    draw.ellipse((0.55 * width, 0.3 * height, 0.67 * width, 0.42 * height), fill=1)
    draw.line((0.1 * width, 0.7 * height, 0.4 * width, 0.8 * height), fill=1, width=max(2, width // 300))
    return np.array(image)


def save_cases(folder: Path, width: int, height: int, seed: int) -> list[Case]:
    """Draw and write every file and its mask."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    large = common.draw_picture(rng, height, width, 3)
    photo, small = Image.fromarray(large), Image.fromarray(large[::2, ::2])
    fine = large[:, :, 0].astype(np.uint16) * 257 + rng.integers(0, 257, large.shape[:2], dtype=np.uint16)
    grey, palette = Image.fromarray(fine.clip(0, 65000)), small.quantize(64)
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = CLOCKWISE
    kept: dict[str, Any] = {"dpi": (DPI, DPI), "icc_profile": profile}
    rotated: dict[str, Any] = kept | {"exif": exif}
    files: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "grey-16-bit.tif": (grey, kept),
        "rotated.jpg": (photo, rotated | {"quality": 92}),
        "rotated.png": (small, rotated),
        "cmyk.jpg": (small.convert("CMYK"), {"dpi": (DPI, DPI), "quality": 92}),
        "palette.png": (palette, {"dpi": (DPI, DPI), "transparency": bytes([0, 128])}),
    }
    cases = []
    for name, (image, options) in files.items():
        image.save(folder / name, **options)
        hole, mask_path = draw_hole(image.height, image.width), folder / f"{Path(name).stem}-{name[-3:]}_mask.png"
        mask = Image.fromarray((hole * 255).astype(np.uint8))
        shown = mask.transpose(Image.Transpose.ROTATE_270) if "exif" in options else mask  # CLOCKWISE by hand
        shown.save(mask_path)
        cases.append(Case(name, folder / name, mask_path, hole))
    return cases


def facts_of(path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    """Stored pixels, and everything about the file that has to stay."""
    with Image.open(path) as image:
        facts = {
            "format": image.format,
            "size": image.size,
            "mode": image.mode,
            "bits": _bits(path, image),
            "icc_profile": image.info.get("icc_profile"),
            "dpi": tuple(round(float(value)) for value in image.info.get("dpi", ())),
            "orientation": image.getexif().get(ORIENTATION_TAG),
            "transparency": image.info.get("transparency"),
            "palette": image.getpalette(),
        }
        return np.array(image), facts


def _bits(path: Path, image: Image.Image) -> object:
    """Bits a sample as the file itself says: TIFF's tag, PNG's header; 8 in JPEG."""
    if image.format == "TIFF":
        return image.tag_v2[BITS_TAG]  # type: ignore[attr-defined]
    return path.read_bytes()[24] if image.format == "PNG" else 8


def check(case: Case, output: Path, messages: str) -> dict[str, Any]:
    """What changed between input and output; `failed` names what should not have."""
    (before, known), (after, found) = facts_of(case.path), facts_of(output)
    failed = [name for name in known if known[name] != found[name]]
    outside = mean_difference = None
    if before.shape == after.shape:
        changed = before != after
        changed = changed.any(-1) if changed.ndim == 3 else changed
        outside = int((changed & ~case.hole).sum())
        if not (changed & case.hole).any():
            failed.append("hole is as before")
        differences = np.abs(before[~case.hole].astype(np.int32) - after[~case.hole].astype(np.int32))
        mean_difference = float(differences.mean())
    if known["format"] != "JPEG" and outside != 0:
        failed.append("pixels outside")
    if known["format"] == "JPEG":
        if "re-encod" not in messages.lower():
            failed.append("does not say that it re-encodes")
        if mean_difference is None or mean_difference > LARGEST_JPEG_DIFFERENCE:
            failed.append("re-encoded badly")
    kept = {name: value for name, value in found.items() if name not in ("icc_profile", "transparency", "palette")}
    return {"failed": failed, "changed_outside": outside, "mean_difference_outside": mean_difference, **kept,
            "icc_profile_bytes": len(found["icc_profile"] or b"")}  # fmt: skip


def model_for(args: Namespace) -> Path:
    """The run given, or a small one."""
    if args.run:
        return args.run
    pictures = common.draw_folder(args.work / "drawn-64", 512, 64, 3)
    return common.train(args.work, "formats-model", pictures, "--preset", "tiny", "--steps", 120, "--seed", args.seed,
                        "--device", args.device)[0]  # fmt: skip


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--run", type=Path, help="a trained run with a flow; default: a small one made under --work")
    parser.add_argument("--side", default="4000x3000", metavar="WxH", help="of the large files (default 4000x3000)")
    args = parser.parse_args()
    run = model_for(args)
    width, height = map(int, args.side.split("x"))
    found: dict[str, dict[str, Any]] = {}
    for case in save_cases(args.work / f"formats-{args.side}", width, height, args.seed):
        output = args.work / f"formats-{args.side}-filled" / case.name
        did = common.vae_json(args.work, "inpaint", run, case.path, "--mask", case.mask_path, "--out", output.parent,
                              "--overwrite", "--seed", args.seed, "--device", args.device)  # fmt: skip
        found[case.name] = {**check(case, output, did.messages), "hole_share": float(case.hole.mean()),
                            "seconds": did.seconds, "peak_mebibytes": (did.peak_bytes or 0) / 2**20}  # fmt: skip
    names = ("size", "mode", "bits", "orientation", "dpi", "icc_profile_bytes", "changed_outside",
             "mean_difference_outside", "seconds", "peak_mebibytes")  # fmt: skip
    common.table([("", *found), *((name, *(facts[name] for facts in found.values())) for name in names),
                  ("failed", *("; ".join(facts["failed"]) or "-" for facts in found.values()))])  # fmt: skip
    common.finish(
        "formats",
        {"failed_checks": sum(len(facts["failed"]) for facts in found.values()), "files": found},
        targets=TARGETS,
        protocol={"large": args.side, "run": str(run), "dpi": DPI, "largest_jpeg_difference": LARGEST_JPEG_DIFFERENCE,
                  "seed": args.seed},
    )  # fmt: skip


if __name__ == "__main__":
    main()
