"""What `vae evaluate` shows of its figures: a line for each, then the latent layers and the labels."""

from collections.abc import Mapping
from typing import Any

from vae_cli.cli.results import say
from vae_cli.printable import printable

_ROWS = {
    "images": ("images", "d"),
    "elbo_nats": ("ELBO (nats)", ".2f"),
    "nll_nats": ("NLL, importance weighted (nats)", ".2f"),
    "importance_samples": ("importance samples", "d"),
    "bits_per_dim": ("bits per dimension", ".4f"),
    "rate_nats": ("rate (nats)", ".2f"),
    "distortion_nats": ("distortion (nats)", ".2f"),
    "active_units": ("active latent units", "d"),
    "latent_units": ("latent units", "d"),
    "psnr_db": ("PSNR of reconstructions (dB)", ".2f"),
    "training_psnr_db": ("PSNR of training images (dB)", ".2f"),
    "ssim": ("SSIM of reconstructions", ".4f"),
    "label_accuracy": ("samples of labels named rightly", ".1%"),
    "inpaint.psnr_hole_db": ("PSNR in holes, one fill (dB)", ".2f"),
    "inpaint.psnr_hole_mean_fill_db": ("  mean of ten fills (dB)", ".2f"),
    "inpaint.ssim": ("SSIM of filled images", ".4f"),
    "fid": ("Fréchet distance of samples", ".3f"),
    "kid": ("kernel distance of samples", ".4g"),
    "kid_std": ("  its spread over subsets", ".4g"),
    "precision": ("precision of samples", ".3f"),
    "recall": ("recall", ".3f"),
    "density": ("density", ".3f"),
    "coverage": ("coverage", ".3f"),
    "classifier_accuracy": ("held-out images named rightly", ".1%"),
    "nearest_training.training_images": ("training images looked at", "d"),
    "nearest_training.median_ratio": ("samples' distance to them ÷ held-out", ".3f"),
    "nearest_training.share_below_1_percent": ("  nearer than the nearest 1 %", ".1%"),
    "nearest_training.share_below_median": ("  nearer than the nearest half", ".1%"),
}
_LABEL_COLUMNS = {
    "images": ("images", "d"),
    "elbo_nats": ("ELBO (nats)", ".2f"),
    "psnr_db": ("PSNR (dB)", ".2f"),
    "label_accuracy": ("samples named so", ".1%"),
}
MOST_LABELS = 20
"""Up to which the table has a line for each, without --verbose."""


def show(facts: Mapping[str, Any], *, verbose: bool) -> None:
    """Everything that is known, on stdout."""
    values = {f"{group}.{key}": value for group in ("inpaint", "nearest_training")
              for key, value in facts.get(group, {}).items()} | dict(facts)  # fmt: skip
    lines = [(title, format(values[key], form)) for key, (title, form) in _ROWS.items() if values.get(key) is not None]
    width = max(len(title) for title, _ in lines)
    for title, value in lines:
        say(f"{title:<{width}}  {value:>12}")
    if len(facts["layers"]) > 1:
        say(f"\n{'layer':<7}{'shape':<12}{'rate (nats)':>12}{'active units':>16}")
        for number, layer in enumerate(facts["layers"], start=1):
            active = f"{layer['active_units']} of {layer['latent_units']}"
            say(f"{number:<7}{'×'.join(map(str, layer['shape'])):<12}{layer['rate_nats']:>12.2f}{active:>16}")
    labels = facts["per_label"] or {}
    if labels and (verbose or len(labels) <= MOST_LABELS):
        _show_labels(labels)


def _show_labels(labels: Mapping[str, Mapping[str, Any]]) -> None:
    columns = {key: column for key, column in _LABEL_COLUMNS.items() if any(key in each for each in labels.values())}
    rows = [["label", *(title for title, _ in columns.values())]]
    for name, figures in labels.items():
        cells = [format(figures[key], form) if key in figures else "-" for key, (_, form) in columns.items()]
        rows.append([printable(name), *cells])
    width = max(len(row[0]) for row in rows)
    say("")
    for first, *cells in rows:
        say(f"{first:<{width}}" + "".join(f"{cell:>18}" for cell in cells))
