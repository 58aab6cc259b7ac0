"""The model of photographs that ships with the package. It is loaded like any other, under the name `photo`."""

import difflib
import os
from pathlib import Path

from vae_cli.errors import ConfigError

NAME = "photo"
PHOTO = Path(__file__).with_name("photo.safetensors")


def is_photo(run: Path) -> bool:
    """Whether RUN names the model that ships with the package: a path of that name comes first."""
    return str(run) == NAME and not os.path.lexists(run)


def meant(run: Path) -> str:
    """The end of a message about a RUN that is none, where `photo` was probably meant."""
    is_like = not os.path.lexists(NAME) and difflib.get_close_matches(str(run).lower()[:100], [NAME], cutoff=0.65)
    return f"; did you mean {NAME}, the model that ships with vae?" if is_like else ""


def located(run: Path) -> Path:
    """The path that RUN stands for. Raises ConfigError for `photo` where the package came without it."""
    if not is_photo(run):
        return run
    if not PHOTO.is_file():
        raise ConfigError(f"{NAME}: this installation lacks the model of that name ({PHOTO});",
                          "install the package anew, or train a model of your own: vae train DATA")  # fmt: skip
    return PHOTO
