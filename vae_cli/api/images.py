"""Pictures as the Python API takes them, in any form, and as it gives them back: arrays that can show themselves."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np
import torch
from PIL import Image

from vae_cli.dataset.scan import scan
from vae_cli.drawing.grids import grid
from vae_cli.errors import ConfigError, DataError
from vae_cli.files.masks import read_hole
from vae_cli.files.new_pictures import encoded, save_picture, to_image
from vae_cli.files.originals import open_original
from vae_cli.images.colours import Colour
from vae_cli.images.image_ref import IMAGE_SUFFIXES
from vae_cli.images.modes import eight_bits, to_array
from vae_cli.images.orientation import displayed_image, orientation_of

Picture: TypeAlias = str | Path | Image.Image | np.ndarray | torch.Tensor
"""A path (a folder stands for every image in it), a PIL image, an array [H, W], [H, W, C] or [N, H, W, C] (uint8,
uint16, or float in 0..1), or a tensor [C, H, W] or [N, C, H, W] of the same types."""
Pictures: TypeAlias = Picture | Sequence[Picture]


class Images(np.ndarray):
    """Pictures, uint8 [N, H, W, C] with one or three channels: an array that can show and save itself.

    Where 16-bit pictures were given, `inpaint`, `denoise` and `style` return uint16; it is shown and saved as 8 bits.
    """

    def __new__(cls, pictures: Sequence[np.ndarray] | np.ndarray) -> Self:
        """From pictures [H, W, C] of one size. Raises DataError when their sizes differ."""
        if len({picture.shape for picture in pictures}) > 1:
            raise DataError("the pictures differ in size, so that no single array holds them; pass them one by one")
        return np.stack(list(pictures)).view(cls)

    def to_pil(self) -> list[Image.Image]:
        """Each picture as a PIL image."""
        return [to_image(picture) for picture in self._eight_bit()]

    def grid(self, num_columns: int | None = None) -> Image.Image:
        """All pictures in one, row by row; nearly square unless the number of columns is given."""
        return to_image(grid(list(self._eight_bit()), num_columns))

    def save(self, path: str | Path, *, overwrite: bool = False) -> list[Path]:
        """Writes a grid where the path has an image's suffix, else 000000.png and so on in a folder of that name.

        Returns the paths. Raises ConfigError when one of them exists, WriteError when the disk refuses.
        """
        path = Path(path)
        is_grid = path.suffix.lower() in IMAGE_SUFFIXES
        pictures = [np.asarray(self.grid())] if is_grid else list(self._eight_bit())
        paths = [path] if is_grid else [path / f"{number:06d}.png" for number in range(len(pictures))]
        for each in paths:
            if each.exists() and not overwrite:
                raise ConfigError(f"{each}: exists; use overwrite=True or another path")
        for picture, each in zip(pictures, paths, strict=True):
            save_picture(picture.reshape(*picture.shape[:2], -1), each)
        return paths

    def _repr_png_(self) -> bytes | None:
        """What a notebook shows: the grid."""
        return encoded(self.grid(), "PNG") if self.ndim in (3, 4) and self.size else None

    def _eight_bit(self) -> np.ndarray:
        """uint8 [N, H, W, C], also of a single picture that was taken out by its number."""
        return eight_bits(np.asarray(self if self.ndim == 4 else self[None]))


def pictures_in(images: Pictures, *, channels: int | None, background: Colour) -> list[np.ndarray]:
    """uint8 or uint16 [H, W, C] of each picture as displayed, with so many channels; None = 1 or 3 as it has.

    Transparent parts are laid on the background. Raises ConfigError for a path that does not exist, DataError for
    what is no picture.
    """
    if not (found := list(_each(images, channels, background))):
        raise DataError("no picture was given")
    return found


def _each(images: Pictures, channels: int | None, background: Colour) -> Iterator[np.ndarray]:
    match images:
        case str() | Path():
            path = Path(images)
            if not path.exists():
                raise ConfigError(f"{path}: no such file or folder")
            found = scan(path, labels="none", splits="none").images if path.is_dir() else ()
            for file in [ref.path for ref in found] or [path]:
                picture = open_original(file).display_array(channels or 3, background)
                is_grey = channels is None and bool((picture == picture[:, :, :1]).all())
                yield picture[:, :, :1] if is_grey else picture
        case Image.Image():
            upright = displayed_image(images, orientation_of(images))
            own = 1 if upright.mode in ("1", "L") or upright.mode.startswith("I") else 3
            yield to_array(upright, channels=channels or own, background=background)
        case torch.Tensor():
            if images.ndim not in (3, 4):
                raise DataError(f"a tensor of shape {list(images.shape)}; give [C, H, W] or [N, C, H, W]")
            yield from _each(images.detach().cpu().movedim(-3, -1).numpy(), channels, background)
        case np.ndarray():
            for picture in _whole_numbers(images):
                own = picture.shape[2]
                if own == 4 or (own, channels) == (3, 1):
                    coloured = Image.fromarray(eight_bits(picture), "RGBA" if own == 4 else "RGB")
                    yield to_array(coloured, channels=channels or 3, background=background)
                else:
                    yield np.repeat(picture, channels, axis=2) if channels and own == 1 else picture
        case _ if isinstance(images, Sequence):
            for image in images:
                yield from _each(image, channels, background)
        case _:
            raise DataError(f"{type(images).__name__}: no picture; give a path, a PIL image, an array or a tensor")


def _whole_numbers(array: np.ndarray) -> np.ndarray:
    """uint8 or uint16 [N, H, W, C] of arrays of the other forms. Raises DataError."""
    array = array[:, :, None] if array.ndim == 2 else array
    array = array[None] if array.ndim == 3 else array
    if array.ndim != 4 or array.shape[3] not in (1, 3, 4) or not array.size:
        raise DataError(f"an array of shape {list(array.shape)}; give [H, W], [H, W, C] or [N, H, W, C], C = 1, 3 or 4")
    if array.dtype.kind == "f":
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise DataError("floating-point pictures have to lie in 0..1; divide them by their maximum")
        return np.rint(array * 255).astype(np.uint8)
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype not in (np.uint8, np.uint16):
        raise DataError(f"an array of type {array.dtype}; give uint8, uint16, or floats in 0..1")
    return array


def hole_in(mask: Any, size: tuple[int, int]) -> np.ndarray:
    """bool [H, W], True = to fill, of a mask in any form: white (128 or more, True, or at least 0.5) marks the hole.

    Raises DataError for a mask that does not fit `size` (H, W), is empty or covers everything.
    """
    if isinstance(mask, str | Path):
        return read_hole(Path(mask), size)
    if isinstance(mask, torch.Tensor):
        mask = mask.detach().cpu().numpy()
    if isinstance(mask, np.ndarray):
        (values,) = _whole_numbers(np.squeeze(mask))
        mask = Image.fromarray(eight_bits(values)[:, :, 0])
    if not isinstance(mask, Image.Image):
        raise DataError(f"{type(mask).__name__}: no mask; give a path, a PIL image, an array or a tensor")
    return read_hole(mask, size)
