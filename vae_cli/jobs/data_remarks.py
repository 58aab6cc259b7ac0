"""What is said of the images that a training reads."""

from collections import defaultdict
from collections.abc import Iterator

from vae_cli.jobs.events import Remark
from vae_cli.jobs.model_warnings import few_images_line
from vae_cli.printable import printable
from vae_cli.training.inputs import TrainingInputs

MAX_NAMED = 5  # reasons for skipping, and files of each


def skipped_remarks(inputs: TrainingInputs) -> Iterator[Remark]:
    """What was skipped, by reasons."""
    by_reason = defaultdict(list)
    for item in inputs.skipped:
        by_reason[item.reason].append(printable(item.id))
    reasons = sorted(by_reason.items(), key=lambda each: -len(each[1]))
    for reason, names in reasons[:MAX_NAMED]:
        more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
        yield Remark(f"skipped {', '.join(names[:MAX_NAMED])}{more}: {printable(reason)}", "warning")
    if num_more := sum(len(names) for _, names in reasons[MAX_NAMED:]):
        yield Remark(f"skipped {num_more} more files; data.json in the run names them all", "warning")


def data_remarks(inputs: TrainingInputs) -> Iterator[Remark]:
    """What the images made of the settings, and whether they are few."""
    yield from map(Remark, inputs.notes)
    if line := few_images_line(len(inputs.train.ids)):
        yield Remark(line)
