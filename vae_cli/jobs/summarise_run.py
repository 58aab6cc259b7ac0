"""The end of a training: the best weights measured, drawn and described on one page."""

import math
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from vae_cli.checkpoint import Model
from vae_cli.drawing import previews
from vae_cli.errors import VaeError
from vae_cli.jobs.events import Remark
from vae_cli.jobs.model_card import write_card
from vae_cli.jobs.model_warnings import few_active_line, few_flow_updates_line, few_updates_line
from vae_cli.jobs.report import NAME, write_report
from vae_cli.tasks.evaluate import compare_looks, evaluate
from vae_cli.tasks.sample import sample
from vae_cli.training.run_folder import METRICS, MetricsLog, last_metrics
from vae_cli.training.run_record import MEASURED
from vae_cli.training.training_run import TrainingRun

MAX_MEASURED = 1000
"""Held-out images that are measured at most."""


def summarise_run(run: TrainingRun, model: Model) -> Generator[Remark, None, dict[str, Any]]:
    """Measures the model, keeps the figures in metrics.jsonl, draws the final pictures and writes card and page.

    Returns `validation`, as `tasks.evaluate`, and `samples`, as `compare_looks`. Raises WriteError; a page
    that cannot be written is only a warning.
    """
    yield Remark("measuring the best weights, drawing pictures …")
    folder, state, images = run.folder, run.state, run.inputs.validation
    rows = np.unique(np.linspace(0, len(images.ids) - 1, min(len(images.ids), MAX_MEASURED)).astype(int))
    figures = evaluate(model, images.pixels[rows], labels=images.labels[rows])
    drawn = list(sample(model, previews.NUM_SAMPLES))
    samples = compare_looks(np.stack(drawn), images.pixels[rows], run.inputs.train.pixels)
    shares = {} if model.flow is None else {"fill_share": model.flow.fill_share}
    plain = {name: value for name, value in figures.items() if isinstance(value, int | float) and math.isfinite(value)}
    with closing(MetricsLog(folder, first_step=state.step)) as log:
        sizes = {"weights_step": model.facts.step, "parameters": model.num_parameters}
        looks = {f"samples_{name}": value for name, value in samples.items()}
        log.write(state.step, MEASURED, {**sizes, **shares, **plain, **looks})
    previews.draw_final(model, images, folder / "previews", drawn)
    try:
        write_card(folder, folder)  # before the page, which is what tells that all was done
        write_report(folder, folder / NAME)
    except VaeError as error:
        yield Remark(str(error), "warning")
    config = run.inputs.config
    if config.training.init == "none" and (line := few_updates_line(state.vae_steps)):
        yield Remark(line, "warning")
    if line := few_flow_updates_line(state.step - state.vae_steps, config):
        yield Remark(line, "warning")
    is_warm = state.vae_steps > model.config.objective.kl_warmup_steps  # before, inactive units mean nothing
    if is_warm and (line := few_active_line(figures, model.config)):
        yield Remark(line, "warning")
    return {"validation": figures, "samples": samples}


def is_summarised(folder: Path, last_step: int) -> bool:
    """Whether that was done: a kill in the middle of it leaves no figures of the last step, or no page after them.

    A copy that has lost the files' times may be summarised once more, which changes nothing.
    """
    page, last = folder / NAME, last_metrics(folder)
    is_measured = last.get("phase") == MEASURED and last.get("step") == last_step
    return is_measured and page.exists() and page.stat().st_mtime_ns >= (folder / METRICS).stat().st_mtime_ns
