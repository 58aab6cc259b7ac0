"""The model card of a run, `README.md`: what hubs of models show of a folder that is uploaded to them."""

import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path

from vae_cli import __version__
from vae_cli.atomic import read_bounded, write_atomically
from vae_cli.jobs.info import run_facts
from vae_cli.jobs.outputs import run_folder
from vae_cli.printable import printable
from vae_cli.training.run_record import MAX_BYTES, read_record

NAME = "README.md"
_HEAD = """---
# license: choose one that the licence of the images allows, such as cc-by-4.0
library_name: vae-cli
pipeline_tag: unconditional-image-generation
tags:
- vae
- variational-autoencoder
- image-generation
---
"""
_MARK = "<!-- vae {}: it writes this file anew after more training, unless you have changed it -->\n"
_PICTURES = {"samples": "Drawn by the model", "reconstructions": "Held-out images, each with its reconstruction",
             "inpaintings": "Damaged images, fills of the holes, the truth"}  # fmt: skip
_FIGURES = {"psnr_db": "reconstructions, PSNR (dB)", "ssim": "reconstructions, SSIM",
            "bits_per_dim": "bound on the likelihood (bits a dimension)", "elbo_nats": "bound on log p(x) (nats)",
            "fill_share": "the model's part in fills (0 to 1)"}  # fmt: skip


def write_card(folder: Path, run: Path, weights: str = ".") -> Path | None:
    """Writes the card of the model that `run` names into a folder; None where a file that others wrote stays.

    weights: what in the folder commands take as RUN. Raises ConfigError, CheckpointError, WriteError.
    """
    path, text = folder / NAME, _card(folder, run, weights)
    if os.path.lexists(path) and not _is_as_written(path):
        return None
    write_atomically(path, (text + _MARK.format(_digest(text))).encode("utf-8", "backslashreplace"))
    return path


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def _is_as_written(path: Path) -> bool:
    """Whether nobody has changed a card since vae wrote it."""
    with suppress(OSError, ValueError):
        text, mark, rest = read_bounded(path, MAX_BYTES).decode().rpartition("<!-- vae ")
        return not path.is_symlink() and mark + rest == _MARK.format(_digest(text))
    return False


def _card(folder: Path, run: Path, weights: str) -> str:
    facts = run_facts(run)
    own, (height, width) = run_folder(run), facts["image_size"]
    num_images = sum((facts["label_images"] or {}).values()) + facts["unlabelled_images"]
    data = Path(facts["config"]["data"]["path"] or "the clothes that come with vae").name  # whose place is private
    what = f"A variational autoencoder{' and its latent flow' if facts['has_flow'] else ''}, {facts['parameters']:,} "
    what += f"parameters, for {'grey' if facts['channels'] == 1 else 'colour'} images of {height}×{width} pixels."
    lines = [f"{_HEAD}\n# {_plain(own.resolve().name)}\n", f"{what} Made with vae {__version__}.\n"]
    lines += [f"![{text}](previews/{name}.png)\n" for name, text in _PICTURES.items()
              if (folder / "previews" / f"{name}.png").is_file()]  # fmt: skip
    lines += [f"## Use\n\n```console\nvae sample {weights} -n 64 --out grid.png\nvae info {weights}\n```\n"]
    if figures := read_record(own).measured(facts["step"]):
        lines += ["## Figures\n", "Of images that were held out from training.\n", "| figure | value |\n|---|---|"]
        lines += [f"| {text} | {figures[name]:.4g} |" for name, text in _FIGURES.items()
                  if isinstance(figures.get(name), int | float)]  # fmt: skip
        lines += [""]
    lines += [f"## Data\n\nTrained on {num_images:,} images (`{_plain(data)}`).\n"]
    if labels := facts["labels"]:
        more = f" and {len(labels) - 20} more" if len(labels) > 20 else ""
        lines += [f"Labels: {', '.join(map(_plain, labels[:20]))}{more}.\n"]
    lines += ["Say here where the images come from, and what their licence allows.\n", "## Licence\n",
              "To be chosen by whoever publishes this model: name it here, and as `license` at the top.\n"]  # fmt: skip
    return "\n".join(lines)


def _plain(name: str) -> str:
    """A stranger's name as text of a line that means nothing to Markdown or HTML."""
    return re.sub(r"([\\`*_\[\]<>|#&!])", r"\\\1", printable(name)[:200])
