"""Before training: read the data, settle what the configuration left open, hold images out."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vae_cli.config import CompleteConfig, CompleteData, LatentSpec, RunConfig, from_dict
from vae_cli.dataset.builtin import builtin_split
from vae_cli.dataset.cache import ImageSet, load_images
from vae_cli.dataset.close_ups import cut_close_ups
from vae_cli.dataset.image_statistics import binary_share, image_statistics
from vae_cli.dataset.scan import Scan, scan
from vae_cli.dataset.split import split_images
from vae_cli.errors import ConfigError, DataError
from vae_cli.images.colours import parse_color
from vae_cli.images.image_ref import Skipped
from vae_cli.images.recipe import ImageRecipe
from vae_cli.model.vae import AUTO_WIDTH, auto_latents, coarsest_stride
from vae_cli.runtime import Runtime
from vae_cli.training.phase import TrainingInputs

BINARY_SHARE = 0.999
"""From this share of pure black and white values on, `auto` takes pixels for binary."""
MAX_AUTO_SIDE = 64

OnProgress = Callable[[str, int, int], None]
"""(what is being done, done, total)."""


@dataclass(frozen=True)
class Prepared:
    """Everything that training reads: the completed configuration and the two image sets."""

    config: CompleteConfig
    train: ImageSet
    validation: ImageSet
    label_names: tuple[str, ...]
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    """What was decided and may surprise; each worth a line on the screen."""
    patches: ImageSet | None = None
    """Close-ups of training images, and below of held-out ones; None where there are none or nobody asked."""
    validation_patches: ImageSet | None = None

    def inputs(self, runtime: Runtime) -> TrainingInputs:
        """What training starts from."""
        return TrainingInputs(
            self.config, self.train, self.validation, self.label_names, runtime, self.patches, self.validation_patches
        )


def prepare(
    config: RunConfig,
    *,
    workers: int = 2,
    exclude: tuple[Path, ...] = (),
    on_progress: OnProgress | None = None,
    with_patches: bool = False,
) -> Prepared:
    """Scan, split and decode the images, and complete the configuration from them.

    with_patches: also cut the close-ups that training asks for. Raises ConfigError for settings that contradict the
    data, DataError when no image is left.
    """
    if config.data.path is None:
        return _prepare_builtin(config)
    found = scan(Path(config.data.path), labels=config.data.labels, exclude=exclude)
    parts = split_images(found.images)
    config, notes = _complete_geometry(config, parts.train + parts.validation, workers, on_progress)

    recipe = ImageRecipe.of(CompleteData.model_validate(config.data.model_dump()))

    def load(refs: Any, name: str) -> ImageSet:
        return load_images(
            refs,
            recipe,
            label_names=found.label_names,
            workers=workers,
            on_progress=(lambda done, total: on_progress(name, done, total)) if on_progress else None,
        )

    train = load(parts.train, "decoding training images")
    try:
        validation = load(parts.validation, "decoding held-out images")
    except DataError:  # every held-out file is broken: measure on training images and say so
        validation = replace(train, skipped=tuple(Skipped(ref.id, "cannot be decoded") for ref in parts.validation))
        notes.append("no held-out image can be read; training images are measured instead")
    if len(parts.train) == 1 and parts.train == parts.validation:
        notes.append("a single image: it is learned from and measured alike")
    failed = {item.id: item for item in (*found.skipped, *train.skipped, *validation.skipped)}
    complete, likelihood_note = _complete_likelihood(config, train.pixels)
    notes += [*likelihood_note, *_label_notes(config, found, train), *dict.fromkeys(train.notes + validation.notes)]
    prepared = Prepared(complete, train, validation, found.label_names, tuple(failed.values()), tuple(notes))
    if not with_patches:
        return prepared
    cut = cut_close_ups(
        complete,
        (train, parts.train),
        (validation, parts.validation),
        workers=workers,
        on_progress=(lambda done, total: on_progress("cutting close-ups", done, total)) if on_progress else None,
    )
    return replace(
        prepared,
        config=cut.config,
        notes=prepared.notes + cut.notes,
        patches=cut.train,
        validation_patches=cut.validation,
    )


def _label_notes(config: RunConfig, found: Scan, train: ImageSet) -> list[str]:
    """What may surprise about labels: folders that give none, and labels that no training image has."""
    notes = []
    folders = Counter(ref.id.split("/")[0] for ref in found.images if ref.id.count("/") == 1)
    num_beside = len(found.images) - sum(folders.values())
    is_flat = len(folders) > 1 and all(ref.id.count("/") < 2 for ref in found.images)
    if config.data.labels == "auto" and not found.label_names and is_flat and 0 < num_beside < sum(folders.values()):
        notes.append(f"{num_beside} images lie beside {len(folders)} folders, whose names are therefore no labels; "
                     "with --labels folders they are")  # fmt: skip
    seen = set(train.labels.tolist())
    unseen = [name for number, name in enumerate(found.label_names) if number not in seen]
    if unseen:
        listed = ", ".join(unseen[:5]) + (", …" if len(unseen) > 5 else "")
        notes.append(f"no training image has the label {listed}: it cannot be drawn later")
    return notes


def _prepare_builtin(config: RunConfig) -> Prepared:
    train, validation, label_names = builtin_split()
    if config.data.labels == "none":
        label_names = ()
        train, validation = (replace(part, labels=np.full(len(part.ids), -1)) for part in (train, validation))
    asked = config.data
    if asked.image_size not in (None, (28, 28)) or asked.channels == 3:
        raise ConfigError("the built-in images are 28×28 and grey; give a folder to use another --image-size or colour")
    if config.data.patches not in (0, "auto"):
        raise ConfigError("data.patches: the built-in images are no larger than the model; leave it at 0")
    config = _settled(config.updated({"data": {"patches": 0}}), (28, 28), 1)
    complete, notes = _complete_likelihood(config, train.pixels)
    return Prepared(complete, train, validation, label_names, notes=tuple(notes))


def _complete_geometry(
    config: RunConfig, refs: Any, workers: int, on_progress: OnProgress | None
) -> tuple[RunConfig, list[str]]:
    """Image size, channels, latents and widths where they are still open, and what to say about them."""
    size, channels, notes = config.data.image_size, config.data.channels, []
    if size is None or channels == "auto":
        facts = image_statistics(
            refs,
            background=parse_color(config.data.background),
            workers=workers,
            on_progress=(lambda done, total: on_progress("looking at images", done, total)) if on_progress else None,
        )
        channels = (1 if facts.grey else 3) if channels == "auto" else channels
        if size is None:
            size = facts.common_size
            if size is None or max(size) > MAX_AUTO_SIDE or min(size) < 8:
                size = (MAX_AUTO_SIDE, MAX_AUTO_SIDE)
                how = f"{size[0]}×{size[1]} ({config.data.fit})"
                notes.append(f"images are brought to {how}; --image-size sets another")
    latents = auto_latents(size, channels) if config.model.latents == "auto" else config.model.latents
    rounded = rounded_size(size, latents)
    if rounded != size:
        stride = coarsest_stride(latents, size)
        notes.append(f"image size {size[0]}×{size[1]} becomes {rounded[0]}×{rounded[1]}: a multiple of {stride}")
    return _settled(config, rounded, channels), notes


def rounded_size(size: tuple[int, int], latents: Sequence[LatentSpec]) -> tuple[int, int]:
    """The nearest (H, W) that the latents' grids divide."""
    stride = coarsest_stride(latents, size)
    height, width = (max(stride, round(side / stride) * stride) for side in size)
    return height, width


def _settled(config: RunConfig, size: tuple[int, int], channels: int) -> RunConfig:
    """The configuration with everything filled in that follows from image size and channels.

    Raises ConfigError when the networks cannot halve the sides as often as the latents ask for.
    """
    model = config.model
    latents = auto_latents(size, channels) if model.latents == "auto" else model.latents
    stride = coarsest_stride(latents, size)
    if size[0] % stride or size[1] % stride:
        raise ConfigError(f"model.latents: need sides that divide by {stride}, and images are {size[0]}×{size[1]}")
    layer = {
        "data": {"image_size": list(size), "channels": channels},
        "model": {
            "latents": [spec.model_dump() for spec in latents],
            "width": AUTO_WIDTH if model.width == "auto" else model.width,
        },
    }
    return config.updated(layer)


def is_grey_to_bernoulli(config: RunConfig, pixels: np.ndarray) -> bool:
    """Whether a likelihood of black and white is asked about something between, in uint8 [N, H, W, C]; pixels that are
    drawn as black or white at every visit may have any value."""
    is_bernoulli, is_drawn = config.model.likelihood.kind == "bernoulli", config.data.binarize == "dynamic"
    return is_bernoulli and not is_drawn and binary_share(pixels) < BINARY_SHARE


def _complete_likelihood(config: RunConfig, pixels: np.ndarray) -> tuple[CompleteConfig, list[str]]:
    """Settles the last open setting: Bernoulli for binary pixels, Gaussian for all others, unless one was asked for.

    Raises ConfigError for Bernoulli on grey data.
    """
    kind, dynamic = config.model.likelihood.kind, config.data.binarize == "dynamic"
    if kind == "auto":
        is_binary = dynamic or binary_share(pixels) >= BINARY_SHARE
        kind = "bernoulli" if is_binary else "gaussian"
        why = "pixels are black or white" if is_binary else "pixels have grey levels"
        settled = config.updated({"model": {"likelihood": {"kind": kind}}})
        return from_dict(settled.as_dict(), CompleteConfig), [f"likelihood: {kind} ({why})"]
    if dynamic and kind != "bernoulli":
        raise ConfigError(
            f"model.likelihood.kind: {kind} with data.binarize dynamic; binarised pixels need bernoulli (or auto)"
        )
    if is_grey_to_bernoulli(config, pixels):
        raise ConfigError(
            "model.likelihood.kind: bernoulli needs black-and-white pixels, and these have grey levels;\n"
            "set data.binarize=dynamic to draw them as black and white, or use gaussian"
        )
    return from_dict(config.as_dict(), CompleteConfig), []
