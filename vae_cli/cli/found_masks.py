"""`vae inpaint --mask-auto --dry-run`: what would be filled, written as masks that can be corrected and given back."""

from collections.abc import Sequence
from pathlib import Path

from vae_cli.cli.holes import MUCH_DAMAGE, NOTHING_FOUND, MaskSource, found_hole, num_undamaged
from vae_cli.cli.restored import refuse_zips
from vae_cli.cli.results import Results
from vae_cli.errors import DataError
from vae_cli.jobs import outputs
from vae_cli.jobs.events import FileDone
from vae_cli.jobs.inputs import Input, find_inputs
from vae_cli.printable import printable, shell_quoted


def write_masks(
    run: Path,
    inputs: Sequence[Path],
    out: Path | None,
    source: MaskSource,
    results: Results,
    *,
    overwrite: bool,
    skip_existing: bool,
) -> None:
    """PNGs, white = hole, with the names of their images; none for an image without damage. Raises ConfigError."""
    folder = out or outputs.default_folder(inputs[0], "masks")
    items = find_inputs(inputs, results.take, exclude=[folder])
    refuse_zips(items)
    names = outputs.picture_names([item.relative for item in items])  # as masks are paired
    targets = outputs.result_paths(out, folder, names) if names else []
    outputs.refuse_existing(targets, overwrite=overwrite or skip_existing)
    covers: list[float] = []
    with results.messages.progress("masks", len(items), "images") as progress:
        for item, target in zip(items, targets, strict=True):
            if skip_existing and outputs.is_there(target):
                results.take(FileDone(item.name, "skipped", target, "exists"))
            else:
                covers += _written(item, target, source, results)
            progress.advance(1)
    without = f"{num_undamaged(results)} images without damage"
    results.messages.note(f"{len(covers)} masks, {without}, {results.num_failed} failed")
    if covers:
        results.messages.note(f"mask cover {min(covers):.2%} to {max(covers):.2%} (white = fill)")
    extremes = [min(covers), max(covers)] if covers else None
    given_back = f"vae inpaint {shell_quoted(run)} {' '.join(map(shell_quoted, inputs))} --mask {shell_quoted(folder)}"
    given_back += " --skip-missing" if num_undamaged(results) else ""
    has_masks = any(entry["output"] for entry in results.files)
    results.finish(given_back if has_masks else None, dry_run=True, pairs=len(covers), mask_cover=extremes)


def _written(item: Input, target: Path, source: MaskSource, results: Results) -> list[float]:
    """The share of the image that its mask covers, if it has got one."""
    import numpy as np

    from vae_cli.files.new_pictures import save_picture

    try:
        hole = found_hole(item, dilate_pixels=source.dilate_pixels)
    except DataError as error:
        results.take(FileDone(item.name, "failed", reason=str(error)))
        return []
    if not hole.any():
        results.take(FileDone(item.name, "skipped", reason=NOTHING_FOUND))
        return []
    save_picture(np.where(hole, 255, 0).astype(np.uint8)[..., None], target)
    results.take(FileDone(item.name, "ok", target))
    cover = float(hole.mean())
    results.messages.detail(f"{printable(item.name)}: mask covers {cover:.2%}")
    if cover > MUCH_DAMAGE:
        results.messages.warn(f"{printable(target)}: covers {cover:.0%}, so look at it before it is used")
    return [cover]
