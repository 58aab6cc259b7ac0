"""The model of photographs that ships with the package. It is loaded like any other, under the name `photo`."""

import os
from pathlib import Path

from vae_cli.errors import ConfigError

NAME = "photo"
PHOTO = Path(__file__).with_name("photo.safetensors")


def is_photo(run: Path) -> bool:
    """Whether RUN names the model that ships with the package: a path of that name comes first."""
    return str(run) == NAME and not os.path.lexists(run)


def located(run: Path) -> Path:
    """The path that RUN stands for. Raises ConfigError for `photo` where the package came without it."""
    if not is_photo(run):
        return run
    if not PHOTO.is_file():
        raise ConfigError(f"{NAME}: this installation lacks the model of that name ({PHOTO});\n"
                          "install the package anew, or train a model of your own: vae train DATA")  # fmt: skip
    return PHOTO
