"""`vae check`: what is in a folder, before training."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from vae_cli.cli import options
from vae_cli.cli.results import Results, file_entry, say
from vae_cli.jobs.events import FileDone
from vae_cli.jobs.model_warnings import few_images_line
from vae_cli.printable import printable, shell_quoted

_NUM_LISTED = 8


def check(
    context: typer.Context,
    data: Annotated[Path, typer.Argument(
        metavar="DATA", help="Folder, list, zip or tar.", callback=options.existing)],
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 3 if anything is wrong.")] = False,
    labels: Annotated[Literal["auto", "none", "folders"], options.tuning(
        help="Whether folders are classes, as in `vae train`.")] = "auto",
    splits: Annotated[Literal["auto", "none"], options.tuning(
        help="Whether train/, val/ and test/ are splits, as in `vae train`.")] = "auto",
    duplicates: Annotated[bool, typer.Option(
        "--duplicates", help="Also name near-copies, blurred and dark images, and odd sizes.")] = False,
    batch_size: options.BatchSize = 64,
) -> None:  # fmt: skip
    """Say what is in a folder before training on it.

    Every image is read once; what cannot be used is named. With --duplicates also images that show the same
    (re-encoded, resized, mirrored, up to a tenth cut off at an edge), in groups, and those that are blurred, dark, or
    far from the others in size or shape: look at them, nothing is changed.

    Example: vae check photos --duplicates
    """
    results: Results = context.obj
    from vae_cli.jobs import check as job

    facts = results.show(job.check(data, labels=labels, splits=splits, duplicates=duplicates, batch_size=batch_size))
    bad: dict[str, str] = facts.pop("bad")
    doubtful: dict[str, list[Any]] = facts.pop("doubtful", {})
    num_usable = facts["sizes"].total()
    failure = None
    if not num_usable:
        image_id, reason = next(iter(bad.items()))
        failure = f"{data}: none of {len(bad)} images can be used; the first: {image_id}: {reason}"
    elif strict and bad:
        failure = f"{data}: {len(bad)} of {num_usable + len(bad)} images cannot be used (--strict)"
    if not results.as_json:
        _print_table(data, num_usable, bad, facts)
        _print_doubtful(doubtful)
    sizes, modes = (dict(facts[name].most_common()) for name in ("sizes", "modes"))
    files = [file_entry(FileDone(image_id, "failed", reason=reason)) for image_id, reason in bad.items()]
    results.print_facts("ok", failure, images=num_usable, skipped=len(bad), sizes=sizes, modes=modes,
                        labels=dict(sorted(facts["labels"].items())), **doubtful, files=files)  # fmt: skip
    if line := few_images_line(num_usable):
        results.messages.note(line)
    results.messages.next_step(f"vae train {shell_quoted(data)}")


def _print_table(data: Path, num_usable: int, bad: dict[str, str], counts: dict[str, Counter[str]]) -> None:
    say(f"{printable(data)}: {num_usable} usable images, {len(bad)} that cannot be used")
    for name, counter in counts.items():
        if name == "sizes" and len(counter) > _NUM_LISTED:
            say(f"sizes: {_by_shorter_side(counter)}; {len(counter)} different ones")
        elif counter:
            listed = ", ".join(f"{printable(value)} ({count})" for value, count in counter.most_common(_NUM_LISTED))
            more = f", … {len(counter)} in all" if len(counter) > _NUM_LISTED else ""
            say(f"{'sizes (HxW)' if name == 'sizes' else name}: {listed}{more}")
    for image_id, reason in bad.items():
        say(f"bad: {printable(image_id)}: {printable(reason)}")


def _by_shorter_side(sizes: Counter[str]) -> str:
    """How many images have a shorter side in which range, each range reaching to twice its beginning."""
    ranges = Counter[int]()
    for size, count in sizes.items():
        ranges[min(map(int, size.split("x"))).bit_length()] += count
    told = [f"{2**bits // 2} to {2**bits - 1} ({count})" for bits, count in sorted(ranges.items())]
    return f"shorter side {', '.join(told)} pixels"


def _print_doubtful(doubtful: dict[str, list[Any]]) -> None:
    """A line for each group of near-copies, and one for each other kind."""
    for kind, found in doubtful.items():
        lines = [" = ".join(group) for group in found] if kind == "duplicates" else [", ".join(found)] * bool(found)
        say(f"{kind.replace('_', ' ')}: {len(found)}{' groups' * (kind == 'duplicates')}")
        for line in lines:
            say(f"  {printable(line)}")
