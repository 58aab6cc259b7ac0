"""The pictures in a run's `previews/`: what the model draws, rebuilds and fills, and what its latents mean."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from vae_cli.checkpoint import Model
from vae_cli.dataset.cache import ImageSet
from vae_cli.dataset.random_masks import draw_observed
from vae_cli.drawing import label_sheet, latent_pictures
from vae_cli.drawing.grids import grid, with_alpha
from vae_cli.files.new_pictures import save_picture
from vae_cli.tasks.encode import Encoded, encode_all
from vae_cli.tasks.inpaint import Picture, inpaint
from vae_cli.tasks.interpolate import ends_of_images, interpolate
from vae_cli.tasks.reconstruct import reconstruct
from vae_cli.tasks.sample import learned_labels, sample
from vae_cli.windows.window_fill import hole_of

NUM_SAMPLES = 64
MAX_LABELS, NUM_OF_EACH = 20, 8
MAX_PAIRS = 16
MAX_FILLED, NUM_FILLS = 6, 3
MAX_ENDS, NUM_FRAMES = 8, 9
MAX_MAPPED = 512


def draw_progress(model: Model, images: ImageSet, folder: Path, step: int) -> list[Path]:
    """Samples and reconstructions in the middle of training, with the step in their names."""
    return _save(_first_pictures(model, images, list(sample(model, NUM_SAMPLES))), folder, f"step-{step:08d}-")


def draw_final(model: Model, images: ImageSet, folder: Path, samples: Sequence[np.ndarray]) -> list[Path]:
    """Everything the model can do, for the end of training; fills only for a model with a flow."""
    pictures = _first_pictures(model, images, samples)
    if model.flow is not None:
        rows = _filled_rows(model, images.pixels[_evenly(images, MAX_FILLED)])
        pictures["inpaintings"] = _grid(rows, num_columns=NUM_FILLS + 2)
    ends = images.pixels[_evenly(images, MAX_ENDS)]
    ends = ends if len(ends) > 1 else ends.repeat(2, axis=0)
    pairs = [ends_of_images(model, ends[start : start + 2]) for start in range(0, len(ends) - 1, 2)]
    frames = [frame for pair in pairs for frame in interpolate(model, pair, steps=NUM_FRAMES)]
    pictures["interpolation"] = _grid(frames, num_columns=NUM_FRAMES)
    some = _evenly(images, MAX_MAPPED)
    labels = [model.label_names[label] if label >= 0 else "" for label in images.labels[some]]
    return _save(pictures | latents(model, encode_all(model, images.pixels[some]), labels), folder, "")


def _first_pictures(model: Model, images: ImageSet, samples: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Samples, rows of samples of each label (of many labels, of some), and images beside their reconstructions."""
    pictures = {"samples": _grid(samples)}
    if model.flow is not None and (every := learned_labels(model)):
        names = every[:: -(-len(every) // MAX_LABELS)]
        drawn = [with_alpha(each) for each in sample(model, NUM_OF_EACH, labels=names)]
        rows = [drawn[start : start + NUM_OF_EACH] for start in range(0, len(drawn), NUM_OF_EACH)]
        pictures["labels"] = label_sheet.sheet(names, rows)
    originals = list(images.pixels[_evenly(images, MAX_PAIRS)])
    pairs = [each for pair in zip(originals, reconstruct(model, originals), strict=True) for each in pair]
    return pictures | {"reconstructions": _grid(pairs, num_columns=8 if len(originals) > 4 else 2)}


def _grid(images: Iterable[np.ndarray], num_columns: int | None = None) -> np.ndarray:
    return grid([with_alpha(image) for image in images], num_columns)


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


def _filled_rows(model: Model, pixels: np.ndarray) -> Iterator[np.ndarray]:
    """Of each image: damaged, fills, and as it was. The hole is a box, a half and scattered pixels in turn."""
    generator = torch.Generator().manual_seed(0)
    for number, image in enumerate(pixels):
        family, (height, width) = ("center", "half", "scattered")[number % 3], image.shape[:2]
        hole = hole_of(draw_observed(family, 1, height, width, generator))
        yield np.where(hole[:, :, None], np.uint8(128), image)
        for fill in inpaint(model, [Picture(str(number), image, hole)], samples=NUM_FILLS):
            yield np.where(hole[:, :, None], fill.pixels.round().clip(0, 255).astype(np.uint8), image)
        yield image


def names_of_latents(model: Model) -> tuple[str, ...]:
    """The pictures that `latents` draws."""
    return ("traversals", "map", "manifold") if latent_pictures.is_plane(model) else ("traversals", "map")


def latents(model: Model, encoded: Encoded, labels: Sequence[str]) -> dict[str, np.ndarray]:
    """What the latents of images with these labels ('' = none) mean; `manifold` only for a model of two latents."""
    rows = latent_pictures.traversals(model, encoded)
    frames = _grid([frame for row in rows for frame in row.frames], num_columns=latent_pictures.NUM_FRAMES)
    pictures = {
        "traversals": latent_pictures.with_captions(frames, [row.caption for row in rows]),
        "map": latent_pictures.latent_map(model, encoded, labels),
    }
    if latent_pictures.is_plane(model):
        pictures["manifold"] = _grid(latent_pictures.manifold(model), num_columns=latent_pictures.SHEET_SIDE)
    return pictures
