"""What a training is asked for: the configuration of a new run, or what may change in a resumed one."""

from dataclasses import dataclass, field
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

from vae_cli.config import BUDGETS, CompleteConfig, Layer, RunConfig, from_dict, merge
from vae_cli.config_layers import parse_assignment, read_layer, resolve_config
from vae_cli.config_values import flattened
from vae_cli.errors import CheckpointError, ConfigError
from vae_cli.model.vae import auto_latents
from vae_cli.training import run_folder
from vae_cli.training.prepare import rounded_size

_FIXED = ("data.image_size", "data.channels", "data.fit", "data.background", "data.splits", "data.binarize",
          "data.patches", "model", "training.batch_size", "training.init", "training.seed", "training.precision",
          "training.threads", "training.tune_vae", "training.flow_optimizer", "training.vae_optimizer")  # fmt: skip
"""What a run keeps for life."""
_SETTLED = tuple(tuple(key.split(".")) for key in (
    "data.image_size", "data.channels", "data.splits", "data.patches", "model.latents", "model.width",
    "model.likelihood", "model.flow.net", "model.flow.width", "model.flow.blocks", "model.flow.patch",
    "model.flow.clusters", "training.flow_share",
    "objective.latent_noise", "training.init"))  # fmt: skip
"""What a run decides by itself where it is left open."""


@dataclass(frozen=True)
class TrainingRequest:
    """Everything that may be asked for, as the options of `vae train`; a resumed run knows what is left out.

    data: folder, list or archive; None = the built-in data set. config: a YAML file of settings, which override
    the preset's. sets: `key=value` with a dotted key, which override the file's. options: nested settings, which
    override all others.
    """

    data: Path | None = None
    out: Path | None = None
    preset: str | None = None
    config: Path | None = None
    sets: tuple[str, ...] = ()
    options: Layer = field(default_factory=dict)
    resume: bool = False
    overwrite: bool = False
    workers: int | None = None  # None = this rank's share of the cores
    strict: bool = False
    device: str = "auto"

    @property
    def named(self) -> Layer:
        """The options, and the data among them."""
        return merge({"data": {"path": str(self.data.absolute())}} if self.data else {}, self.options)

    @property
    def has_budget(self) -> bool:
        layers = [layer.get("training", {}) for layer in (self.named, *map(parse_assignment, self.sets))]
        return any(name in layer for name in BUDGETS for layer in layers if isinstance(layer, dict))

    def new_config(self) -> RunConfig:
        return resolve_config(preset=self.preset, file=self.config, sets=self.sets, options=self.named)

    def resumed_config(self, stored: RunConfig) -> RunConfig:
        """The stored configuration with what may change in a run's life. Raises ConfigError for the rest."""
        if self.preset not in (None, stored.preset):
            raise ConfigError(f"--preset {self.preset}: the run was made with {stored.preset}; leave --preset out")
        layer: Layer = read_layer(self.config) if self.config else {}
        for further in (*map(parse_assignment, self.sets), self.named):
            layer = merge(layer, further)
        config = _with_settled(stored, layer)
        for key, (own, asked) in _differences(stored, config).items():
            if _is_fixed(key):
                raise ConfigError(f"{key}: {asked} differs from the run's {own}, which cannot change; start a new run")
        return config


def known_config(folder: Path, saved: CompleteConfig | None) -> tuple[CompleteConfig, list[str]]:
    """The configuration in a run's folder, and what to say where it is not that of its newest checkpoint, `saved`.

    A checkpoint proves what the run keeps for life. The rest may have changed since. Raises ConfigError for a folder
    that is no run, CheckpointError for a damaged one that has no checkpoint.
    """
    try:
        written = run_folder.stored_config(folder)
    except CheckpointError as error:
        if saved is None:
            raise
        return saved, [f"{error};\ngoing on with the settings in the newest checkpoint"]
    if saved is None:
        return written, []
    remarks, settings, kept = [], written.as_dict(), saved.as_dict()
    for key, (own, found) in _differences(saved, written).items():
        what = "which is kept for life" if _is_fixed(key) else f"which is now {found}"
        remarks.append(f"{folder / 'config.yaml'}: {key} {found} was {own} in the newest checkpoint, {what}")
    for key in _FIXED:
        section, _, name = key.partition(".")
        of_written, of_saved = (settings[section], kept[section]) if name else (settings, kept)
        of_written[name or section] = of_saved[name or section]
    return from_dict(settings, CompleteConfig), remarks


def require_shared_batches(config: RunConfig, num_ranks: int) -> None:
    """Raises ConfigError for batches that ranks, micro-batches and the groups of an image's draws cannot share, and for
    an adversary, whose weight is found on whole batches."""
    training, num_draws = config.training, config.objective.importance_samples
    num_parts = num_ranks * training.gradient_accumulation
    if num_parts > 1 and training.batch_size % (num_parts * num_draws):
        parts = ((num_ranks, "ranks"), (training.gradient_accumulation, "micro-batches"))
        shared = " of ".join(f"{num} {what}" for num, what in parts if num > 1)
        groups = f" in groups of {num_draws}" if num_draws > 1 else ""
        raise ConfigError(f"training.batch_size: {training.batch_size} cannot be shared by {shared}{groups}; "
                          f"give a multiple of {num_parts * num_draws}")  # fmt: skip
    if training.gradient_accumulation > 1 and config.objective.adversarial > 0:
        wanted = "training.gradient_accumulation=1, or objective.adversarial=0"
        raise ConfigError(f"objective.adversarial: its weight is found on whole batches; set {wanted}")


def memory_advice(config: RunConfig, num_ranks: int) -> str:
    """What to try where the device has run out of memory."""
    training, num = config.training, 2 * config.training.gradient_accumulation
    try:
        require_shared_batches(config.updated({"training": {"gradient_accumulation": num}}), num_ranks)
        first = f"--set training.gradient_accumulation={num}, for the same model,"
    except ConfigError:
        first = f"--batch-size {max(1, training.batch_size // 2)}"
    return f"try {first} or a smaller --image-size"


def _is_fixed(key: str) -> bool:
    return any(f"{key}.".startswith(f"{fixed}.") for fixed in _FIXED)


def _differences(one: RunConfig, other: RunConfig) -> dict[str, tuple[Any, Any]]:
    """Both values of every setting that differs, kinds first."""
    old, new = (flattened(each.as_dict()) for each in (one, other))
    keys = sorted(old.keys() | new.keys(), key=lambda key: (not key.endswith(".kind"), key))
    return {key: (old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key)}


def _with_settled(stored: RunConfig, layer: Layer) -> RunConfig:
    """The stored configuration with what was asked for, except where the run has settled that by itself: what is
    `auto`, and a size that it has rounded for its latents or for those that the size asked for would have."""
    config = from_dict(merge(stored.as_dict(), layer), RunConfig)  # in which things may be open again
    asked, settled = config.as_dict(), stored.as_dict()
    for *sections, name in _SETTLED:
        of_asked, of_settled = (reduce(getitem, sections, each) for each in (asked, settled))
        if of_asked[name] in ("auto", None, {"kind": "auto"}):
            of_asked[name] = of_settled[name]
    size, own, channels = config.data.image_size, stored.data.image_size, stored.data.channels
    if size is not None and stored.model.latents != "auto" and channels != "auto":
        rounded = [rounded_size(size, latents) for latents in (auto_latents(size, channels), stored.model.latents)]
        asked["data"]["image_size"] = list(own if own in rounded else rounded[-1])
    return stored.updated(asked)
