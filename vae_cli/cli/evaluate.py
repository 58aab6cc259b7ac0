"""`vae evaluate`: measure a model on images."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vae_cli.cli import loading, options
from vae_cli.cli.inputs import require
from vae_cli.cli.progress import Messages, quoted, shown
from vae_cli.cli.results import PARTLY_DONE, file_entry, print_json
from vae_cli.errors import ConfigError

if TYPE_CHECKING:
    from vae_cli.data.cache import ImageSet
    from vae_cli.data.scan import ImageRef
    from vae_cli.training.checkpoint import LoadedModel

_ROWS = {
    "images": ("images", "d"),
    "elbo_nats": ("ELBO (nats)", ".2f"),
    "nll_nats": ("NLL, importance weighted (nats)", ".2f"),
    "importance_samples": ("importance samples", "d"),
    "bits_per_dim": ("bits per dimension", ".4f"),
    "rate_nats": ("rate (nats)", ".2f"),
    "distortion_nats": ("distortion (nats)", ".2f"),
    "active_units": ("active latent units", "d"),
    "latent_units": ("latent units", "d"),
    "psnr_db": ("PSNR of reconstructions (dB)", ".2f"),
    "ssim": ("SSIM of reconstructions", ".4f"),
}


def evaluate(
    run: options.Run,
    data: Annotated[
        Path | None,
        typer.Argument(metavar="[DATA]", help="Folder, list or zip; none = the images held out in training."),
    ] = None,
    importance_samples: Annotated[
        int, typer.Option("--importance-samples", min=0, metavar="K", help="Samples an image for the NLL; 0 = off.")
    ] = 0,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, metavar="N", help="Use N images, always the same ones.")
    ] = None,
    device: options.Device = "auto",
    batch_size: options.BatchSize = 64,
    seed: options.Seed = 0,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Measure a model on images.

    The bound on the likelihood and its parts, active latent units, and how well images are rebuilt.

    Example: vae evaluate runs/photos new-photos --json
    """
    messages = Messages(quiet=quiet, verbose=verbose)
    loading.require_run(run)
    if data is not None:
        require(data)
    model = loading.load(run, device, messages)
    images = _held_out(model, limit) if data is None else _images_of(data, limit, model, messages)
    from vae_cli.tasks.evaluate import evaluate as task

    with messages.progress("evaluate", len(images.pixels)) as progress:
        measured = task(
            model,
            images.pixels,
            importance_samples=importance_samples,
            seed=seed,
            on_progress=progress.reach,
        )
    facts = {key: measured.get(key) for key in _ROWS}
    bad = images.skipped if data is not None else ()
    if json:
        files = [file_entry(skipped.id, "failed", reason=skipped.reason) for skipped in bad]
        print_json("evaluate", "partial" if bad else "ok", **facts, files=files)
    else:
        _print_table(facts)
    messages.next_step(f"vae sample {quoted(run)} -n 64 --out grid.png")
    if bad:
        raise typer.Exit(PARTLY_DONE)


def _print_table(facts: dict[str, Any]) -> None:
    """What is known, a line each."""
    known = {key: value for key, value in facts.items() if value is not None}
    width = max(len(_ROWS[key][0]) for key in known)
    for key, value in known.items():
        title, form = _ROWS[key]
        print(f"{title:<{width}}  {value:>12{form}}")


def _held_out(model: "LoadedModel", limit: int | None) -> "ImageSet":
    """The run's own held-out images, the N lowest hashes of them if limited."""
    from vae_cli.training.prepare import held_out

    try:
        images = held_out(model.config)
    except ConfigError as error:
        raise ConfigError(
            f"{error}\nthis run's own images are needed; or give others: vae evaluate RUN DATA"
        ) from error
    if limit is None or limit >= len(images.pixels):
        return images
    from vae_cli.data.scan import id_hash

    chosen = sorted(sorted(range(len(images.ids)), key=lambda index: id_hash(images.ids[index]))[:limit])
    ids = tuple(images.ids[index] for index in chosen)
    return replace(images, pixels=images.pixels[chosen], ids=ids, labels=images.labels[chosen])


def _images_of(data: Path, limit: int | None, model: "LoadedModel", messages: Messages) -> "ImageSet":
    """DATA's test split where its folders name one, else validation, else everything."""
    from vae_cli.data.cache import load_images
    from vae_cli.data.masks import parse_color
    from vae_cli.data.scan import lowest_hashes, scan

    found = scan(data, labels="none")
    refs: Sequence[ImageRef] = found.images
    for split in ("test", "validation"):
        part = [ref for ref in found.images if ref.split == split]
        if part:
            refs = part
            messages.note(f"{shown(data)}: measuring its {split} split, {len(part)} of {len(found.images)} images")
            break
    settings = model.config.data
    assert settings.image_size is not None and settings.channels != "auto", "training.prepare completes both"
    images = load_images(
        lowest_hashes(refs, limit) if limit else refs,
        size=settings.image_size,
        channels=settings.channels,
        fit=settings.fit,
        background=parse_color(settings.background),
    )
    images = replace(images, skipped=(*found.skipped, *images.skipped))
    for skipped in images.skipped:
        messages.warn(f"{shown(skipped.id)}: {shown(skipped.reason)}")
    for note in images.notes:
        messages.note(note)
    return images
