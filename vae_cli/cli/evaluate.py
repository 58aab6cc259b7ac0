"""`vae evaluate`: measure a model on images."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vae_cli.cli import label_figures, options
from vae_cli.cli.advice import few_active_line
from vae_cli.cli.evaluate_holes import Family, check_sheet, measure_holes
from vae_cli.cli.progress import Messages
from vae_cli.cli.restored import require_flow
from vae_cli.cli.results import PARTLY_DONE, Results, file_entry, print_json, say
from vae_cli.errors import ConfigError, VaeError
from vae_cli.jobs.events import FileDone
from vae_cli.jobs.inputs import require, require_run, scan_as_trained
from vae_cli.printable import printable, shell_quoted

if TYPE_CHECKING:
    import numpy as np

    from vae_cli.checkpoint import Model
    from vae_cli.dataset.cache import ImageSet
    from vae_cli.dataset.scan import Scan
    from vae_cli.images.image_ref import ImageRef
    from vae_cli.metrics.extractors import Extractor
    from vae_cli.training.prepare import Prepared

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
    "training_psnr_db": ("PSNR of training images (dB)", ".2f"),
    "ssim": ("SSIM of reconstructions", ".4f"),
    "label_accuracy": ("samples of labels named rightly", ".1%"),
}
_SAMPLE_ROWS = {
    "fid": ("Fréchet distance of samples", ".3f"),
    "kid": ("kernel distance of samples", ".4g"),
    "kid_std": ("  its spread over subsets", ".4g"),
    "precision": ("precision of samples", ".3f"),
    "recall": ("recall", ".3f"),
    "density": ("density", ".3f"),
    "coverage": ("coverage", ".3f"),
    "classifier_accuracy": ("held-out images named rightly", ".1%"),
}
_HOLE_ROWS = {
    "psnr_hole_db": ("PSNR in holes, one fill (dB)", ".2f"),
    "psnr_hole_mean_fill_db": ("  mean of ten fills (dB)", ".2f"),
    "ssim": ("SSIM of filled images", ".4f"),
}
_NEAREST_ROWS = {
    "training_images": ("training images looked at", "d"),
    "median_ratio": ("samples' distance to them ÷ held-out", ".3f"),
    "share_below_1_percent": ("  nearer than the nearest 1 %", ".1%"),
    "share_below_median": ("  nearer than the nearest half", ".1%"),
}
AUTO = "auto"
NUM_TRAINING_MEASURED = 256
MAX_GAP_DB = 3.0
"""Training images rebuilt with less than half the squared error of held-out ones are known by heart."""
MAX_COPIED_SHARE, MIN_IMAGES_FOR_PERCENTILE = 0.1, 100


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
    holes: Annotated[
        Family | None, typer.Option("--holes", help="Also cut such holes into the images and measure their fills.")
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option("--sheet", metavar="FILE", help="With --holes: a picture of them, before | mask | after | truth."),
    ] = None,
    feature_weights: Annotated[
        str | None,
        typer.Option(
            "--feature-weights",
            metavar="FILE",
            help="Compare samples with the images by the features of this network (Inception's weights or a "
            "classifier's); auto = train a classifier on the run's labelled images.",
            show_default=False,
        ),
    ] = None,
    device: options.Device = "auto",
    batch_size: options.BatchSize = 64,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Measure a model on images.

    The bound on the likelihood and its parts, active latent units, and how well images are rebuilt. With
    --feature-weights also how far samples are from the images, and whether they are copies of training images; with
    --holes how near fills come to what was there.

    Example: vae evaluate runs/photos new-photos --json
    """
    results = Results("evaluate", quiet=quiet, verbose=verbose)
    messages = results.messages
    check_sheet(sheet, holes, overwrite=overwrite)
    require_run(run)
    if data is not None:
        require(data)
    if feature_weights not in (None, AUTO):
        require(Path(feature_weights), f"no such file for --feature-weights; or `{AUTO}` to train a classifier")
    model = results.open_model(run, device)
    if holes is not None:
        require_flow(model, run, "fills holes")
    own = _own_images(
        model, messages, needed=data is None or feature_weights == AUTO, wanted=feature_weights is not None
    )
    images = _held_out(own, limit) if data is None else _images_of(data, limit, sheet, model, messages)
    compared = _compare(model, images, own, feature_weights, seed, messages, is_own=data is None)
    facts = _measure(model, images, own if data is None else None, importance_samples, seed, messages)
    if holes is not None:
        compared["inpaint"] = measure_holes(model, images, holes, sheet, seed, messages)
    facts = label_figures.with_accuracies(facts, compared.pop("accuracies", {}))
    bad = images.skipped if data is not None else ()
    if json:
        files = [file_entry(FileDone(skipped.id, "failed", reason=skipped.reason)) for skipped in bad]
        files += [file_entry(FileDone(None, "ok", sheet))] if sheet else []
        print_json("evaluate", "partial" if bad else "ok", **facts, **compared, files=files)
    else:
        _print_figures(facts, compared)
        label_figures.print_table(facts["per_label"], verbose=verbose)
        if sheet:
            say(printable(sheet))
    messages.next_step(f"vae sample {shell_quoted(run)} -n 64 --out grid.png")
    if bad:
        raise typer.Exit(PARTLY_DONE)


def _measure(
    model: "Model",
    images: "ImageSet",
    own: "Prepared | None",
    importance_samples: int,
    seed: int,
    messages: Messages,
) -> dict[str, Any]:
    """The figures of the images and, where the run's own are at hand, how well training images are rebuilt."""
    from vae_cli.tasks.evaluate import evaluate as task
    from vae_cli.training.prepare import is_grey_to_bernoulli

    labels = images.labels if own is None else _as_learned(images.labels, own.label_names, model)
    with messages.progress("evaluate", len(images.pixels)) as progress:
        facts = task(
            model,
            images.pixels,
            labels=labels,
            importance_samples=importance_samples,
            seed=seed,
            on_progress=progress.reach,
        )
    if line := few_active_line(facts, model.config):
        messages.warn(line)
    if is_grey_to_bernoulli(model.config, images.pixels):
        messages.warn("this model knows black and white pixels, and these are grey: its nats are no log-probabilities")
        facts |= {"nll_nats": None, "bits_per_dim": None}
    if own is None:
        return facts | {"training_psnr_db": None}
    step = -(-len(own.train.pixels) // NUM_TRAINING_MEASURED)
    training_psnr_db = task(model, own.train.pixels[::step], seed=seed)["psnr_db"]
    gap_db = training_psnr_db - facts["psnr_db"]
    if gap_db > MAX_GAP_DB:
        messages.warn(
            f"training images are rebuilt {gap_db:.1f} dB better than held-out ones: the model knows them by heart; "
            "train on more images, for fewer steps or with --set model.dropout=0.1"
        )
    return facts | {"training_psnr_db": training_psnr_db}


def _compare(
    model: "Model",
    images: "ImageSet",
    own: "Prepared | None",
    feature_weights: str | None,
    seed: int,
    messages: Messages,
    *,
    is_own: bool,
) -> dict[str, Any]:
    """Distances of samples from the images; nothing unless features were asked for."""
    if feature_weights is None:
        return {}
    of_labels: dict[str, Any] = {}
    from vae_cli.metrics.extractors import open_extractor
    from vae_cli.tasks.evaluate import compare_samples, num_compared

    if feature_weights == AUTO:
        assert own is not None, "asked for as needed"
        extractor, share_right = _trained_extractor(model, own, seed, messages)
        shares = label_figures.accuracies(model, own, extractor, seed, messages)
        of_labels = {"classifier_accuracy": share_right, "accuracies": shares}
    else:
        extractor = open_extractor(
            Path(feature_weights), channels=model.channels, image_size=model.image_size, device=model.runtime.device
        )
    count = num_compared(len(images.pixels))
    messages.note(f"comparing {count} samples with {count} images by {extractor.num_features} features "
                  f"of {printable(extractor.name)}")  # fmt: skip
    if count <= extractor.num_features:
        messages.warn(f"{count} images are few for {extractor.num_features} features: trust kid rather than fid")
    with messages.progress("compare", 2 * count) as progress:
        figures = compare_samples(
            model,
            images.pixels,
            extractor,
            training=own.train.pixels if own is not None else None,
            held_out=own.validation.pixels if own is not None and not is_own else None,
            seed=seed,
            on_progress=progress.reach,
        )
    _warn_of_copies(figures, count, messages)
    return figures | of_labels


def _trained_extractor(model: "Model", own: "Prepared", seed: int, messages: Messages) -> "tuple[Extractor, float]":
    """A classifier's features, and the share of held-out images that it names rightly."""
    from vae_cli.metrics.classifier import NUM_STEPS
    from vae_cli.tasks.evaluate import classifier_extractor

    with messages.progress("train a classifier", NUM_STEPS, "steps") as progress:
        extractor, share_right = classifier_extractor(
            model, own.train, own.validation, seed=seed, on_progress=progress.reach
        )
    messages.note(f"the classifier names {share_right:.1%} of the held-out images rightly")
    return extractor, share_right


def _warn_of_copies(figures: dict[str, Any], count: int, messages: Messages) -> None:
    share = figures.get("nearest_training", {}).get("share_below_1_percent", 0.0)
    if count >= MIN_IMAGES_FOR_PERCENTILE and share > MAX_COPIED_SHARE:
        messages.warn(
            f"{share:.0%} of the samples are nearer to a training image than 99 % of held-out images are: "
            "copies rather than new images; train on more images or for fewer steps"
        )


def _print_figures(facts: dict[str, Any], compared: dict[str, Any]) -> None:
    """What is known, a line each; then the latent layers where there are several."""
    blocks = (
        (facts, _ROWS),
        (compared.get("inpaint", {}), _HOLE_ROWS),
        (compared, _SAMPLE_ROWS),
        (compared.get("nearest_training", {}), _NEAREST_ROWS),
    )
    lines = [
        (title, format(values[key], form))
        for values, rows in blocks
        for key, (title, form) in rows.items()
        if values.get(key) is not None
    ]
    width = max(len(title) for title, _ in lines)
    for title, value in lines:
        say(f"{title:<{width}}  {value:>12}")
    if len(facts["layers"]) > 1:
        _print_layers(facts["layers"])


def _print_layers(layers: list[dict[str, Any]]) -> None:
    say(f"\n{'layer':<7}{'shape':<12}{'rate (nats)':>12}{'active units':>16}")
    for number, layer in enumerate(layers, start=1):
        shape = "×".join(map(str, layer["shape"]))
        active = f"{layer['active_units']} of {layer['latent_units']}"
        say(f"{number:<7}{shape:<12}{layer['rate_nats']:>12.2f}{active:>16}")


def _own_images(model: "Model", messages: Messages, *, needed: bool, wanted: bool) -> "Prepared | None":
    """The run's training and held-out images with their labels, if they are needed or wanted.

    Raises ConfigError when they are needed and cannot be read; says so when they were only wanted.
    """
    from vae_cli.training.prepare import prepare

    if not (needed or wanted):
        return None
    config = model.config
    if config.data.labels == "none":  # the model has no use for labels, but a classifier has
        config = config.updated({"data": {"labels": "auto"}})
    try:
        return prepare(config, on_progress=lambda what, done, total: messages.status(f"{what}: {done}/{total}"))
    except VaeError as error:
        if needed:
            raise ConfigError(
                f"{error}\nthis run's own images are needed; or give others: vae evaluate RUN DATA"
            ) from error
        messages.note("the run's training images cannot be read: no check for copies of them")
        return None


def _as_learned(labels: "np.ndarray", names: Sequence[str], model: "Model") -> "np.ndarray":
    """The model's numbers of labels, int64 [N] that count `names` (-1 = none): classes may have come and gone since."""
    import numpy as np

    known = {name: number for number, name in enumerate(model.label_names)}
    return np.array([*(known.get(name, -1) for name in names), -1])[labels]  # without a label: the last


def _held_out(own: "Prepared | None", limit: int | None) -> "ImageSet":
    """The run's own held-out images, the N lowest hashes of them if limited."""
    assert own is not None, "asked for as needed"
    images = own.validation
    if limit is None or limit >= len(images.pixels):
        return images
    from vae_cli.dataset.split import id_hash

    chosen = sorted(sorted(range(len(images.ids)), key=lambda index: id_hash(images.ids[index]))[:limit])
    ids = tuple(images.ids[index] for index in chosen)
    return replace(images, pixels=images.pixels[chosen], ids=ids, labels=images.labels[chosen])


def _images_of(data: Path, limit: int | None, sheet: Path | None, model: "Model", messages: Messages) -> "ImageSet":
    """DATA's test split where its folders name one, else validation, else everything; never the sheet."""
    from vae_cli.dataset.cache import load_images
    from vae_cli.dataset.split import lowest_hashes
    from vae_cli.images.recipe import ImageRecipe

    found = _scanned(data, model, [sheet] if sheet else [])
    refs: Sequence[ImageRef] = found.images
    for split in ("test", "validation"):
        part = [ref for ref in found.images if ref.split == split]
        if part:
            refs = part
            messages.note(f"{printable(data)}: measuring its {split} split, {len(part)} of {len(found.images)} images")
            break
    chosen = lowest_hashes(refs, limit) if limit else refs
    images = load_images(chosen, ImageRecipe.of(model.config.data), label_names=model.label_names)
    images = replace(images, skipped=(*found.skipped, *images.skipped))
    for skipped in images.skipped:
        messages.warn(f"{printable(skipped.id)}: {printable(skipped.reason)}")
    for note in images.notes:
        messages.note(note)
    return images


def _scanned(data: Path, model: "Model", exclude: Sequence[Path]) -> "Scan":
    from vae_cli.dataset.scan import scan

    if model.label_names:
        return scan_as_trained(data, model, exclude=exclude)
    return scan(data, labels="none", exclude=exclude)
