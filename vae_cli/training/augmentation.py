"""Images shifted and mirrored, for a VAE that sees the same ones again and again.

The flow never learns from such images, so that what it draws stays as it was.
"""

import torch
from torch import Generator, Tensor

FIRST_VISITS = 2  # how often an image is learned from as it is before it is augmented
MAX_SHIFT = 1 / 16  # of each side


def is_due(step: int, batch_size: int, num_images: int) -> bool:
    """Whether update `step` (from 0) comes after the first visits."""
    return step * batch_size >= FIRST_VISITS * num_images


def draw_augmentation(num: int, size: tuple[int, int], generator: Generator) -> tuple[Tensor, Tensor]:
    """Rows [num, H] and columns [num, W] to take from each image: shifted by whole pixels, every other one mirrored.

    Beyond the border the outermost row or column is repeated.
    """
    taken = []
    for side in size:
        reach = int(side * MAX_SHIFT)
        shift = torch.randint(-reach, reach + 1, (num, 1), generator=generator)
        taken.append((torch.arange(side) + shift).clamp(0, side - 1))
    rows, columns = taken
    mirrored = torch.rand(num, 1, generator=generator) < 0.5
    return rows, torch.where(mirrored, columns.flip(1), columns)


def augmented(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """[B, C, H, W] images with pixel (i, j) taken from (rows[b, i], columns[b, j])."""
    x = x.gather(2, rows[:, None, :, None].expand_as(x))
    return x.gather(3, columns[:, None, None, :].expand_as(x))
