"""The pictures in a run's `previews/`, drawn with the tasks: samples, also by label, reconstructions, fills, walks, and
what the latents mean."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vae_cli.drawing import label_sheet
from vae_cli.drawing.grids import grid
from vae_cli.files.new_pictures import save_picture

if TYPE_CHECKING:
    import numpy as np

    from vae_cli.checkpoint import Model
    from vae_cli.dataset.cache import ImageSet
    from vae_cli.tasks.encode import Encoded

NUM_SAMPLES = 64
NUM_LABELS, NUM_OF_EACH = 20, 8
NUM_PAIRS = 16
NUM_FILLED = 6
NUM_FILLS = 3
NUM_MAPPED = 512


def draw_progress(model: "Model", images: "ImageSet", folder: Path, step: int) -> list[Path]:
    """Samples and reconstructions in the middle of training, named by the step."""
    pictures = {"samples": samples(model), **labels(model), "reconstructions": reconstructions(model, images)}
    return _save(pictures, folder, f"step-{step:08d}-")


def draw_final(model: "Model", images: "ImageSet", folder: Path) -> list[Path]:
    """Everything the model can do, for the end of training; fills only for a model with a flow."""
    pictures = {"samples": samples(model), **labels(model), "reconstructions": reconstructions(model, images)}
    if model.flow is not None:
        pictures["inpaintings"] = inpaintings(model, images)
    pictures["interpolation"] = interpolation(model, images)
    pictures |= latents_of_some(model, images)
    return _save(pictures, folder, "")


def _save(pictures: "dict[str, np.ndarray]", folder: Path, prefix: str) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = []
    for name, pixels in pictures.items():
        paths.append(folder / f"{prefix}{name}.png")
        save_picture(pixels, paths[-1])
    return paths


def _spread(images: "ImageSet", number: int) -> "np.ndarray":
    """Numbers of at most so many images, evenly spread: sorted ids lie class by class."""
    import numpy as np

    count = len(images.ids)
    return np.unique(np.linspace(0, count - 1, min(number, count)).astype(int))


def _some(images: "ImageSet", number: int) -> "np.ndarray":
    """Evenly spread images [<= number, H, W, C]."""
    return images.pixels[_spread(images, number)]


def samples(model: "Model") -> "np.ndarray":
    """A grid of new images."""
    from vae_cli.tasks.sample import sample

    return grid(list(sample(model, NUM_SAMPLES)))


def labels(model: "Model") -> "dict[str, np.ndarray]":
    """`labels`: new images of each label, a row each; nothing for a model that knows none. Of many labels, some."""
    from vae_cli.tasks.sample import DEFAULT_GUIDANCE, learned_labels, sample_labels

    every = learned_labels(model)
    if model.flow is None or not every:
        return {}
    names = every[:: -(-len(every) // NUM_LABELS)]
    drawn = list(sample_labels(model, names, NUM_OF_EACH, guidance=DEFAULT_GUIDANCE))
    rows = [drawn[start : start + NUM_OF_EACH] for start in range(0, len(drawn), NUM_OF_EACH)]
    return {"labels": label_sheet.sheet(names, rows)}


def reconstructions(model: "Model", images: "ImageSet") -> "np.ndarray":
    """Held-out images, each with its reconstruction to the right."""
    from vae_cli.tasks.reconstruct import reconstruct

    shown = list(_some(images, NUM_PAIRS))
    pairs = zip(shown, reconstruct(model, shown), strict=True)
    columns = 8 if len(shown) > 4 else 2
    return grid([picture for pair in pairs for picture in pair], num_columns=columns)


def inpaintings(model: "Model", images: "ImageSet") -> "np.ndarray":
    """Rows of damaged image, fills and truth; a box, a half and scattered pixels in turn."""
    return grid(list(_filled_rows(model, _some(images, NUM_FILLED))), num_columns=NUM_FILLS + 2)


def _filled_rows(model: "Model", pixels: "np.ndarray") -> "Iterator[np.ndarray]":
    import numpy as np
    import torch

    from vae_cli.dataset.random_masks import draw_observed
    from vae_cli.tasks.inpaint import Picture, inpaint

    generator = torch.Generator().manual_seed(0)
    families = ("center", "half", "scattered")
    for number, image in enumerate(pixels):
        height, width = image.shape[:2]
        hole = draw_observed(families[number % 3], 1, height, width, generator)[0, 0].numpy() == 0
        yield np.where(hole[:, :, None], np.uint8(128), image)
        for fill in inpaint(model, [Picture(str(number), image, hole)], samples=NUM_FILLS):
            yield np.where(hole[:, :, None], fill.pixels.round().clip(0, 255).astype(np.uint8), image)
        yield image


def interpolation(model: "Model", images: "ImageSet") -> "np.ndarray":
    """Strips between held-out images, one a row."""
    from vae_cli.tasks.interpolate import ends_of_images, interpolate

    ends = _some(images, 8)
    if len(ends) < 2:
        ends = ends.repeat(2, axis=0)
    rows = []
    for start in range(0, len(ends) - 1, 2):
        rows += list(interpolate(model, ends_of_images(model, ends[start : start + 2]), steps=9))
    return grid(rows, num_columns=9)


def latents_of_some(model: "Model", images: "ImageSet") -> "dict[str, np.ndarray]":
    """The pictures of held-out images' latents."""
    from vae_cli.tasks.encode import encode_all

    rows = _spread(images, NUM_MAPPED)
    labels = [model.label_names[label] if label >= 0 else "" for label in images.labels[rows]]
    return latents(model, encode_all(model, images.pixels[rows]), labels)


def names_of_latents(model: "Model") -> tuple[str, ...]:
    """The pictures that `latents` draws."""
    from vae_cli.drawing.latent_pictures import is_plane

    return ("traversals", "map", "manifold") if is_plane(model) else ("traversals", "map")


def latents(model: "Model", encoded: "Encoded", labels: Sequence[str]) -> "dict[str, np.ndarray]":
    """What the latents of images with these labels ('' = none) mean; the sheet only for a model of two latents."""
    from vae_cli.drawing import latent_pictures as task

    rows = task.traversals(model, encoded)
    sheet = grid([frame for row in rows for frame in row.frames], num_columns=task.NUM_FRAMES)
    is_only_layer = len(model.vae.latent_shapes) == 1
    pictures = {
        "traversals": task.with_captions(sheet, [row.caption(is_only_layer=is_only_layer) for row in rows]),
        "map": task.latent_map(model, encoded, labels),
    }
    if task.is_plane(model):
        pictures["manifold"] = grid(task.manifold(model), num_columns=task.SHEET_SIDE)
    return pictures
