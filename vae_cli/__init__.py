"""vae: learn a variational autoencoder from a folder of images and put it to work.

    import vae_cli

    vae_cli.train("photos", out="runs/photos", time="10m").run()
    model = vae_cli.load("runs/photos")
    model.sample(16).grid().show()

What is heavy (torch, NumPy) is imported when a name is first used, not by importing this package.
"""

from typing import TYPE_CHECKING, Any

from vae_cli.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    DivergedError,
    OutOfMemoryError,
    VaeError,
    WriteError,
)

if TYPE_CHECKING:
    from vae_cli.api.images import Images
    from vae_cli.api.model import Model, inpaint, load
    from vae_cli.api.training import Training, train

__version__ = "0.1.0"
__all__ = ["CheckpointError", "ConfigError", "DataError", "DivergedError", "Images", "Model", "OutOfMemoryError",
           "Training", "VaeError", "WriteError", "inpaint", "load", "train"]  # fmt: skip

_HOMES = {"Images": "vae_cli.api.images", "Model": "vae_cli.api.model", "load": "vae_cli.api.model",
          "inpaint": "vae_cli.api.model", "Training": "vae_cli.api.training",
          "train": "vae_cli.api.training"}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
    return globals()[name]


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
