"""Where results go: the paths that a job will write, and never over a file that exists."""

import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path, PurePosixPath

from vae_cli.errors import ConfigError
from vae_cli.images.image_ref import HEIF_SUFFIXES, IMAGE_SUFFIXES
from vae_cli.locks import claim
from vae_cli.pretrained import is_photo, located

NUM_IMAGES = 64
"""Drawn unless a number is given."""


def is_picture(out: Path | None) -> bool:
    """Whether `--out` names one image file; anything else is a folder. Raises ConfigError for kinds only read."""
    if out is None or out.is_dir():
        return False
    if out.suffix.lower() in HEIF_SUFFIXES:
        raise ConfigError(f"--out {out}: HEIC images cannot be written; give another suffix")
    return out.suffix.lower() in IMAGE_SUFFIXES


def require_suffix(option: str, path: Path | None, *suffixes: str) -> None:
    """Raises ConfigError for a file whose kind `option` does not write; None is no file."""
    if path is not None and path.suffix.lower() not in suffixes:
        raise ConfigError(f"{option} {path}: give a file that ends in {' or '.join(suffixes)}")


def require_page(path: Path, option: str) -> None:
    """Raises ConfigError for a name that is no web page's."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"{option} {path}: this becomes a web page; give it a name such as {path.stem}.html")


def default_folder(first_input: Path, command: str) -> Path:
    """`<INPUT>-<command>` beside the first INPUT."""
    path = first_input if first_input.name not in ("", "..") else first_input.resolve()
    return path.with_name(f"{path.name}-{command}")


def run_folder(run: Path) -> Path:
    """The folder of a run from whatever names it: itself, one of its checkpoints or a weights file."""
    run = located(run)
    folder = run if run.is_dir() else run.parent
    return folder.parent.parent if folder.parent.name == "checkpoints" else folder


def own_folder(run: Path, results: str) -> Path:
    """Where a model's results go that belong to no INPUT: into its run folder; `photo` has none to write to."""
    return Path(f"{run}-{results}") if is_photo(run) else run_folder(run) / results


def result_paths(out: Path | None, folder: Path, names: Sequence[PurePosixPath]) -> list[Path]:
    """Where `names` are written: in `--out`, else in `folder`. Raises ConfigError for one file and several results."""
    if out is not None and is_picture(out):
        if len(names) != 1:
            raise ConfigError(f"--out {out}: one file for {len(names)} results; give a folder")
        return [out]
    return [(out or folder) / name for name in names]


@dataclass(frozen=True)
class Target:
    """Where pictures go that a model makes: to the one file that `out` names, else numbered to `out` or the folder;
    so many of them are made before the first is written. scale: side of the square that a pixel becomes."""

    out: Path | None
    folder: Path
    overwrite: bool = False
    batch_size: int = 64
    scale: int = 1

    @property
    def is_one_file(self) -> bool:
        return is_picture(self.out)

    def paths(self, count: int, below: Sequence[str] = ("",)) -> list[Path]:
        """One path, else `count` of them below each of these folders. Raises ConfigError when one exists."""
        names = [PurePosixPath(folder, f"{number:06d}.png") for folder, number in product(below, range(count))]
        paths = result_paths(self.out, self.folder, names[:1] if self.is_one_file else names)
        refuse_existing(paths, overwrite=self.overwrite)
        return paths


def picture_names(sources: Sequence[PurePosixPath], suffix: str = ".png") -> list[PurePosixPath]:
    """Each source with `suffix` instead of its own; sources with one stem keep theirs (`a.jpg.png`)."""
    names = [source.with_suffix(suffix) for source in sources]
    while True:
        clashing = _repeated(names)
        longer = [source.with_name(source.name + suffix) if key_of(name) in clashing else name
                  for source, name in zip(sources, names, strict=True)]  # fmt: skip
        if longer == names:
            return names
        names = longer


def refuse_existing(paths: Sequence[Path], *, overwrite: bool) -> None:
    """Raises ConfigError when a result exists (unless it may be replaced), two results have one name, or another
    command is writing one of them."""
    if twice := _repeated(paths):
        first = next(path for path in paths if key_of(path) in twice)
        raise ConfigError(f"{first}: two inputs would be written to this file; give each once, or run them one by one")
    existing = [path for path in paths if os.path.lexists(path)]
    if folders := [path for path in existing if path.is_dir()]:
        raise ConfigError(f"{folders[0]}: is a folder where a file should go; choose another --out")
    if existing and not overwrite:
        more = f" (and {len(existing) - 1} more)" if len(existing) > 1 else ""
        raise ConfigError(f"{existing[0]}: exists{more}; use --overwrite or another --out")
    for parent in {path.parent for path in paths}:
        blocking = next((folder for folder in (parent, *parent.parents) if os.path.lexists(folder)), None)
        if blocking is not None and not blocking.is_dir():
            raise ConfigError(f"{blocking}: is a file where a folder should be; choose another --out")
    if taken := claim(paths):
        raise ConfigError(f"{taken}: another vae command is writing there; wait until it ends, or choose another --out")


def key_of(path: Path | PurePosixPath) -> str:
    """Equal for names that are one file on this system's own disks: those of Windows and macOS ignore case."""
    return str(path).casefold() if sys.platform in ("win32", "darwin") else str(path)


def _repeated(paths: Sequence[Path] | Sequence[PurePosixPath]) -> set[str]:
    return {key for key, count in Counter(map(key_of, paths)).items() if count > 1}
