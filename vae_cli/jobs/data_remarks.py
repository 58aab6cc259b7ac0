"""What is said of the images that a training reads."""

from collections.abc import Iterator

from vae_cli.jobs.events import Remark
from vae_cli.jobs.model_warnings import few_images_line
from vae_cli.printable import printable
from vae_cli.training.inputs import TrainingInputs

MAX_NAMED = 5  # skipped files


def skipped_remarks(inputs: TrainingInputs) -> Iterator[Remark]:
    """What was skipped."""
    for item in inputs.skipped[:MAX_NAMED]:
        yield Remark(f"skipped {printable(item.id)}: {printable(item.reason)}", "warning")
    if (more := len(inputs.skipped) - MAX_NAMED) > 0:
        yield Remark(f"skipped {more} more files; data.json in the run names them all", "warning")


def data_remarks(inputs: TrainingInputs) -> Iterator[Remark]:
    """What the images made of the settings, and whether they are few."""
    yield from map(Remark, inputs.notes)
    if line := few_images_line(len(inputs.train.ids)):
        yield Remark(line)
