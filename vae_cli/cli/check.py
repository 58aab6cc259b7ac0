"""`vae check`: what is in a folder, before training."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vae_cli.cli import loading, options
from vae_cli.cli.advice import few_images_line
from vae_cli.cli.inputs import require
from vae_cli.cli.progress import Messages
from vae_cli.cli.results import file_entry, print_json, say
from vae_cli.errors import DataError
from vae_cli.printable import printable, shell_quoted

if TYPE_CHECKING:
    from vae_cli.dataset.scan import Scan
    from vae_cli.images.image_ref import ImageRef

_NUM_LISTED = 8
_CHUNK_IMAGES = 256


@dataclass
class _Facts:
    """What the usable images are like, and what is wrong with the others."""

    sizes: Counter[str] = field(default_factory=Counter)
    """By `HxW` as displayed."""
    modes: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    bad: dict[str, str] = field(default_factory=dict)
    """Reason by id."""

    @property
    def num_usable(self) -> int:
        return self.sizes.total()


def check(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder, list file or zip.")],
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 3 if anything is wrong.")] = False,
    labels: Annotated[
        Literal["auto", "none", "folders"], typer.Option(help="Whether folders are classes, as in `vae train`.")
    ] = "auto",
    device: options.Device = "auto",
    batch_size: options.BatchSize = 64,
    seed: options.Seed = 0,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Say what is in a folder before training on it.

    Every image is decoded once; what cannot be used is named.

    Example: vae check photos
    """
    messages = Messages(quiet=quiet, verbose=verbose)
    require(data)
    loading.require_device(device)
    from vae_cli.dataset.scan import scan

    found = scan(data, labels=labels)
    facts = _examine(found, messages)
    failure = _failure(data, facts, strict=strict)
    if json:
        _print_json(facts, failure)
    else:
        _print_table(data, facts)
    if failure:
        messages.error(failure)
        raise typer.Exit(DataError.exit_code)
    if line := few_images_line(facts.num_usable):
        messages.note(line)
    messages.next_step(f"vae train {shell_quoted(data)}")


def _examine(found: "Scan", messages: Messages) -> _Facts:
    """Decodes every image on all cores."""
    facts = _Facts(bad={skipped.id: skipped.reason for skipped in found.skipped})
    for ref, outcome in messages.track(_decoded(found.images), "check", len(found.images)):
        if isinstance(outcome, DataError):
            facts.bad[ref.id] = str(outcome)
            continue
        mode, (height, width) = outcome
        facts.sizes[f"{height}x{width}"] += 1
        facts.modes[mode] += 1
        if ref.label is not None:
            facts.labels[ref.label] += 1
    return facts


def _decoded(refs: "tuple[ImageRef, ...]") -> "Iterator[tuple[ImageRef, tuple[str, tuple[int, int]] | DataError]]":
    """Each image with its mode and (H, W), or why it cannot be used."""
    from concurrent.futures import ThreadPoolExecutor

    from vae_cli.images.decode import open_image, probe

    def try_out(ref: "ImageRef") -> tuple[str, tuple[int, int]] | DataError:
        try:
            facts = probe(ref)
            open_image(ref)
        except DataError as error:
            return error
        return facts

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for start in range(0, len(refs), _CHUNK_IMAGES):  # in pieces, so that a million images queue up nowhere
            chunk = refs[start : start + _CHUNK_IMAGES]
            yield from zip(chunk, pool.map(try_out, chunk), strict=True)


def _failure(data: Path, facts: _Facts, *, strict: bool) -> str | None:
    if not facts.num_usable:
        image_id, reason = next(iter(facts.bad.items()))
        return f"{data}: none of {len(facts.bad)} images can be used; the first: {image_id}: {reason}"
    if strict and facts.bad:
        return f"{data}: {len(facts.bad)} of {facts.num_usable + len(facts.bad)} images cannot be used (--strict)"
    return None


def _print_json(facts: _Facts, failure: str | None) -> None:
    error = {"error": {"code": DataError.exit_code, "message": failure}} if failure else {}
    files = [file_entry(image_id, "failed", reason=reason) for image_id, reason in facts.bad.items()]
    print_json(
        "check",
        "failed" if failure else "ok",
        **error,
        images=facts.num_usable,
        skipped=len(facts.bad),
        sizes=dict(facts.sizes.most_common()),
        modes=dict(facts.modes.most_common()),
        labels=dict(sorted(facts.labels.items())),
        files=files,
    )


def _print_table(data: Path, facts: _Facts) -> None:
    say(f"{printable(data)}: {facts.num_usable} usable images, {len(facts.bad)} that cannot be used")
    for title, counts in (("sizes (HxW)", facts.sizes), ("modes", facts.modes), ("labels", facts.labels)):
        if counts:
            listed = ", ".join(f"{printable(name)} ({count})" for name, count in counts.most_common(_NUM_LISTED))
            more = f", … {len(counts)} in all" if len(counts) > _NUM_LISTED else ""
            say(f"{title}: {listed}{more}")
    for image_id, reason in facts.bad.items():
        say(f"bad: {printable(image_id)}: {printable(reason)}")
