"""`vae evaluate --holes`: figures of fills and their contact sheet."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vae_cli.cli.progress import Messages
from vae_cli.errors import ConfigError
from vae_cli.images.image_ref import IMAGE_SUFFIXES
from vae_cli.jobs import outputs

if TYPE_CHECKING:
    import numpy as np

    from vae_cli.checkpoint import Model
    from vae_cli.dataset.cache import ImageSet
    from vae_cli.tasks.evaluate_holes import Filled

Family = Literal["center", "half", "brush", "random", "scattered"]
NUM_SHOWN = 12


def check_sheet(sheet: Path | None, family: str | None, *, overwrite: bool) -> None:
    """Raises ConfigError for a contact sheet that is no picture, has nothing to show or exists already."""
    if sheet is None:
        return
    if family is None:
        raise ConfigError(f"--sheet {sheet}: shows filled holes; say which: --holes center")
    if sheet.suffix.lower() not in IMAGE_SUFFIXES:
        raise ConfigError(f"--sheet {sheet}: is a picture; end it with .png")
    outputs.refuse_existing([sheet], overwrite=overwrite)


def measure_holes(
    model: "Model", images: "ImageSet", family: str, sheet: Path | None, seed: int, messages: Messages
) -> dict[str, Any]:
    """`inpaint` of the JSON object; writes the contact sheet where one is wanted."""
    import numpy as np

    from vae_cli.drawing.grids import grid
    from vae_cli.files.new_pictures import save_picture
    from vae_cli.tasks.evaluate_holes import NUM_FILLS, HoleMeter, draw_holes, fill_holes

    num = len(images.pixels)
    is_shown = set(np.linspace(0, num - 1, min(num, NUM_SHOWN)).astype(int).tolist()) if sheet else set()
    meter, rows = HoleMeter(), list["np.ndarray"]()
    with messages.progress(f"fill {family} holes", num * NUM_FILLS, "fills") as progress:
        for number, filled in enumerate(
            fill_holes(model, images.pixels, draw_holes(family, num, model.image_size, seed), seed=seed)
        ):
            meter.add(filled)
            if number in is_shown:
                rows += _row(filled)
            progress.advance(NUM_FILLS)
    if sheet is not None:
        save_picture(grid(rows, num_columns=4), sheet, seed=seed)
    return {"family": family, **meter.figures()}


def _row(filled: "Filled") -> "list[np.ndarray]":
    """Before, mask, after, truth."""
    import numpy as np

    hole = filled.hole[:, :, None]
    before = np.where(hole, np.uint8(128), filled.image)
    mask = np.where(np.broadcast_to(hole, filled.image.shape), np.uint8(255), np.uint8(0))
    return [before, mask, filled.fills[0], filled.image]
