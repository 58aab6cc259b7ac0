"""A page to draw and correct masks on: pictures with the masks that there are, and a brush."""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from vae_cli.atomic import open_regular, read_bounded
from vae_cli.drawing.page import page
from vae_cli.errors import DataError
from vae_cli.files.new_pictures import encoded, to_image
from vae_cli.files.originals import open_original
from vae_cli.images.bad_files import bad_bytes_are_data_errors
from vae_cli.images.modes import eight_bits
from vae_cli.images.orientation import orientation_of

MAX_BYTES = 64 << 20
"""Of a file that is put into a page as it is."""
_KINDS = {"JPEG": "jpeg", "MPO": "jpeg", "PNG": "png", "WEBP": "webp", "GIF": "gif"}
_MAX_JPEG_SIDE = 65500


class MaskPicture(NamedTuple):
    """A picture of a page. file: the path of its mask in a folder of masks. size: (H, W) as displayed, of the mask,
    too. content: a file of the format `image/<kind>`. mask: of `packed`, empty without a hole."""

    name: str
    file: str
    size: tuple[int, int]
    kind: str
    content: bytes
    mask: bytes
    note: str = ""


def mask_page(
    title: str, pictures: Iterable[MaskPicture], zip_name: str, command: str, others: Sequence[tuple[str, str]] = ()
) -> Iterator[str]:
    """The page piece by piece; a picture is taken only when the page so far has been given out.

    zip_name: of the file of all masks, and command: what takes it. others: names and addresses of further pages.
    """
    values = {"title": title, "pictures": pictures, "zip_name": zip_name, "command": command, "others": others}
    return page("masks.html.j2", **values)


def packed(hole: np.ndarray) -> bytes:
    """The pixels of a PNG of one bit, bool [H, W]: rows that begin with a zero, deflated. Empty without a hole."""
    return zlib.compress(np.pad(np.packbits(hole, axis=1), ((0, 0), (1, 0))).tobytes()) if hole.any() else b""


def browser_kind(path: Path) -> str | None:
    """What browsers call the format of a file whose picture they show as we do; None of all other files."""
    with suppress(DataError), bad_bytes_are_data_errors(), open_regular(path) as file:
        with Image.open(file, formats=("JPEG", "PNG", "WEBP", "GIF")) as image:
            kind = _KINDS[str(image.format)]
            if kind == "jpeg":  # browsers turn them as EXIF says, and show inks differently
                is_same = image.mode in ("L", "RGB")
            else:
                is_same = not getattr(image, "is_animated", False) and orientation_of(image, header_only=True) == 1
        if is_same and path.stat().st_size <= MAX_BYTES:
            return kind
    return None


def browser_file(path: Path) -> tuple[str, bytes]:
    """The kind and the content of a file that browsers show: itself, or its first page made anew at full size.

    Raises DataError.
    """
    if kind := browser_kind(path):
        with bad_bytes_are_data_errors():
            return kind, read_bounded(path, MAX_BYTES)
    image = to_image(eight_bits(open_original(path).display_array(3)))
    if max(image.size) > _MAX_JPEG_SIDE:
        return "png", encoded(image, "PNG")
    return "jpeg", encoded(image, "JPEG", quality=92, subsampling=0)
