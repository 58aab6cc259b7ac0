"""What `vae evaluate` says about each label: how its images are rebuilt, and whether its samples are recognised."""

from typing import TYPE_CHECKING, Any

from vae_cli.cli.progress import Messages
from vae_cli.cli.results import say
from vae_cli.printable import printable

if TYPE_CHECKING:
    from vae_cli.checkpoint import Model
    from vae_cli.metrics.extractors import Extractor
    from vae_cli.training.prepare import Prepared

_COLUMNS = {
    "images": ("images", "d"),
    "elbo_nats": ("ELBO (nats)", ".2f"),
    "psnr_db": ("PSNR (dB)", ".2f"),
    "label_accuracy": ("samples named so", ".1%"),
}
MOST_LINES = 20
"""Labels up to which the table has a line for each, without --verbose."""


def accuracies(
    model: "Model", own: "Prepared", extractor: "Extractor", seed: int, messages: Messages
) -> dict[str, float]:
    """Of each label that can be drawn, the share of samples that a classifier of the run's own images names so."""
    if model.flow is None or model.label_names != own.label_names:
        return {}
    from vae_cli.tasks.evaluate import label_accuracy

    with messages.progress("samples of labels", len(model.label_names)) as progress:
        return label_accuracy(model, extractor, seed=seed, on_progress=progress.reach)


def with_accuracies(facts: dict[str, Any], shares: dict[str, float]) -> dict[str, Any]:
    """The facts with `label_accuracy`, the mean over labels, and each label's own beside its other figures."""
    if not shares:
        return facts
    per_label = {name: dict(figures) for name, figures in (facts["per_label"] or {}).items()}
    for name, share in shares.items():
        per_label.setdefault(name, {"images": 0})["label_accuracy"] = share
    return facts | {"per_label": per_label, "label_accuracy": sum(shares.values()) / len(shares)}


def print_table(per_label: dict[str, dict[str, Any]] | None, *, verbose: bool) -> None:
    """A line a label, if they are few or all are asked for."""
    if not per_label or (len(per_label) > MOST_LINES and not verbose):
        return
    columns = {key: column for key, column in _COLUMNS.items() if any(key in each for each in per_label.values())}
    rows = [["label", *(title for title, _ in columns.values())]]
    for name, figures in per_label.items():
        cells = [format(figures[key], form) if key in figures else "-" for key, (_, form) in columns.items()]
        rows.append([printable(name), *cells])
    width = max(len(row[0]) for row in rows)
    say("")
    for first, *cells in rows:
        say(f"{first:<{width}}" + "".join(f"{cell:>18}" for cell in cells))
