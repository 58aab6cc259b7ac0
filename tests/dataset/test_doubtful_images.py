"""Near-copies are found in their groups and nothing else is; blur, darkness and odd sizes are told as such."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from vae_cli.dataset.doubtful_images import look_at, near_copies, odd_sizes, sharpness


def picture(seed: int, size: tuple[int, int] = (120, 160)) -> Image.Image:
    """Hard edges at every scale, coarse ones strongest."""
    random, canvas = np.random.default_rng(seed), np.zeros((*size, 3))
    for cells in (3, 6, 12, 24, 48, 96):
        noise = Image.fromarray(random.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        canvas += np.asarray(noise.resize(size[::-1], Image.Resampling.NEAREST), float) * 2 / cells
    return Image.fromarray((canvas * 255 / canvas.max()).astype(np.uint8))


def reencoded(image: Image.Image) -> Image.Image:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=40)
    return Image.open(content)


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "mirrored": ImageOps.mirror,
    "re-encoded": reencoded,
    "half as large": lambda image: image.resize((80, 60)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "grey": lambda image: image.convert("L"),
    "cut all around": lambda image: image.crop((8, 6, 152, 114)),
    "cut at a corner": lambda image: image.crop((16, 12, 160, 120)),
    "cut and mirrored": lambda image: ImageOps.mirror(image.crop((12, 0, 160, 120))),
}


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_is_found_among_others(kind: str) -> None:
    images = [picture(seed) for seed in range(30)]
    looks = [look_at(image).thumbnail for image in [*images, COPIES[kind](images[7])]]
    assert near_copies(looks) == [[7, 30]]
    assert near_copies(looks[:30]) == []


def test_groups_hold_all_copies_of_one_picture() -> None:
    a, b = picture(0), picture(1)
    shown = [a, b, ImageOps.mirror(a), picture(2), reencoded(b), a.resize((60, 60))]
    assert near_copies([look_at(image).thumbnail for image in shown]) == [[0, 2, 5], [1, 4]]
    assert near_copies([look_at(a).thumbnail]) == near_copies([]) == []


def test_look_alikes_are_no_copies() -> None:
    """One shape with small differences, as of clothes; the same twice is a copy even there."""
    base, looks = np.asarray(picture(0), float), []
    for seed in range(40):
        changed = 0.85 * base + 0.15 * np.asarray(picture(100 + seed), float)
        looks.append(look_at(Image.fromarray(changed.astype(np.uint8))).thumbnail)
    assert near_copies(looks) == []
    assert near_copies([*looks, looks[3]]) == [[3, 40]]


def test_plain_pictures_are_copies_of_one_another() -> None:
    plain = [look_at(Image.new("RGB", (20, 30), colour)).thumbnail for colour in ("white", "grey")]
    assert near_copies([*plain, look_at(picture(0)).thumbnail]) == [[0, 1]]


def test_blur_and_darkness() -> None:
    sharp = picture(3)
    large = sharp.resize((1200, 900), Image.Resampling.NEAREST)
    for image, is_blurred, is_dark in (
        (sharp, False, False),
        (large, False, False),
        (sharp.filter(ImageFilter.GaussianBlur(3)), True, False),
        (sharp.resize((480, 360), Image.Resampling.BICUBIC), True, False),
        (ImageEnhance.Brightness(sharp).enhance(0.15), False, True),
        (Image.new("L", (40, 40), 200), False, False),
        (Image.new("L", (1, 3)), False, True),
    ):
        look = look_at(image)
        assert (look.is_blurred, look.is_dark) == (is_blurred, is_dark), image
        assert look.size == (image.height, image.width) and look.thumbnail.shape == (32, 32)
    ramp = np.arange(64, dtype=np.uint8)[None] * np.ones((64, 1), np.uint8)
    assert sharpness(ramp) == pytest.approx(0.5)


def test_odd_sizes() -> None:
    usual = [(120, 160), (160, 120), (130, 180)] * 4
    assert odd_sizes([*usual, (20, 30), (100, 500), (900, 900), (240, 320)]) == [12, 13, 14]
    assert odd_sizes(usual) == odd_sizes([]) == []
