"""What `inpaint`, `denoise` and `style` share: images that are written back in the form in which they came."""

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from vae_cli.cli import output
from vae_cli.cli.inputs import Input
from vae_cli.errors import ConfigError, VaeError

if TYPE_CHECKING:
    from concurrent.futures import Future

    import numpy as np

    from vae_cli.data.originals import AnyOriginal
    from vae_cli.training.checkpoint import LoadedModel

    Written = Future[tuple[str, ...]]
    """Remarks about what a file's format could not keep, or the error that kept it from being written."""

_FLOW_SHARE = 0.6
_NUM_WRITERS, _MAX_WAITING_PIXELS = 2, 1 << 22


def file_format(wanted: str, out: Path | None) -> str:
    """`keep` or a file format; an image named by --out decides it. Raises ConfigError."""
    from vae_cli.data.original_files import FORMATS

    name = wanted.lower().lstrip(".")
    if name not in ("keep", *FORMATS):
        raise ConfigError(f"--format {wanted}: unknown; choose keep or one of {', '.join(FORMATS)}")
    if out is not None and output.is_picture(out):
        return out.suffix.lower().lstrip(".")
    return name


def refuse_zips(items: Sequence[Input]) -> None:
    """Raises ConfigError for an image inside a zip."""
    zipped = next((item for item in items if item.ref.member is not None), None)
    if zipped is not None:
        raise ConfigError(f"{zipped.ref.path}: results keep their input's format, which a zip cannot take; unpack it")


def target_paths(
    items: Sequence[Input], out: Path | None, folder: Path, *, file_format: str, samples: int
) -> list[tuple[Path, ...]]:
    """For each image where its results go: `a.tif`, `a.v2.tif`, `a.v3.tif`. Raises ConfigError."""
    firsts = [item.relative for item in items]
    if file_format != "keep":
        firsts = output.picture_names(firsts, f".{file_format}")
    others = range(2, samples + 1)
    names = [[name, *(name.with_suffix(f".v{number}{name.suffix}") for number in others)] for name in firsts]
    paths = output.result_paths(out, folder, [name for variants in names for name in variants]) if names else []
    return [tuple(paths[start : start + samples]) for start in range(0, len(paths), samples)]


def require_flow(model: "LoadedModel", run: Path, purpose: str) -> None:
    """Raises ConfigError naming the command that trains a flow. `purpose`: what it does here."""
    if model.flow is None:
        steps = round(model.step / (1 - _FLOW_SHARE))
        raise ConfigError(
            f"{run}: this model has no latent flow yet, and that is what {purpose}; train it with\n"
            f"vae train --out {output.run_folder(run)} --resume --set training.flow_share={_FLOW_SHARE} --steps {steps}"
        )


def marked(original: "AnyOriginal", seed: int) -> "AnyOriginal":
    """The same with the seed among its text chunks, for formats that have such."""
    return original.with_text("seed", str(seed))


def with_changes(
    original: "AnyOriginal", before: "np.ndarray", after: "np.ndarray", background: tuple[int, int, int]
) -> "AnyOriginal":
    """The original with what has changed in the whole picture, and with nothing else touched.

    before: its `display_array` on that background; after: float32 [H, W, C] in 0..255. Half-transparent pixels stay:
    what is shown of them is not their own colour.
    """
    import numpy as np

    steps = np.iinfo(before.dtype).max // 255
    on_other = original.display_array(before.shape[2], (255 - background[0], 255 - background[1], 255 - background[2]))
    is_changed = (np.rint(after * steps) != before).any(-1) & (on_other == before).all(-1)
    return original.with_fill(after, is_changed) if is_changed.any() else original


class Writers:
    """Results encoded and written while the next ones are computed, with few pixels waiting; told of in their order."""

    def __init__(self) -> None:
        from concurrent.futures import ThreadPoolExecutor

        self._pool = ThreadPoolExecutor(_NUM_WRITERS)
        self._waiting: deque[tuple[int, Written, Callable[[Written], None]]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        failures = []
        with self._pool:  # what has begun is finished and told of, also after Ctrl-C and when the disk is full
            while self._waiting:
                try:
                    self._tell()
                except VaeError as failure:
                    failures.append(failure)
        if failures and error is None:
            raise failures[0]

    def add(
        self,
        num_pixels: int,
        write: Callable[[], tuple[str, ...]],
        tell: "Callable[[Written], None]",
    ) -> None:
        """`write` runs in a thread; `tell` gets its remarks, or its error, here and later."""
        self._waiting.append((num_pixels, self._pool.submit(write), tell))
        while self._waiting and (self._waiting[0][1].done() or self._num_pixels > _MAX_WAITING_PIXELS):
            self._tell()

    @property
    def _num_pixels(self) -> int:
        return sum(pixels for pixels, *_ in self._waiting)

    def _tell(self) -> None:
        _, future, tell = self._waiting.popleft()
        tell(future)
