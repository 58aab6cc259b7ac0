"""What the latents mean, as pictures: traversals, the sheet of a two-dimensional model, a map of the data."""

import colorsys
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from vae_cli.checkpoint import Model
from vae_cli.drawing.grids import INK
from vae_cli.files.new_pictures import to_image
from vae_cli.metrics.latents import principal_directions
from vae_cli.model.vae import Latents
from vae_cli.tasks.encode import Encoded, decode

NUM_ROWS, NUM_FRAMES, REACH = 10, 11, 3.0
"""Of the traversals: the directions drawn, the frames of each, and how many standard deviations to either side."""
SHEET_SIDE = 20  # images along a side of the manifold sheet
MAP_PIXELS, LEGEND_PIXELS, DOT_PIXELS, THUMBNAIL_PIXELS, THUMBNAIL_GAP = 640, 160, 7, 32, 2
MAX_POINTS, MAX_NAMES = 5000, 20
CAPTION_POINTS, LEGEND_POINTS = 10, 14
_OVERSAMPLING = 2  # dots are drawn this much larger and then reduced, which smooths their edges
_NEGLIGIBLE_SHARE = 1e-9  # share of the largest variance below which a direction comes from rounding alone


@dataclass(frozen=True)
class Traversal:
    """One walk through the latents."""

    layer: int
    number: int  # which unit of a vector; of a grid, which of its principal directions
    kl_nats: float  # how much the posteriors say along this direction, on average
    caption: str  # what varies, numbered as in the arrays of `encode`, and how much it says
    frames: np.ndarray  # uint8 [F, H, W, C], from -REACH to REACH standard deviations


def is_plane(model: Model) -> bool:
    """Whether two numbers are all that the model knows of an image."""
    return [math.prod(shape) for shape in model.vae.latent_shapes] == [2]


# ---- traversals


def traversals(model: Model, encoded: Encoded) -> list[Traversal]:
    """Walks along the directions that carry the most nats, through the image whose latents are the most ordinary.

    A direction is a unit of a vector of latents or a principal direction of a grid's posterior means. Its KL is that of
    the posteriors' projections from N(0, 1), which is the prior along any direction; the standard deviation that a walk
    counts in is that of the posteriors taken together (for a unit that follows its prior: 1).
    """
    shapes = model.vae.latent_shapes
    means, stds = ([torch.from_numpy(layer).double().flatten(1) for layer in layers]
                   for layers in (encoded.means, encoded.stds))  # fmt: skip
    points = torch.cat(means, dim=1)
    start = int((points - points.mean(0)).square().sum(1).argmin())
    found = []
    for layer, (mean, std, shape) in enumerate(zip(means, stds, shapes, strict=True)):
        directions, unit = torch.eye(len(mean[0]), dtype=torch.float64), "unit"
        if shape[1:] != (1, 1):
            unit = "direction"
            principal, variances = principal_directions(mean, NUM_ROWS)
            is_real = variances > _NEGLIGIBLE_SHARE * variances.max()  # N images differ along N - 1 directions at most
            directions = principal[is_real] if is_real.any() else directions[:NUM_ROWS]
        for number, direction in enumerate(directions):
            places, variance = mean @ direction, std.square() @ direction.square()
            kl_nats = (0.5 * (places.square() + variance - 1 - variance.log())).mean().item()
            deviation = (places.var(correction=0) + variance.mean()).sqrt()
            wanted = places.mean() + deviation * torch.linspace(-REACH, REACH, NUM_FRAMES, dtype=torch.float64)
            walk = mean[start] + (wanted - places[start])[:, None] * direction
            name = f"layer {layer + 1} {unit}" if len(shapes) > 1 else unit
            found.append((kl_nats, layer, number, f"{name} {number}: {kl_nats:.1f} nats", walk))
    found.sort(key=lambda one: one[:3], reverse=True)
    rows = []
    for kl_nats, layer, number, caption, walk in found[:NUM_ROWS]:
        walks = [mean[start].expand(NUM_FRAMES, -1) for mean in means]
        walks[layer] = walk
        latents = (part.float().reshape(-1, *shape) for part, shape in zip(walks, shapes, strict=True))
        frames = np.stack(list(decode(model, Latents(tuple(latents)))))
        rows.append(Traversal(layer, number, kl_nats, caption, frames))
    return rows


def with_captions(sheet: np.ndarray, captions: Sequence[str]) -> np.ndarray:
    """A picture uint8 [H, W, C] with alpha, of equally high rows, with a line of text to the left of each."""
    font = ImageFont.load_default(CAPTION_POINTS)
    margin = math.ceil(max(font.getlength(caption) for caption in captions)) + 8
    text, height = Image.new("L", (margin, len(sheet))), len(sheet) / len(captions)
    for number, caption in enumerate(captions):
        ImageDraw.Draw(text).text((margin - 6, (number + 0.5) * height), caption, 255, font, anchor="rm")
    beside = np.full((len(sheet), margin, sheet.shape[2]), INK, np.uint8)
    beside[:, :, -1] = np.asarray(text)
    return np.concatenate([beside, sheet], axis=1)


# ---- manifold


def manifold(model: Model) -> list[np.ndarray]:
    """uint8 [H, W, C] images, SHEET_SIDE rows of as many: at the quantiles of N(0, 1) of both latents, the first one
    to the right, the second one upwards (Kingma & Welling 2014, fig. 4). For models of two latents."""
    quantiles = [NormalDist().inv_cdf((number + 0.5) / SHEET_SIDE) for number in range(SHEET_SIDE)]
    places = torch.tensor([(x, y) for y in reversed(quantiles) for x in quantiles])
    return list(decode(model, Latents((places[:, :, None, None],))))


# ---- map


def latent_map(model: Model, encoded: Encoded, labels: Sequence[str]) -> np.ndarray:
    """uint8 [H, W, 4]: where images lie in the plane in which their posterior means vary most (PCA).

    Points in their labels' colours with a legend; where no image has a label, small pictures of what the latents
    decode to. The two latents of a model that has no more are the plane themselves.
    """
    points = torch.from_numpy(encoded.flat_means())
    some = np.unique(np.linspace(0, len(points) - 1, min(MAX_POINTS, len(points))).astype(int))
    axes = torch.eye(2, dtype=torch.float64) if is_plane(model) else principal_directions(points, 2)[0]
    plane = (points.double() @ axes.T).numpy()[some]
    if plane.shape[1] == 1:  # a single image or a single latent
        plane = np.pad(plane, ((0, 0), (0, 1)))
    if any(labels):
        return _map_of_dots(plane, [labels[i] for i in some])
    return _map_of_pictures(model, encoded, plane, some)


def _pixels_of(plane: np.ndarray, margin: int) -> np.ndarray:
    """float [N, 2] x and y on the map, `margin` away from its edges; one scale for both axes, y upwards."""
    low, high = plane.min(0), plane.max(0)
    scale = (MAP_PIXELS - 1 - 2 * margin) / max((high - low).max(), 1e-9)
    return (MAP_PIXELS - 1) / 2 + (plane - (low + high) / 2) * scale * (1, -1)


def _map_of_pictures(model: Model, encoded: Encoded, plane: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """A small picture in each cell of the map that an image lies in, of the first such image."""
    cells: dict[tuple[int, int], int] = {}
    corners = _pixels_of(plane, THUMBNAIL_PIXELS // 2).astype(int) // THUMBNAIL_PIXELS * THUMBNAIL_PIXELS
    for number, (left, top) in zip(numbers, corners.tolist(), strict=True):
        cells.setdefault((left, top), number)
    chosen = list(cells.values())
    pictures = decode(model, Latents(tuple(torch.from_numpy(layer[chosen]) for layer in encoded.means)))
    canvas = Image.new("RGBA", (MAP_PIXELS, MAP_PIXELS))
    for corner, pixels in zip(cells, pictures, strict=True):
        small = to_image(pixels).convert("RGB")
        small.thumbnail((THUMBNAIL_PIXELS - THUMBNAIL_GAP, THUMBNAIL_PIXELS - THUMBNAIL_GAP))
        canvas.paste(small, corner)
    return np.array(canvas)


def _map_of_dots(plane: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """Coloured points, and the names of the most frequent labels beside them."""
    names = [name for name, _ in Counter(filter(None, labels)).most_common()]
    colours = {"": (190, 190, 190)}
    for number, name in enumerate(sorted(names)):  # hues around the circle, every other one darker
        colour = colorsys.hsv_to_rgb(number / len(names), 0.85, 0.9 if number % 2 == 0 else 0.6)
        colours[name] = (round(255 * colour[0]), round(255 * colour[1]), round(255 * colour[2]))
    dots = Image.new("RGBA", (MAP_PIXELS * _OVERSAMPLING, MAP_PIXELS * _OVERSAMPLING))
    pen, radius = ImageDraw.Draw(dots), DOT_PIXELS * _OVERSAMPLING / 2
    places = (_pixels_of(plane, DOT_PIXELS) + 0.5) * _OVERSAMPLING
    for number in np.random.default_rng(0).permutation(len(places)):  # in order, the last label would lie on top
        x, y = places[number]
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), colours[labels[number]])
    canvas = Image.new("RGBA", (MAP_PIXELS + LEGEND_PIXELS, MAP_PIXELS))
    canvas.paste(dots.resize((MAP_PIXELS, MAP_PIXELS), Image.Resampling.LANCZOS))

    pen, font, ink, left = ImageDraw.Draw(canvas), ImageFont.load_default(LEGEND_POINTS), (INK,) * 3, MAP_PIXELS + 8
    for number, name in enumerate(sorted(names[:MAX_NAMES])):
        top = 12 + 22 * number
        pen.ellipse((left, top + 4, left + DOT_PIXELS, top + 4 + DOT_PIXELS), colours[name])
        pen.text((left + 16, top), "".join(letter if letter.isprintable() else "?" for letter in name), ink, font)
    if len(names) > MAX_NAMES:
        pen.text((left, 12 + 22 * MAX_NAMES), f"and {len(names) - MAX_NAMES} more", ink, font)
    return np.array(canvas)
