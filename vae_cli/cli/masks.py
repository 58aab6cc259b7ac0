"""`vae masks`: a page to draw and correct masks on."""

from pathlib import Path
from typing import Annotated

import typer

from vae_cli.cli import options
from vae_cli.cli.results import Results
from vae_cli.jobs.mask_sources import MaskSource
from vae_cli.printable import shell_quoted


def masks(
    context: typer.Context, inputs: options.Inputs,
    mask: options.Mask = None, mask_color: options.MaskColor = None, mask_alpha: options.MaskAlpha = False,
    mask_auto: options.MaskAuto = False, mask_pattern: options.MaskPattern = None, mask_value: options.MaskValue = None,
    mask_invert: options.MaskInvert = False, mask_dilate: options.MaskDilate = 0,
    out: Annotated[Path | None, typer.Option(
        "--out", "-o", metavar="FILE.html", help="The page; default: <INPUT>-masks.html beside the INPUT.")] = None,
    overwrite: options.Overwrite = False,
) -> None:  # fmt: skip
    """Write a page to draw masks on, the holes that inpaint fills.

    Open it in a browser: brush, eraser, zoom, undo. It needs no network and no server, as the pictures lie in it. Masks
    that are given (--mask) or found (--mask-auto) are there to begin with. It stores one mask, or all of them as a zip,
    which `vae inpaint --mask` takes as it is. Of many pictures there are several pages (page.html, page-2.html), each
    with a zip of its own. Of files with several pages the first one is shown.

    Example: vae masks scans --mask-auto --out scans-masks.html
    """
    results: Results = context.obj
    source = MaskSource(mask, mask_color, mask_alpha, mask_auto, mask_invert, mask_dilate, mask_pattern, mask_value)
    source.check(is_needed=False)
    from vae_cli.jobs import masks as job

    pages = job.plan_mask_pages(inputs, source, out, results.take, overwrite=overwrite)
    facts = results.show(job.write_mask_pages(pages, inputs, source))
    results.messages.note(f"{results.num_written} pictures, {facts['masks']} of them with a mask to begin with")
    if pages:
        results.messages.note("open the page in a browser, draw, and press its button `Save all masks`")
    next_step = f"vae inpaint photo {' '.join(map(shell_quoted, inputs))} --mask {shell_quoted(job.zip_of(inputs))}"
    results.finish(next_step if pages else None, **facts)
