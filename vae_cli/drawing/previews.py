"""The pictures in a run's `previews/`: what the model draws, rebuilds and fills, and what its latents mean."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from vae_cli.checkpoint import Model
from vae_cli.dataset.cache import ImageSet
from vae_cli.dataset.random_masks import draw_observed
from vae_cli.drawing import label_sheet, latent_pictures
from vae_cli.drawing.grids import grid
from vae_cli.files.new_pictures import save_picture
from vae_cli.tasks.encode import Encoded, encode_all
from vae_cli.tasks.inpaint import Picture, inpaint
from vae_cli.tasks.interpolate import ends_of_images, interpolate
from vae_cli.tasks.reconstruct import reconstruct
from vae_cli.tasks.sample import DEFAULT_GUIDANCE, learned_labels, sample, sample_labels

NUM_SAMPLES = 64
MAX_LABELS, NUM_OF_EACH = 20, 8
MAX_PAIRS = 16
MAX_FILLED, NUM_FILLS = 6, 3
MAX_ENDS, NUM_FRAMES = 8, 9
MAX_MAPPED = 512


def draw_progress(model: Model, images: ImageSet, folder: Path, step: int) -> list[Path]:
    """Samples and reconstructions in the middle of training, with the step in their names."""
    return _save(_first_pictures(model, images), folder, f"step-{step:08d}-")


def draw_final(model: Model, images: ImageSet, folder: Path) -> list[Path]:
    """Everything the model can do, for the end of training; fills only for a model with a flow."""
    pictures = _first_pictures(model, images)
    if model.flow is not None:
        rows = _filled_rows(model, images.pixels[_evenly(images, MAX_FILLED)])
        pictures["inpaintings"] = grid(list(rows), num_columns=NUM_FILLS + 2)
    pictures["interpolation"] = _interpolation(model, images)
    some = _evenly(images, MAX_MAPPED)
    labels = [model.label_names[label] if label >= 0 else "" for label in images.labels[some]]
    pictures |= latents(model, encode_all(model, images.pixels[some]), labels)
    return _save(pictures, folder, "")


def _first_pictures(model: Model, images: ImageSet) -> dict[str, np.ndarray]:
    pictures = {"samples": grid(list(sample(model, NUM_SAMPLES)))}
    if model.flow is not None and learned_labels(model):
        pictures["labels"] = _samples_by_label(model)
    return pictures | {"reconstructions": _reconstructions(model, images)}


def _save(pictures: dict[str, np.ndarray], folder: Path, prefix: str) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{prefix}{name}.png" for name in pictures]
    for path, pixels in zip(paths, pictures.values(), strict=True):
        save_picture(pixels, path)
    return paths


def _evenly(images: ImageSet, number: int) -> np.ndarray:
    """Rows of at most so many images, evenly spread because the images of a class lie side by side."""
    count = len(images.ids)
    return np.unique(np.linspace(0, count - 1, min(number, count)).astype(int))


def _samples_by_label(model: Model) -> np.ndarray:
    """A row of new images for each label; of many labels, for some."""
    every = learned_labels(model)
    names = every[:: -(-len(every) // MAX_LABELS)]
    drawn = list(sample_labels(model, names, NUM_OF_EACH, guidance=DEFAULT_GUIDANCE))
    return label_sheet.sheet(names, [drawn[i : i + NUM_OF_EACH] for i in range(0, len(drawn), NUM_OF_EACH)])


def _reconstructions(model: Model, images: ImageSet) -> np.ndarray:
    """Images, each with its reconstruction to the right."""
    originals = list(images.pixels[_evenly(images, MAX_PAIRS)])
    pairs = zip(originals, reconstruct(model, originals), strict=True)
    return grid([picture for pair in pairs for picture in pair], num_columns=8 if len(originals) > 4 else 2)


def _filled_rows(model: Model, pixels: np.ndarray) -> Iterator[np.ndarray]:
    """Of each image: damaged, fills, and as it was. The hole is a box, a half and scattered pixels in turn."""
    generator = torch.Generator().manual_seed(0)
    for number, image in enumerate(pixels):
        height, width = image.shape[:2]
        family = ("center", "half", "scattered")[number % 3]
        hole = draw_observed(family, 1, height, width, generator)[0, 0].numpy() == 0
        yield np.where(hole[:, :, None], np.uint8(128), image)
        for fill in inpaint(model, [Picture(str(number), image, hole)], samples=NUM_FILLS):
            yield np.where(hole[:, :, None], fill.pixels.round().clip(0, 255).astype(np.uint8), image)
        yield image


def _interpolation(model: Model, images: ImageSet) -> np.ndarray:
    """Strips between two images each, one a row; from an image to itself where there is only one."""
    ends = images.pixels[_evenly(images, MAX_ENDS)]
    ends = ends if len(ends) > 1 else ends.repeat(2, axis=0)
    pairs = [ends_of_images(model, ends[start : start + 2]) for start in range(0, len(ends) - 1, 2)]
    frames = [frame for pair in pairs for frame in interpolate(model, pair, steps=NUM_FRAMES)]
    return grid(frames, num_columns=NUM_FRAMES)


def names_of_latents(model: Model) -> tuple[str, ...]:
    """The pictures that `latents` draws."""
    return ("traversals", "map", "manifold") if latent_pictures.is_plane(model) else ("traversals", "map")


def latents(model: Model, encoded: Encoded, labels: Sequence[str]) -> dict[str, np.ndarray]:
    """What the latents of images with these labels ('' = none) mean; `manifold` only for a model of two latents."""
    rows = latent_pictures.traversals(model, encoded)
    frames = grid([frame for row in rows for frame in row.frames], num_columns=latent_pictures.NUM_FRAMES)
    pictures = {
        "traversals": latent_pictures.with_captions(frames, [row.caption for row in rows]),
        "map": latent_pictures.latent_map(model, encoded, labels),
    }
    if latent_pictures.is_plane(model):
        pictures["manifold"] = grid(latent_pictures.manifold(model), num_columns=latent_pictures.SHEET_SIDE)
    return pictures
