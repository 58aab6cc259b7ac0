"""Before training: read the images, hold some of them out, and settle what the configuration left open."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from vae_cli.company import Company
from vae_cli.config import (
    SMALL_SIDE,
    CompleteConfig,
    CompleteData,
    CompleteModel,
    LatentSpec,
    Layer,
    ModelConfig,
    RunConfig,
    from_dict,
)
from vae_cli.config_autoencoder import AutoencoderKL
from vae_cli.dataset.builtin import builtin_split
from vae_cli.dataset.cache import ImageSet, load_images, load_statistics
from vae_cli.dataset.close_ups import cut_close_ups
from vae_cli.dataset.image_statistics import binary_share
from vae_cli.dataset.scan import Scan, scan
from vae_cli.dataset.split import split_images
from vae_cli.errors import ConfigError, DataError
from vae_cli.images.colours import parse_color
from vae_cli.images.image_ref import ImageRef, Skipped
from vae_cli.images.image_refs import joined
from vae_cli.images.recipe import ImageRecipe
from vae_cli.model.vae import coarsest_stride
from vae_cli.printable import printable
from vae_cli.runtime import Runtime
from vae_cli.training.initial_weights import Earlier, settled_init, settled_latents, settled_model, settled_training
from vae_cli.training.inputs import CPU, TrainingInputs

BINARY_SHARE = 0.999  # from this share of pure black and white values on, `auto` takes pixels for binary
MAX_AUTO_SIDE = 64
FLOW_SHARE, FLOW_SHARE_OF_TRAINED = 0.6, 0.85  # a trained VAE takes to new images in a few hundred updates
LATENT_NOISE = 0.3  # rids samples of photographs of a lattice; of small pictures it only costs sharpness

OnProgress = Callable[[str, int, int], None]  # (what is being done, done, total)


def prepare(
    config: RunConfig, runtime: Runtime = CPU, *, workers: int = 2, exclude: Sequence[Path] = (),
    on_progress: OnProgress = lambda what, done, total: None, with_patches: bool = False,
    company: Company | None = None,
) -> TrainingInputs:  # fmt: skip
    """Scan, split and decode the images, and complete the configuration from them.

    exclude: folders inside the data that are not read. with_patches: also cut the close-ups that training asks for.
    company: of the ranks that do so at the same time; those of one node share the work and its disk.
    Raises ConfigError for settings that contradict the data, DataError when no image is left.
    """
    if config.data.path is None:
        return _prepare_builtin(config, runtime)
    company = company or Company()
    found = scan(Path(config.data.path), labels=config.data.labels, splits=config.data.splits, exclude=tuple(exclude),
                 on_progress=lambda done: on_progress("finding images", done, done))  # fmt: skip
    if found.has_split_folders:  # and so they remain, whatever other folders come
        config = config.updated({"data": {"splits": "folders"}})
    parts = split_images(found.images)
    config, notes = _complete_geometry(config, joined(parts.train, parts.validation), workers, on_progress, company)
    recipe = ImageRecipe.of(CompleteData.model_validate(config.data.model_dump()))
    read = partial(load_images, recipe=recipe, label_names=found.label_names, workers=workers, company=company)
    train = read(parts.train, on_progress=partial(on_progress, "decoding training images"))
    try:
        validation = read(parts.validation, on_progress=partial(on_progress, "decoding held-out images"))
    except DataError:
        validation = replace(train, skipped=tuple(Skipped(ref.id, "cannot be decoded") for ref in parts.validation))
        notes.append("no held-out image can be read; training images are measured instead")
    if len(parts.train) == 1 and parts.train == parts.validation:
        notes.append("a single image: it is learned from and measured alike")
    complete, likelihood_notes = _complete_likelihood(config, train.pixels)
    notes += [
        *found.notes,
        *likelihood_notes,
        *_label_notes(config, found, train),
        *dict.fromkeys(train.notes + validation.notes),
    ]
    skipped = {item.id: item for item in (*found.skipped, *train.skipped, *validation.skipped)}
    inputs = TrainingInputs(complete, train, validation, found.label_names, runtime,
                            skipped=tuple(skipped.values()), notes=tuple(notes))  # fmt: skip
    if not with_patches:
        return inputs
    cut = cut_close_ups(complete, (train, parts.train), (validation, parts.validation), workers=workers,
                        on_progress=partial(on_progress, "cutting close-ups"), company=company)  # fmt: skip
    return replace(inputs, config=cut.config, notes=inputs.notes + cut.notes, patches=cut.train,
                   validation_patches=cut.validation)  # fmt: skip


def _label_notes(config: RunConfig, found: Scan, train: ImageSet) -> list[str]:
    """What may surprise about labels: folders that give none, and labels that no training image has."""
    notes = []
    folders = Counter(name.split("/")[0] for name in found.images.names if name.count("/") == 1)
    num_beside = len(found.images) - sum(folders.values())
    is_flat = len(folders) > 1 and all(name.count("/") < 2 for name in found.images.names)
    if config.data.labels == "auto" and not found.label_names and is_flat and 0 < num_beside < sum(folders.values()):
        notes.append(f"{num_beside} images lie beside {len(folders)} folders, whose names are therefore no labels; "
                     "with --labels folders they are")  # fmt: skip
    used = set(train.labels.tolist())
    if unused := [name for number, name in enumerate(found.label_names) if number not in used]:
        listed = ", ".join(map(printable, unused[:5])) + (", …" if len(unused) > 5 else "")
        notes.append(f"no training image has the label {listed}: it cannot be drawn later")
    return notes


def _prepare_builtin(config: RunConfig, runtime: Runtime) -> TrainingInputs:
    train, validation, label_names = builtin_split()
    if config.data.labels == "none":
        label_names = ()
        train, validation = (replace(part, labels=np.full(len(part.ids), -1)) for part in (train, validation))
    if config.data.image_size not in (None, (28, 28)) or config.data.channels == 3:
        raise ConfigError("the built-in images are 28×28 and grey; give a folder to use another --image-size or colour")
    if config.data.patches not in (0, "auto"):
        raise ConfigError("data.patches: the built-in images are no larger than the model; leave it at 0")
    init, earlier = settled_init(config, (28, 28), 1)
    settled = {"data": {"patches": 0}, "training": settled_training(config, init, earlier)}
    config = with_geometry(config.updated(settled), (28, 28), 1, earlier)
    complete, notes = _complete_likelihood(config, train.pixels)
    return TrainingInputs(complete, train, validation, label_names, runtime, notes=tuple(notes))


def _complete_geometry(
    config: RunConfig, refs: Sequence[ImageRef], workers: int, on_progress: OnProgress, company: Company
) -> tuple[RunConfig, list[str]]:
    """Image size, channels, latents and widths where they are still open, and what to say about them."""
    size, channels, notes = config.data.image_size, config.data.channels, []
    if size is None or channels == "auto":
        facts = load_statistics(refs, parse_color(config.data.background), workers=workers, company=company,
                                on_progress=partial(on_progress, "looking at images"))  # fmt: skip
        channels = (1 if facts.grey else 3) if channels == "auto" else channels
        size = size or facts.common_size
        if config.data.image_size is None and (size is None or max(size) > MAX_AUTO_SIDE or min(size) < 8):
            size = (MAX_AUTO_SIDE, MAX_AUTO_SIDE)
            notes.append(f"images are brought to {size[0]}×{size[1]} ({config.data.fit}); --image-size sets another")
    assert size is not None
    init, earlier = settled_init(config, size, channels)
    if isinstance(earlier, AutoencoderKL) and config.data.channels == "auto":
        channels = earlier.in_channels
    if config.training.init == "auto" and init != "none":
        notes.append("training starts from `photo`, our model of photographs and paintings; --init none from nothing")
    config = config.updated({"training": settled_training(config, init, earlier)})
    latents = settled_latents(config.model, size, channels, earlier)
    if (rounded := rounded_size(size, latents)) != size:
        stride = coarsest_stride(latents, size)
        notes.append(f"image size {size[0]}×{size[1]} becomes {rounded[0]}×{rounded[1]}: a multiple of {stride}")
    return with_geometry(config, rounded, channels, earlier), notes


def rounded_size(size: tuple[int, int], latents: Sequence[LatentSpec]) -> tuple[int, int]:
    """The nearest (H, W) that the latents' grids divide."""
    stride = coarsest_stride(latents, size)
    height, width = (max(stride, round(side / stride) * stride) for side in size)
    return height, width


def with_geometry(config: RunConfig, size: tuple[int, int], channels: int, earlier: Earlier = None) -> RunConfig:
    """The configuration with everything filled in that follows from image size, channels and an earlier model.

    Raises ConfigError when the networks cannot halve the sides as often as the latents ask for.
    """
    layer: Layer = {"data": {"image_size": list(size), "channels": channels},
             "model": settled_model(config.model, size, channels, earlier)}  # fmt: skip
    if config.objective.latent_noise == "auto":
        layer["objective"] = {"latent_noise": 0.0 if max(size) <= SMALL_SIDE else LATENT_NOISE}
    config = config.updated(layer)
    if config.training.flow_share == "auto":
        share = FLOW_SHARE_OF_TRAINED if _takes_over_the_vae(config.model, earlier) else FLOW_SHARE
        config = config.updated({"training": {"flow_share": share}})
    assert config.model.latents != "auto"
    stride = coarsest_stride(config.model.latents, size)
    if size[0] % stride or size[1] % stride:
        raise ConfigError(f"model.latents: need sides that divide by {stride}, and images are {size[0]}×{size[1]}")
    return config


def _takes_over_the_vae(model: ModelConfig, earlier: Earlier) -> bool:
    """Whether the earlier model's VAE fits as it is; an AutoencoderKL always does."""
    if not isinstance(earlier, CompleteModel):
        return earlier is not None
    return (model.nets, model.latents, model.width) == (earlier.nets, earlier.latents, earlier.width)


def is_grey_to_bernoulli(config: RunConfig, pixels: np.ndarray) -> bool:
    """Whether a likelihood of black and white is asked about grey levels, in uint8 [N, H, W, C] that stay grey."""
    is_bernoulli, is_drawn = config.model.likelihood.kind == "bernoulli", config.data.binarize == "dynamic"
    return is_bernoulli and not is_drawn and binary_share(pixels) < BINARY_SHARE


def _complete_likelihood(config: RunConfig, pixels: np.ndarray) -> tuple[CompleteConfig, list[str]]:
    """Settles the last open setting: Bernoulli for binary pixels, Gaussian for all others, unless one was asked for.

    Raises ConfigError for Bernoulli on grey data.
    """
    kind, is_drawn, notes = config.model.likelihood.kind, config.data.binarize == "dynamic", []
    if kind == "auto":
        is_binary = is_drawn or binary_share(pixels) >= BINARY_SHARE
        kind, why = ("bernoulli", "are black or white") if is_binary else ("gaussian", "have grey levels")
        config = config.updated({"model": {"likelihood": {"kind": kind}}})
        notes.append(f"likelihood: {kind} (pixels {why})")
    elif is_drawn and kind != "bernoulli":
        hint = "binarised pixels need bernoulli (or auto)"
        raise ConfigError(f"model.likelihood.kind: {kind} with data.binarize dynamic; {hint}")
    elif is_grey_to_bernoulli(config, pixels):
        raise ConfigError(
            "model.likelihood.kind: bernoulli needs black-and-white pixels, and these have grey levels;",
            "set data.binarize=dynamic to draw them as black and white, or use gaussian",
        )
    return from_dict(config.as_dict(), CompleteConfig), notes
