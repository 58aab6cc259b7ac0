"""The end of a training: the best weights measured, drawn and described."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vae_cli.cli import advice
from vae_cli.cli.progress import Messages
from vae_cli.errors import VaeError
from vae_cli.jobs.report import NAME, write_report
from vae_cli.printable import printable

if TYPE_CHECKING:
    from vae_cli.checkpoint import Model
    from vae_cli.training.prepare import Prepared
    from vae_cli.training.run_state import RunState

VALIDATED_IMAGES = 1000
"""The summary measures at most this many held-out images."""


def conclude(
    folder: Path, model: "Model", prepared: "Prepared", messages: Messages, *, progress: "RunState"
) -> dict[str, Any]:
    """Measures the model, keeps the figures in metrics.jsonl, draws the final pictures and writes the page.

    progress: where training ended, mostly after the step of the best weights.
    Returns the figures, as `tasks.evaluate`. Raises WriteError; a page that cannot be written is only a warning.
    """
    from vae_cli.drawing import previews
    from vae_cli.drawing.run_page import MEASURED
    from vae_cli.training.run_folder import MetricsLog

    messages.note("measuring the best weights, drawing pictures …")
    last_step, figures = progress.step, _measured(model, prepared)
    log = MetricsLog(folder, first_step=last_step)
    plain = {name: value for name, value in figures.items() if _is_plain(value)}
    log.write(last_step, MEASURED, {"weights_step": model.facts.step, **plain})
    log.close()
    pictures = previews.draw_final(model, prepared.validation, folder / "previews")
    messages.note(f"pictures: {', '.join(printable(path) for path in pictures)}")
    try:
        write_report(folder, folder / NAME)
        messages.note(f"all of it on one page: {printable(folder / NAME)}")
    except VaeError as error:
        messages.warn(str(error))
    if line := advice.few_updates_line(progress.vae_steps):
        messages.warn(line)
    is_warm = progress.vae_steps > prepared.config.objective.kl_warmup_steps  # before, silent units mean nothing
    if is_warm and (line := advice.few_active_line(figures, prepared.config)):
        messages.warn(line)
    return figures


def is_concluded(folder: Path, last_step: int) -> bool:
    """Whether that was done: a kill in the middle of it leaves no figures of the last step, or no page after them.

    A copy that has lost the files' times may be concluded once more, which changes nothing.
    """
    from vae_cli.drawing.run_page import MEASURED
    from vae_cli.training.run_folder import METRICS, last_metrics

    page, last = folder / NAME, last_metrics(folder)
    is_measured = last.get("phase") == MEASURED and last.get("step") == last_step
    return is_measured and page.exists() and page.stat().st_mtime_ns >= (folder / METRICS).stat().st_mtime_ns


def _measured(model: "Model", prepared: "Prepared") -> dict[str, Any]:
    import numpy as np

    from vae_cli.tasks.evaluate import evaluate

    count = len(prepared.validation.ids)
    chosen = np.unique(np.linspace(0, count - 1, min(count, VALIDATED_IMAGES)).astype(int))
    return evaluate(model, prepared.validation.pixels[chosen], labels=prepared.validation.labels[chosen])


def _is_plain(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
