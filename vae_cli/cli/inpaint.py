"""`vae inpaint`: fill the holes of damaged images."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vae_cli.cli import options
from vae_cli.cli.results import Results, say
from vae_cli.errors import ConfigError
from vae_cli.jobs.inputs import names_model, require_flow, require_run
from vae_cli.jobs.mask_sources import NOTHING_FOUND, MaskSource
from vae_cli.jobs.outputs import default_folder, is_picture
from vae_cli.printable import shell_quoted

if TYPE_CHECKING:
    from vae_cli.jobs.change_images import Storage


def inpaint(
    context: typer.Context, run: options.RunOrInput,
    inputs: Annotated[list[Path] | None, typer.Argument(
        metavar="INPUT", help="Image files or folders (searched recursively).")] = None,
    mask: options.Mask = None, mask_color: options.MaskColor = None, mask_alpha: options.MaskAlpha = False,
    mask_auto: options.MaskAuto = False, mask_pattern: options.MaskPattern = None, mask_value: options.MaskValue = None,
    mask_invert: options.MaskInvert = False, mask_dilate: options.MaskDilate = 0,
    pages: Annotated[str, options.tuning(
        "--pages", metavar="first|all|1,3-5", help="Which pages of a TIFF; the others stay as they are.")] = "first",
    feather: Annotated[float, options.tuning(
        "--feather", min=0.0, metavar="PX", help="Blend this far inside the hole's edge.")] = 0.0,
    samples: Annotated[int, typer.Option(
        "--samples", min=1, max=1000, metavar="K", help="Different fills of each image.")] = 1,
    format: options.Format = "keep", solver_steps: options.SolverSteps = None,
    method: Annotated[Literal["auto", "model", "classical"], typer.Option(
        "--method", help="The model's fill, one without it, or what best foresees pixels beside the hole.")] = "auto",
    skip_missing: Annotated[bool, options.tuning(
        "--skip-missing", help="Images without a mask are no failure.")] = False,
    strip_metadata: options.StripMetadata = False, skip_existing: options.SkipExisting = False,
    sheet: Annotated[Path | None, typer.Option(
        "--sheet", metavar="FILE.html", help="Also a page to judge the fills on.")] = None,
    only: Annotated[Path | None, typer.Option(
        "--only", metavar="FILE.json", help="Only what is marked `redo` in the list that the page saved.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    out: options.Out = None,
    batch_size: options.BatchSize = 64, seed: options.Seed = 0, overwrite: options.Overwrite = False,
) -> None:  # fmt: skip
    """Fill the holes of damaged images.

    Pixels outside the mask stay as they are, and so do size, format and metadata. Masks are found by name (a.jpg and
    a.png, a_mask.png or a.jpg.png; else --mask-pattern), or found by themselves: --mask-auto --dry-run writes what it
    takes for scratches and dust to <INPUT>-masks, to be corrected and given back with --mask. With --method classical
    RUN may be left out. --sheet makes a page to judge the fills on, and --only with another --seed does again what is
    marked there. Without --out the results go to <INPUT>-inpaint beside the first INPUT.

    Example: vae inpaint runs/photos scans --mask masks --out fixed
    """
    results: Results = context.obj
    needs_model, inputs = method != "classical" or names_model(run), list(inputs or ())
    again = "vae inpaint" if not needs_model else f"vae inpaint {shell_quoted(run)}"
    if not needs_model:
        inputs = [run, *inputs]
    elif not inputs:
        context.fail("Missing argument 'INPUT': RUN comes first, such as photo; --method classical needs none.")
    if method == "classical" and (samples > 1 or solver_steps is not None):
        raise ConfigError("--method classical: has one answer and no solver; leave out --samples and --solver-steps")
    masks = MaskSource(mask, mask_color, mask_alpha, mask_auto, mask_invert, mask_dilate, mask_pattern, mask_value)
    masks.check()
    if dry_run and mask_auto and pages != "first":
        raise ConfigError(f"--pages {pages}: --mask-auto --dry-run writes masks of first pages; leave out --pages")
    if dry_run and mask_auto and only is not None:
        raise ConfigError(
            f"--only {only}: is about fills, and --mask-auto --dry-run writes masks; leave out one of them"
        )
    from vae_cli.jobs import change_images as change
    from vae_cli.jobs.inpaint_plan import describe, plan_inpaint

    storage = change.Storage(out, change.file_format(format, out), overwrite, skip_existing, strip_metadata)
    if sheet is not None:
        from vae_cli.jobs.inpaint_sheet import check_sheet

        check_sheet(sheet, storage)
    if needs_model:
        require_run(run)
    again += "".join(f" {shell_quoted(path)}" for path in inputs) + " --method classical" * (method == "classical")
    if dry_run and mask_auto:
        _write_masks(results, inputs, masks, storage, again)
        return
    plan = plan_inpaint(inputs, masks, storage, results.take, samples=samples, skip_missing=skip_missing,
                        pages=pages, only=only)  # fmt: skip
    if dry_run:
        facts = results.show(describe(plan, masks))
        if not results.as_json:
            missing = f"{plan.num_without_mask} images without a mask, {results.num_failed} failed"
            say(f"{facts['pairs']} pairs, {missing}")
            if facts["mask_cover"]:
                least, most = facts["mask_cover"]
                say(f"mask cover {least:.1%} to {most:.1%} (white = fill)")
        results.finish("the same command without --dry-run", **facts)
        return
    from vae_cli.jobs.inpaint import Filling

    model = results.open_model(run) if needs_model else None
    if model is not None and method != "classical":
        require_flow(model, run, "fills holes")
    filling = Filling(model, masks, seed, samples, solver_steps, feather, method, sheet)
    facts = results.show(change.change_images(filling, plan.images, storage, left_out=plan.left_out,
                                              batch_size=batch_size))  # fmt: skip
    without = f"{_num_undamaged(results)} without damage" if mask_auto else f"{plan.num_without_mask} without a mask"
    results.messages.note(f"{results.num_written} written, {without}, {results.num_failed} failed")
    folder = default_folder(inputs[0], "inpaint") if out is None else out.with_suffix("") if is_picture(out) else out
    anew, name = f" --samples 3 --seed {seed + 1}", f"{folder}-{seed + 1}"
    if method == "classical":  # which has one answer only
        masks, anew, name = replace(masks, dilate_pixels=mask_dilate + 4), "", f"{folder}-dilated"
    again += f" {masks.options()}{anew} --out {shell_quoted(Path(name))}"
    results.finish(again if results.num_written else None, **facts)


def _num_undamaged(results: Results) -> int:
    return sum(entry["reason"] == NOTHING_FOUND for entry in results.files)


def _write_masks(results: Results, inputs: Sequence[Path], masks: MaskSource, storage: "Storage", again: str) -> None:
    """The dry run of --mask-auto: what would be filled, written as masks."""
    from vae_cli.jobs.inpaint_plan import find_masks, plan_masks

    folder = storage.out or default_folder(inputs[0], "masks")
    images = plan_masks(inputs, folder, storage, results.take)
    facts = results.show(find_masks(images, masks.dilate_pixels, skip_existing=storage.skip_existing))
    num_undamaged = _num_undamaged(results)
    results.messages.note(f"{facts['pairs']} masks, {num_undamaged} images without damage, {results.num_failed} failed")
    if facts["mask_cover"]:
        least, most = facts["mask_cover"]
        results.messages.note(f"mask cover {least:.2%} to {most:.2%} (white = fill)")
    again += f" --mask {shell_quoted(folder)}{' --skip-missing' * (num_undamaged > 0)}"
    results.finish(again if any(entry["output"] for entry in results.files) else None, **facts)
