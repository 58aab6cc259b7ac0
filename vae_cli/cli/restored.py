"""What `inpaint`, `denoise` and `style` share: images that are written back in the form in which they came."""

import errno
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from vae_cli.cli.results import Results
from vae_cli.errors import ConfigError, DataError, VaeError, WriteError
from vae_cli.jobs import outputs
from vae_cli.jobs.events import FileDone
from vae_cli.jobs.inputs import Input
from vae_cli.printable import shell_quoted

if TYPE_CHECKING:
    from concurrent.futures import Future

    import numpy as np

    from vae_cli.checkpoint import Model
    from vae_cli.files.originals import Original

_FLOW_SHARE = 0.6
_NUM_WRITERS, _MAX_WAITING_PIXELS = 2, 1 << 22


def file_format(wanted: str, out: Path | None) -> str:
    """`keep` or a file format; an image named by --out decides it. Raises ConfigError."""
    from vae_cli.files.formats import FORMATS

    name = wanted.lower().lstrip(".")
    if name not in ("keep", *FORMATS):
        raise ConfigError(f"--format {wanted}: unknown; choose keep or one of {', '.join(FORMATS)}")
    if out is None or not outputs.is_picture(out):
        return name
    of_out = out.suffix.lower().lstrip(".")
    if name != "keep" and FORMATS[name] != FORMATS[of_out]:
        raise ConfigError(f"--format {wanted}: --out {out} says {of_out}; leave one of them out")
    return of_out


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
        firsts = outputs.picture_names(firsts, f".{file_format}")
    others = range(2, samples + 1)
    names = [[name, *(name.with_suffix(f".v{number}{name.suffix}") for number in others)] for name in firsts]
    paths = outputs.result_paths(out, folder, [name for variants in names for name in variants]) if names else []
    return [tuple(paths[start : start + samples]) for start in range(0, len(paths), samples)]


def require_flow(model: "Model", run: Path, purpose: str) -> None:
    """Raises ConfigError naming the command that trains a flow. `purpose`: what it does here."""
    if model.flow is None:
        from vae_cli.training.budget import vae_steps

        command = f"vae train --out {shell_quoted(outputs.run_folder(run))} --resume"
        training = model.config.training
        is_planned = training.steps is None or vae_steps(training, training.steps) < training.steps
        if training.flow_share == 0 or not is_planned:  # else the training was stopped before it came to the flow
            steps = max(model.facts.step + 1, round(model.facts.step / (1 - _FLOW_SHARE)))
            command += f" --set training.flow_share={_FLOW_SHARE} --steps {steps}"
        raise ConfigError(
            f"{run}: this model has no latent flow yet, and that is what {purpose}; train it with\n{command}"
        )


def marked(original: "Original", seed: int) -> "Original":
    """The same with the seed among its text chunks, for formats that have such."""
    return original.with_text("seed", str(seed))


def with_changes(
    original: "Original", before: "np.ndarray", after: "np.ndarray", background: tuple[int, int, int]
) -> "Original":
    """The original with what has changed in the whole picture, and with nothing else touched.

    before: its `display_array` on that background; after: float32 [H, W, C] in 0..255. Half-transparent pixels stay:
    what is shown of them is not their own colour. Of a grey model's change, colours take over the brightness.
    """
    import numpy as np

    steps = np.iinfo(before.dtype).max // 255
    if before.shape[2] == 1 and has_colour(original):
        brighter = after - before / np.float32(steps)
        before = original.display_array(3, background)
        after = (before / np.float32(steps) + brighter).clip(0, 255)
    on_other = original.display_array(before.shape[2], (255 - background[0], 255 - background[1], 255 - background[2]))
    is_changed = (np.rint(after * steps) != before).any(-1) & (on_other == before).all(-1)
    return original.with_fill(after, is_changed) if is_changed.any() else original


def own_colours(
    original: "Original", fill: "np.ndarray", hole: "np.ndarray", background: tuple[int, int, int]
) -> "np.ndarray":
    """A fill, float32 [H, W, 1 or 3] in 0..255 as it shall look on the background, as colours for the pixels of the
    hole, bool [H, W], that keep their alpha: what a half-transparent one shows is in part the background, which would
    count twice. Colour over a background undone: C = (shown - (1 - α) B) / α (Porter & Duff 1984, "over")."""
    import numpy as np

    from vae_cli.files.stored_values import as_grey

    if not original.has_transparency:
        return fill
    on_black, on_white = (original.display_array(1, (grey, grey, grey))[hole] for grey in (0, 255))  # [N, 1]
    through = (on_white.astype(np.float32) - on_black) / np.iinfo(on_black.dtype).max
    is_mixed = ((through > 0) & (through < 1))[:, 0]
    below = np.array([background], np.float32)
    below = below if fill.shape[2] == 3 else as_grey(below)[:, None]
    filled = fill[hole]
    filled[is_mixed] = (filled - through * below)[is_mixed] / (1 - through[is_mixed])
    result = fill.copy()
    result[hole] = filled.clip(0, 255)
    return result


def has_colour(original: "Original", hole: "np.ndarray | None" = None) -> bool:
    """Whether any pixel, outside the hole where there is one, is shown in another colour than grey."""
    shown = original.display_array(3)
    coloured = (shown != shown[:, :, :1]).any(-1)
    return bool((coloured if hole is None else coloured & ~hole).any())


class Writers:
    """Results encoded and written while the next ones are computed, with few pixels waiting. What became of each image
    is recorded in the order in which it was handed over here, whether there was something to write or not."""

    def __init__(self, results: Results) -> None:
        from concurrent.futures import ThreadPoolExecutor

        self.results = results
        self._pool = ThreadPoolExecutor(_NUM_WRITERS)
        self._waiting: deque[_Turn] = deque()
        self._remarks: dict[tuple[str, str], None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        failures = []
        with self._pool:  # what has begun is finished and recorded, also after Ctrl-C and when the disk is full
            while self._waiting:
                try:
                    self._waiting.popleft().record()
                except VaeError as failure:
                    failures.append(failure)
        if failures and error is None:
            raise failures[0]

    def add(self, name: str, target: Path, num_pixels: int, write: Callable[[], tuple[str, ...]], **facts: Any) -> None:
        """`write` runs in a thread and returns remarks about what the file's format could not keep.

        A DataError of it is recorded as the image's failure, and so is a name that is too long for the disk; other
        errors are raised, here or later.
        """
        written = self._pool.submit(write)
        self._queue(_Turn(num_pixels, written, partial(self._record, name, target, written, facts)))

    def failed(self, name: str, reason: str) -> None:
        """An image that could not be used."""
        self._queue(_Turn(0, None, partial(self.results.take, FileDone(name, "failed", reason=reason))))

    def present(self, name: str, target: Path) -> None:
        """A result that was there already and was to be left alone."""
        self._queue(_Turn(0, None, partial(self.results.take, FileDone(name, "skipped", target, "exists"))))

    def unneeded(self, name: str, reason: str) -> None:
        """An image that is well as it is."""
        self._queue(_Turn(0, None, partial(self.results.take, FileDone(name, "skipped", reason=reason))))

    def remark(self, name: str, text: str) -> None:
        """Something to be said once of all images that it is true of."""
        self._remarks[name, text] = None

    def remark_on_grey(
        self, model: "Model", name: str, original: "Original", effect: str, hole: "np.ndarray | None" = None
    ) -> None:
        """A remark on what it means that a grey model is given an image which has colours, looked at outside `hole`."""
        if model.channels == 1 and has_colour(original, hole):
            self.remark(name, f"in colour, and the model is grey: {effect}")

    def tell_remarks(self, num_images: int) -> None:
        """Says each remark with the number of its images among all those of the command."""
        for text, count in Counter(text for _, text in self._remarks).items():
            self.results.messages.note(f"note: {text} ({count} of {num_images} images)")

    def _record(self, name: str, target: Path, written: "Future[tuple[str, ...]]", facts: dict[str, Any]) -> None:
        try:
            remarks = written.result()
        except (DataError, WriteError) as error:
            if isinstance(error, WriteError) and not _is_about_name(error):
                raise
            self.results.take(FileDone(name, "failed", reason=str(error)))
            return
        for text in remarks:
            self.remark(name, text)
        self.results.take(FileDone(name, "ok", target, sample=facts.pop("sample", None), facts=facts))

    def _queue(self, turn: "_Turn") -> None:
        self._waiting.append(turn)
        while self._waiting and (self._waiting[0].is_ready or self._num_pixels > _MAX_WAITING_PIXELS):
            self._waiting.popleft().record()

    @property
    def _num_pixels(self) -> int:
        return sum(turn.num_pixels for turn in self._waiting)


def _is_about_name(error: WriteError) -> bool:
    """Whether only this file cannot be written: `a.v2.tif` is longer than `a.tif`."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.ENAMETOOLONG


@dataclass(frozen=True)
class _Turn:
    """An image whose outcome is to be recorded."""

    num_pixels: int
    written: "Future[tuple[str, ...]] | None"
    """None where there is nothing to write."""
    record: Callable[[], None]
    """Waits until the file is written."""

    @property
    def is_ready(self) -> bool:
        return self.written is None or self.written.done()
