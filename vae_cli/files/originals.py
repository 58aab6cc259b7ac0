"""Images as the user stored them, written back with nothing changed but the pixels of a hole."""

from pathlib import Path
from typing import Protocol, Self

import numpy as np
from PIL import Image

from vae_cli.errors import DataError
from vae_cli.files import changed_in_place
from vae_cli.files.pillow_original import open_with_pillow
from vae_cli.images.colours import WHITE, Colour
from vae_cli.images.decode import open_image, probe


class Original(Protocol):
    """The first frame of an image file as stored: not rotated, in its own mode and depth, with its metadata."""

    @property
    def path(self) -> Path: ...

    @property
    def format(self) -> str:
        """Pillow's name for the file's format."""

    @property
    def has_transparency(self) -> bool:
        """Whether alpha, a palette or a key colour lets a background show."""

    @property
    def display_size(self) -> tuple[int, int]:
        """(height, width) after EXIF orientation."""

    def display_array(self, channels: int, background: Colour = WHITE) -> np.ndarray:
        """[H, W, channels] as displayed: uint8, or uint16 where the file has 16 bits."""

    def with_fill(self, fill: np.ndarray, hole: np.ndarray, *, opaque_hole: bool = False) -> Self:
        """A copy whose hole pixels show `fill`; every other pixel keeps its stored value.

        fill: float32 [H, W, 1 or 3] in 0..255, hole: bool [H, W], both as displayed. Alpha is kept, or opaque in the
        hole. Raises ValueError when sizes differ.
        """

    def with_text(self, key: str, value: str) -> Self:
        """The same with one more text chunk, in formats that have such."""

    def save(self, path: Path, *, format: str = "keep", overwrite: bool = False) -> tuple[str, ...]:
        """Write the image atomically, by default in the format it came in; returns remarks for the user.

        Raises ConfigError when path exists or the format is unknown, DataError when the format cannot hold the image,
        WriteError when the disk refuses.
        """


def open_original(path: Path) -> Original:
    """Read an image file as stored. Raises DataError naming the file when it cannot be kept bit for bit."""
    try:
        return changed_in_place.open_in_place(path) or open_with_pillow(path)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def size_of(path: Path) -> tuple[int, int]:
    """(height, width) as displayed of what `open_original` opens, from the header alone. Raises DataError."""
    return changed_in_place.size_in_place(path) or probe(path)[1]


def shown_image(path: Path) -> Image.Image:
    """What `open_original` opens, as displayed and with at most 8 bits of each colour. Raises DataError."""
    original = changed_in_place.open_in_place(path)
    return original.samples.reduced() if original else open_image(path)
