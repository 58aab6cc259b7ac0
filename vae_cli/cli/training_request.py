"""What the user asked `vae train` for: the configuration of a new run, or what may change in a resumed one."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vae_cli.errors import ConfigError

if TYPE_CHECKING:
    from vae_cli.config import Layer, RunConfig

_FIXED = ("data.image_size", "data.channels", "data.fit", "data.background", "data.binarize", "data.patches", "model",
          "training.batch_size", "training.seed", "training.precision", "training.threads")  # fmt: skip
"""What a run keeps for life."""
_SETTLED = {"data": ("image_size", "channels", "patches"), "model": ("latents", "width", "likelihood")}
"""What a run settles where it is left open."""


@dataclass(frozen=True)
class Request:
    """What the user asked for on the command line."""

    data: Path | None
    out: Path | None
    preset: str | None
    config_path: Path | None
    sets: tuple[str, ...]
    options: "Layer"
    resume: bool
    overwrite: bool

    def new_config(self) -> "RunConfig":
        """The configuration of a new run. Raises ConfigError."""
        from vae_cli.config_layers import resolve_config

        return resolve_config(preset=self.preset, file=self.config_path, sets=self.sets, options=self.options)

    def resumed_config(self, stored: "RunConfig") -> "RunConfig":
        """The stored configuration with what may change in a run's life. Raises ConfigError for the rest."""
        from vae_cli.config import merge
        from vae_cli.config_layers import parse_assignment, read_layer

        if self.preset not in (None, stored.preset):
            raise ConfigError(f"--preset {self.preset}: the run was made with {stored.preset}; leave --preset out")
        layer: Layer = read_layer(self.config_path) if self.config_path else {}
        for further in (*map(parse_assignment, self.sets), self.options):
            layer = merge(layer, further)
        config = _as_settled(stored, layer)
        kept, asked = (_leaves(each.as_dict()) for each in (stored, config))
        for key in sorted(kept.keys() | asked.keys(), key=lambda key: (not key.endswith(".kind"), key)):
            old, new = kept.get(key), asked.get(key)
            if old != new and any(f"{key}.".startswith(f"{fixed}.") for fixed in _FIXED):
                raise ConfigError(f"{key}: {new} differs from the run's {old}, which cannot change; start a new run")
        return config

    @property
    def budget_given(self) -> bool:
        from vae_cli.config import BUDGETS
        from vae_cli.config_layers import parse_assignment

        named = self.options.get("training", {})
        in_sets = [parse_assignment(text).get("training", {}) for text in self.sets]
        return any(name in layer for name in BUDGETS for layer in (named, *in_sets) if isinstance(layer, dict))


def _as_settled(stored: "RunConfig", layer: "Layer") -> "RunConfig":
    """The stored configuration with what was asked for, except where the run has settled that by itself: what is
    `auto`, and a size that it has rounded for its latents or for those that the size asked for would have."""
    from vae_cli.config import RunConfig, from_dict, merge
    from vae_cli.model.vae import auto_latents
    from vae_cli.training.prepare import rounded_size

    config = from_dict(merge(stored.as_dict(), layer), RunConfig)  # in which things may be open again
    asked, settled = config.as_dict(), stored.as_dict()
    for section, names in _SETTLED.items():
        for name in names:
            if asked[section][name] in ("auto", None, {"kind": "auto"}):
                asked[section][name] = settled[section][name]
    size, own, channels = config.data.image_size, stored.data.image_size, stored.data.channels
    if size is not None and stored.model.latents != "auto" and channels != "auto":
        rounded = [rounded_size(size, latents) for latents in (auto_latents(size, channels), stored.model.latents)]
        asked["data"]["image_size"] = list(own if own in rounded else rounded[-1])
    return stored.updated(asked)


def _leaves(settings: "Layer", prefix: str = "") -> dict[str, Any]:
    """Every single setting by its dotted key; a list is one."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= _leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found
