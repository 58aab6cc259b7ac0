"""Where a job stands, as a terminal, a notebook or a log shows it: what goes on, per cent, time left and rate."""

import contextlib
import io
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vae_cli.jobs.events import Advanced

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType

    from vae_cli.jobs.train import TrainingEvent

LEAST_BAR, MOST_BAR = 8, 40  # columns
NOTEBOOK_WIDTH, SECONDS_BETWEEN_UPDATES = 100, 0.5


@dataclass(frozen=True)
class Standing:
    """How far a part of a job is: fraction 0 to 1, seconds taken, seconds left (None = unknown), a rate such as `12
    images/s`, and what has been reached, in words."""

    what: str
    fraction: float
    seconds: float
    seconds_left: float | None
    rate: str
    figures: tuple[str, ...] = ()
    at: float = field(default_factory=time.monotonic, compare=False)

    def numbers(self) -> list[str]:
        """Per cent, time left and rate; at the end the time that it has taken."""
        left = None if self.seconds_left is None else self.seconds_left - (time.monotonic() - self.at)
        duration = clock(self.seconds) if left is None or self.fraction >= 1 else f"{clock(max(0.0, left))} left"
        return [f"{self.fraction:.0%}", duration, self.rate]

    def __str__(self) -> str:
        """A line of a log."""
        return f"{self.what}: {', '.join((*self.numbers(), *self.figures))}"

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "Iterator[RenderableType]":
        """A line, and one more for figures that have no room in it."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        what, numbers = Text(self.what), Text("  ".join(self.numbers()))
        figures = Text("   ".join(self.figures), "cyan", no_wrap=True, overflow="ellipsis")
        room = options.max_width - numbers.cell_len - 4
        bar = min(MOST_BAR, max(LEAST_BAR, room - what.cell_len))
        what.truncate(max(1, room - bar), overflow="ellipsis")
        has_room = room - bar - what.cell_len >= figures.cell_len + 2
        line = Table.grid(padding=(0, 2, 0, 0))
        line.add_row(what, ProgressBar(1.0, self.fraction, bar), numbers, *([figures] if has_room else []))
        yield line
        if figures and not has_room:
            yield figures


class Standings:
    """Where a job stands after each of its events, and after those of a training."""

    def __init__(self) -> None:
        self._what, self._started = "", time.monotonic()
        self._figures: dict[str, float] = {}

    def counted(self, event: Advanced) -> Standing:
        """So many of so many."""
        if event.what != self._what:
            self._started = time.monotonic()
        self._what = "" if event.is_over else event.what
        seconds, done, total = time.monotonic() - self._started, event.done, event.total
        speed = done / max(seconds, 1e-9)
        rate = f"{1 / speed:.1f} s each" if 0 < speed < 1 else f"{speed:.1f} {event.unit}/s"
        left = (total - done) / speed if speed else None
        share = done / total if total else 1.0
        return Standing(event.what, share, seconds, left, rate, (f"{done}/{total} {event.unit}",))

    def trained(self, event: "TrainingEvent") -> Standing | None:
        """None for an event that does not tell."""
        from vae_cli.training.events import StepLogged

        if isinstance(event, Advanced):
            return self.counted(event)
        if not isinstance(event, StepLogged):
            return None
        self._figures |= event.figures
        known, figures = self._figures, []
        if "psnr_db" in known:
            figures.append(f"reconstructions {known['psnr_db']:.1f} dB")
        if "explained_variance" in known:
            figures.append(f"structure of samples {max(0.0, known['explained_variance']):.0%}")
        elif event.phase == "vae":
            figures.append("samples come after the VAE")
        what, rate = {"vae": "VAE"}.get(event.phase, event.phase), f"{event.images_per_second:.0f} images/s"
        seconds = time.monotonic() - self._started
        return Standing(what, event.run_fraction, seconds, event.seconds_left, rate, tuple(figures))


Show = Callable[[Standing], None]


@contextlib.contextmanager
def live(console: "Console") -> Iterator[Show]:
    """Draws the newest standing again and again at one place, in a notebook too; on a terminal it goes at the end."""
    if console.is_jupyter:
        yield from _in_notebook()
        return
    from rich.live import Live

    newest: Standing | None = None
    # what goes to a pipe must not be led to the terminal
    with Live(console=console, get_renderable=lambda: newest or "", transient=True,
              redirect_stdout=sys.stdout.isatty()) as drawn:  # fmt: skip

        def show(standing: Standing) -> None:
            nonlocal newest
            is_new, newest = newest is None or newest.what != standing.what, standing
            if is_new:  # however soon the part will be over
                drawn.refresh()

        yield show


def _in_notebook() -> Iterator[Show]:
    """Without the widgets that Rich would need, which many notebooks lack."""
    from IPython.display import display
    from rich.console import Console

    cell, drawn_at, newest = display({"text/plain": ""}, raw=True, display_id=True), 0.0, None

    def draw() -> None:
        console = Console(file=io.StringIO(), width=NOTEBOOK_WIDTH, force_jupyter=False, force_terminal=False)
        with console.capture() as capture:
            console.print(newest)
        cell.update({"text/plain": capture.get().rstrip()}, raw=True)

    def show(standing: Standing) -> None:
        nonlocal drawn_at, newest
        newest = standing
        if time.monotonic() - drawn_at >= SECONDS_BETWEEN_UPDATES:
            drawn_at = time.monotonic()
            draw()

    yield show
    if newest is not None:
        draw()


def clock(seconds: float) -> str:
    """Minutes and seconds, before them hours where there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
