"""Where results go, and writing them: never over a file that exists, never half."""

import io
import math
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from vae_cli import __version__
from vae_cli.data.scan import HEIF_SUFFIXES, IMAGE_SUFFIXES
from vae_cli.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

ANIMATION_SUFFIXES = frozenset((".gif", ".webp"))
_LIKE_LOSSLESS: dict[str, dict[str, Any]] = {
    ".jpg": {"quality": 95},
    ".jpeg": {"quality": 95},
    ".webp": {"lossless": True},
}
GAP_PIXELS = 2


def is_picture(out: Path | None) -> bool:
    """Whether `--out` names one image file; anything else is a folder. Raises ConfigError for kinds only read."""
    if out is not None and out.suffix.lower() in HEIF_SUFFIXES and not out.is_dir():
        raise ConfigError(f"--out {out}: HEIC images cannot be written; give another suffix")
    return out is not None and out.suffix.lower() in IMAGE_SUFFIXES and not out.is_dir()


def default_folder(first_input: Path, command: str) -> Path:
    """`<INPUT>-<command>` beside the first INPUT."""
    path = first_input if first_input.name not in ("", "..") else first_input.resolve()
    return path.with_name(f"{path.name}-{command}")


def run_folder(run: Path) -> Path:
    """The folder of a run from whatever names it: itself, one of its checkpoints or a weights file."""
    folder = run if run.is_dir() else run.parent
    return folder.parent.parent if folder.parent.name == "checkpoints" else folder


def result_paths(out: Path | None, folder: Path, names: Sequence[PurePosixPath]) -> list[Path]:
    """Where `names` are written: in `--out`, else in `folder`. Raises ConfigError for one file and several results."""
    if out is not None and is_picture(out):
        if len(names) != 1:
            raise ConfigError(f"--out {out}: one file for {len(names)} results; give a folder")
        return [out]
    return [(out or folder) / name for name in names]


def picture_names(sources: Sequence[PurePosixPath], suffix: str = ".png") -> list[PurePosixPath]:
    """Each source with `suffix` instead of its own; sources with one stem keep theirs (`a.jpg.png`)."""
    names = [source.with_suffix(suffix) for source in sources]
    while True:
        clashing = _repeated(names)
        longer = [
            source.with_name(source.name + suffix) if key_of(name) in clashing else name
            for source, name in zip(sources, names, strict=True)
        ]
        if longer == names:
            return names
        names = longer


def is_there(path: Path) -> bool:
    """Whether a result exists; a name too long for the disk, which Path.exists stumbles over, names none."""
    return os.path.exists(path)


def refuse_existing(paths: Sequence[Path], *, overwrite: bool) -> None:
    """Raises ConfigError when a result exists (unless it may be replaced) or two results have one name."""
    twice = _repeated(paths)
    if twice:
        first = next(path for path in paths if key_of(path) in twice)
        raise ConfigError(f"{first}: two inputs would be written to this file; give each once, or run them one by one")
    existing = [path for path in paths if os.path.lexists(path)]
    folders = [path for path in existing if path.is_dir()]
    if folders:
        raise ConfigError(f"{folders[0]}: is a folder where a file should go; choose another --out")
    if existing and not overwrite:
        more = f" (and {len(existing) - 1} more)" if len(existing) > 1 else ""
        raise ConfigError(f"{existing[0]}: exists{more}; use --overwrite or another --out")
    for parent in {path.parent for path in paths}:
        blocking = next((folder for folder in (parent, *parent.parents) if os.path.lexists(folder)), None)
        if blocking is not None and not blocking.is_dir():
            raise ConfigError(f"{blocking}: is a file where a folder should be; choose another --out")


def save_picture(pixels: "np.ndarray", path: Path, *, seed: int | None = None) -> None:
    """Writes uint8 [H, W, C] in the format of the suffix; a PNG says in its text chunks where it comes from.

    Raises ConfigError when the format cannot hold it, WriteError when the disk refuses.
    """
    suffix = path.suffix.lower()
    options = {"pnginfo": _png_text(seed)} if suffix == ".png" else _LIKE_LOSSLESS.get(suffix, {})
    _save(to_image(pixels), path, options)


def save_animation(frames: Iterable["np.ndarray"], path: Path, *, frames_per_second: float) -> None:
    """Writes frames uint8 [H, W, C] as an endless GIF or WebP. Raises ConfigError, WriteError."""
    first, *rest = (to_image(frame) for frame in frames)
    duration = round(1000 / frames_per_second)
    options = {"save_all": True, "append_images": rest, "duration": duration, "loop": 0}
    _save(first, path, options | _LIKE_LOSSLESS.get(path.suffix.lower(), {}))


def _save(image: "Image.Image", path: Path, options: dict[str, Any]) -> None:
    from PIL import Image

    from vae_cli.data.atomic import write_atomically

    file_format = Image.registered_extensions()[path.suffix.lower()]
    content = io.BytesIO()
    try:
        image.save(content, format=file_format, **options)
    except (OSError, ValueError, SystemError) as error:  # the encoder's; the disk comes later
        raise ConfigError(f"{path}: cannot be stored as {file_format} ({error}); try another suffix") from error
    write_atomically(path, content.getbuffer())


def to_image(pixels: "np.ndarray") -> "Image.Image":
    """An image of mode L or RGB from uint8 [H, W, C]."""
    from PIL import Image

    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def grid(images: Sequence["np.ndarray"], num_columns: int | None = None) -> "np.ndarray":
    """One picture of equally large uint8 [H, W, C] images, row by row; nearly square unless columns are given."""
    import numpy as np

    columns = min(num_columns or math.ceil(math.sqrt(len(images))), len(images))
    rows = math.ceil(len(images) / columns)
    height, width, channels = images[0].shape
    down, right = height + GAP_PIXELS, width + GAP_PIXELS
    sheet = np.full((rows * down - GAP_PIXELS, columns * right - GAP_PIXELS, channels), 255, np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * down, index % columns * right
        sheet[top : top + height, left : left + width] = image
    return sheet


def _png_text(seed: int | None) -> "PngInfo":
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Software", f"vae {__version__}")
    if seed is not None:
        info.add_text("seed", str(seed))
    return info


def key_of(path: Path | PurePosixPath) -> str:
    """Equal for names that are one file on this system's own disks: those of Windows and macOS ignore case."""
    return str(path).casefold() if sys.platform in ("win32", "darwin") else str(path)


def _repeated(paths: Sequence[Path] | Sequence[PurePosixPath]) -> set[str]:
    seen: set[str] = set()
    repeated: set[str] = set()
    for key in map(key_of, paths):
        (repeated if key in seen else seen).add(key)
    return repeated
