"""The whole configuration of a run: one frozen, typed object.

What depends on the data (image size, channels, latent grid, width, likelihood) may be left open in a `RunConfig`.
`training.prepare` settles it, and from there on everything takes a `CompleteConfig`.
"""

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from vae_cli.errors import ConfigError
from vae_cli.printable import shortened

Layer = dict[str, Any]  # nested settings that override earlier ones; holds differences only


def parse_duration(value: object) -> object:
    """Seconds from `90s`, `10m`, `1.5h` or `1h30m`; numbers are left to pydantic. Raises ValueError for other text."""
    if not isinstance(value, str) or re.fullmatch(r"[-+.\d]+([eE][-+]?\d+)?", value.strip()):
        return value
    parts = re.findall(r"(\d+(?:\.\d+)?)([smh]?)", value.strip())
    if not parts or "".join(number + unit for number, unit in parts) != value.strip():
        raise ValueError("write seconds or a duration like 90s, 10m or 1h30m")
    return sum(float(number) * {"": 1, "s": 1, "m": 60, "h": 3600}[unit] for number, unit in parts)


def parse_image_size(value: object) -> object:
    """(H, W) from `64`, `"64"` or `"48x64"`; all but text is left to pydantic. Raises ValueError for other text."""
    if isinstance(value, str):
        if not re.fullmatch(r"\d+([xX]\d+)?", value.strip()):
            raise ValueError("write H or HxW, like 64 or 48x64")
        sides = [int(side) for side in value.lower().split("x")]
        return (sides[0], sides[-1])
    if isinstance(value, int) and not isinstance(value, bool):
        return (value, value)
    return value


Side = Annotated[int, Field(ge=4, le=4096)]
ImageSize = Annotated[tuple[Side, Side], BeforeValidator(parse_image_size)]
Seconds = Annotated[float, BeforeValidator(parse_duration), Field(gt=0, le=1e9)]


class Section(BaseModel):
    """Base of every part of the configuration: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _fits_into_64_bits(cls, value: Any) -> Any:
        if isinstance(value, int | float) and abs(value) >= 2**63:
            raise ValueError("too large a number")
        return value


class DataConfig(Section):
    """What is read and how it becomes pixels."""

    path: str | None = None  # folder, list, zip or tar; None = the built-in data set
    image_size: ImageSize | None = None  # (H, W) the model works at; None = chosen from the data
    channels: Literal["auto", 1, 3] = "auto"
    fit: Literal["crop", "pad", "stretch"] = "crop"
    background: str = "#ffffff"
    labels: Literal["auto", "none", "folders"] = "auto"
    splits: Literal["auto", "none", "folders"] = "auto"
    """Whether train/, val/ and test/ at the top are splits; auto = where no other folder is there; folders = always."""
    binarize: Literal["none", "dynamic"] = "none"
    patches: Annotated[int, Field(ge=0, le=2**20)] | Literal["auto"] = 0
    """Close-ups of images much larger than the model, to learn from as well; `auto` = some, where there is a flow."""
    augment: bool = True  # shift and mirror images for the VAE after their second visit; only where a flow follows


class LatentSpec(Section):
    """Latent layers that share one grid; a model lists them from coarse to fine."""

    stride: Annotated[int, Field(ge=2, le=64)] | Literal["global"]
    """Image side ÷ latent side, a power of two; `global` = one vector."""
    layers: int = Field(1, ge=1, le=32)
    channels: int = Field(4, ge=1, le=512)

    @model_validator(mode="after")
    def _power_of_two(self) -> "LatentSpec":
        if self.stride != "global" and self.stride & (self.stride - 1):
            raise ValueError(f"stride {self.stride} is not a power of two")
        return self


class AutoLikelihood(Section):
    kind: Literal["auto"] = "auto"


class PlainLikelihood(Section):
    kind: Literal["bernoulli", "gaussian", "discretized_logistic"]


class LogisticMixtureLikelihood(Section):
    kind: Literal["logistic_mixture"]
    components: int = Field(10, ge=1, le=100)


KnownLikelihood = Annotated[PlainLikelihood | LogisticMixtureLikelihood, Field(discriminator="kind")]
LikelihoodConfig = Annotated[AutoLikelihood | PlainLikelihood | LogisticMixtureLikelihood, Field(discriminator="kind")]
Latents = Annotated[tuple[LatentSpec, ...], Field(min_length=1, max_length=64)]
Width = Annotated[int, Field(ge=8, le=8192, multiple_of=8)]
Patch = Annotated[int, Field(ge=1, le=8)]
Net = Literal["unet", "transformer"]
Blocks = Annotated[int, Field(ge=1, le=64)]


class FlowConfig(Section):
    """The latent flow's network and solver."""

    net: Net | Literal["auto"] = "auto"  # auto = unet for images of at most 32 pixels
    width: Width | Literal["auto"] = "auto"  # channels; a UNet's lower level has twice as many
    blocks: Blocks | Literal["auto"] = "auto"  # of a UNet: on each level and the way
    patch: Patch | Literal["auto"] = "auto"
    """Latents that a token is wide and high; `auto` = as many as 8 pixels in images larger than 32, else 1."""
    solver_steps: int = Field(10, ge=1, le=1000)
    clusters: int = Field(256, ge=1, le=65536)  # groups of similar images that samples start from, at most
    refiner_width: int = Field(32, ge=8, le=8192)  # channels, at half resolution, of what fits fills to known pixels


class ModelConfig(Section):
    latents: Latents | Literal["auto"] = "auto"  # coarse to fine; auto = one layer chosen from size and channels
    width: Width | Literal["auto"] = "auto"  # channels at half resolution; deeper levels have two and three times these
    blocks: int = Field(1, ge=1, le=16)  # residual ones a resolution
    dropout: float = Field(0.0, ge=0, lt=1)
    likelihood: LikelihoodConfig = AutoLikelihood()
    flow: FlowConfig = FlowConfig()


LatentNoise = Annotated[float, Field(ge=0)]


class ObjectiveConfig(Section):
    kl_weight: float = Field(1.0, ge=0)
    """1 = the bound. Less where the flow, not N(0, I), is the prior: latents then cost less than their KL."""
    kl_warmup_steps: int = Field(400, ge=0)
    free_nats: float = Field(0.0, ge=0)  # floor under the batch mean of each latent layer's KL, nats
    latent_noise: LatentNoise | Literal["auto"] = 0.0
    """Noise on the latents that the decoder sees, on every other image and only before a flow, whose latents do not fit
    as well as those of images; its size is normal with this scale, as a share of the latents' spread. `auto` = some for
    images larger than 32 pixels, of which flows learn less."""
    importance_samples: int = Field(1, ge=1, le=10_000)
    """Draws K of the importance-weighted bound that ends the VAE phase, of every K-th image of a batch; 1 = without."""
    importance_start: float = Field(0.9, gt=0, lt=1)  # share of the VAE phase before that, with free nats and warm-up
    perceptual: float = Field(0.0, ge=0)
    """Weight w of the distance of image gradients, in nats of a Laplace density of scale 1 / w; 1 to 10 are usual."""
    adversarial: float = Field(0.0, ge=0)  # pull of the patch discriminator, as a share of the reconstruction's
    adversarial_start: float = Field(0.5, ge=0, lt=1)  # share of the VAE phase after which the discriminator joins in


class TrainingConfig(Section):
    batch_size: int = Field(32, ge=1, le=2**20)  # images an update over all ranks
    learning_rate: float = Field(2e-3, gt=0)
    flow_learning_rate: float = Field(2e-3, gt=0)
    flow_optimizer: Literal["muon", "adamw"] = "muon"  # for the flow's large convolutions and matrices; else AdamW
    vae_optimizer: Literal["muon", "adamw"] = "muon"  # the same for the VAE
    warmup_steps: int = Field(100, ge=0)
    decay_share: float = Field(0.4, ge=0, le=1)  # last part of each phase, over which the rate falls to 2 %
    gradient_clip: float = Field(200.0, gt=0)  # norm of the VAE's gradient, nats per image
    weight_decay: float = Field(0.01, ge=0)
    ema_decay: float = Field(0.999, ge=0, lt=1)
    steps: int | None = Field(None, ge=1, le=10**12)
    epochs: float | None = Field(None, gt=0, le=1e9)
    time: Seconds | None = None  # from the start of the process to the last step
    flow_share: float = Field(0.6, ge=0, le=1)
    init: str = Field("auto", min_length=1)
    """A run or weights file that both phases start from, `photo` or `none`; `auto` = `photo` for colour images of 48
    pixels and more, where the settings of the model are left open."""
    save_every: int = Field(500, ge=1)
    validate_every: int = Field(250, ge=1)
    patience: int = Field(10, ge=0)
    """Validations without a better score after which a phase lowers its learning rate, and then ends; 0 = never."""
    log_every: int = Field(50, ge=1)
    preview_every: int = Field(1000, ge=1)
    seed: int = Field(0, ge=0, lt=2**63)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    threads: int = Field(0, ge=0, le=4096)  # 0 = as many as the process may use

    @model_validator(mode="after")
    def _one_budget(self) -> "TrainingConfig":
        given = [name for name in BUDGETS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude one another; give one of them")
        return self

    def total_steps(self, num_images: int) -> int | None:
        """Updates of both phases together on this many images an epoch; None under a budget of time."""
        return self.steps if self.epochs is None else math.ceil(self.epochs * num_images / self.batch_size)

    def vae_steps(self, total: int) -> int:
        """Updates of so many that belong to phase 1."""
        return round(total * (1 - self.flow_share))


BUDGETS = ("steps", "epochs", "time")


class RunConfig(Section):
    """Everything that decides what a run does; stored whole in the run and in every weights file."""

    preset: str = "small"
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    training: TrainingConfig = TrainingConfig()

    @model_validator(mode="after")
    def _importance_samples_need_the_plain_bound(self) -> "RunConfig":
        objective, needed = self.objective, {"kl_weight": 1, "latent_noise": 0, "perceptual": 0, "adversarial": 0}
        wrong = [f"objective.{name}={value}" for name, value in needed.items() if getattr(objective, name) != value]
        if objective.importance_samples > 1 and wrong:
            raise ValueError(f"objective.importance_samples {objective.importance_samples} weighs the bound alone;\n"
                             f"set {', '.join(wrong)}, or objective.importance_samples=1")  # fmt: skip
        return self

    def as_dict(self) -> dict[str, Any]:
        """Plain containers only, ready for JSON or YAML; `from_dict` inverts it."""
        return self.model_dump(mode="json")

    def updated(self, layer: Layer) -> Self:
        """A copy with some settings replaced. Raises ConfigError as `from_dict` does."""
        return from_dict(merge(self.as_dict(), layer), type(self))


Config = TypeVar("Config", bound=RunConfig)


class CompleteData(DataConfig):
    image_size: ImageSize
    channels: Literal[1, 3]


class CompleteFlow(FlowConfig):
    net: Net
    width: Width
    blocks: Blocks
    patch: Patch


class CompleteModel(ModelConfig):
    latents: Latents
    width: Width
    likelihood: KnownLikelihood
    flow: CompleteFlow


class CompleteObjective(ObjectiveConfig):
    latent_noise: LatentNoise


class CompleteConfig(RunConfig):
    """A configuration in which everything that depends on the data is settled: what a model is built from."""

    data: CompleteData
    model: CompleteModel
    objective: CompleteObjective


def merge(base: Mapping[str, Any], layer: Mapping[str, Any]) -> Layer:
    """`base` overridden by `layer`. A new `kind` drops the old kind's fields, a new budget the old budget."""
    if "kind" in layer and layer["kind"] != base.get("kind"):
        return dict(layer)
    merged = dict(base)
    if any(layer.get(name) is not None for name in BUDGETS):
        merged.update(dict.fromkeys(BUDGETS))
    for key, value in layer.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def from_dict(settings: Mapping[str, Any], kind: type[Config]) -> Config:
    """The typed configuration. Raises ConfigError naming the dotted key and, for unknown ones, the nearest."""
    try:
        return kind.model_validate(settings)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(error.errors()[:50])[:3])) from error  # of perhaps thousands


def _explain(details: Sequence[Any]) -> list[str]:
    """A line for each wrong key: where, what is wrong, what to write instead.

    Where a key has alternatives (a number or `auto`) pydantic reports an error for each; the first one about the
    innermost key is kept, as it is about what was meant.
    """
    keys = known_keys()
    names = {name for key in keys for name in key.split(".")}
    lines: dict[str, str] = {}
    for detail in details:
        is_unknown = detail["type"] == "extra_forbidden"
        # pydantic puts names of types between those of settings where a key has alternatives
        parts = [str(part) for part in detail["loc"] if isinstance(part, int) or part in names]
        if is_unknown and detail["loc"][-1] not in names:
            parts.append(str(detail["loc"][-1]))
        dotted = ".".join(parts)
        if is_unknown:
            line = f"{dotted}: unknown setting{nearest(dotted, keys)}"
        else:
            message = detail["msg"].removeprefix("Value error, ")
            given = "" if isinstance(detail["input"], dict) else f" (got {shortened(detail['input'])})"
            line = f"{dotted}: {message[0].lower()}{message[1:]}{given}" if dotted else message
        lines.setdefault(dotted, line)
    return [line for key, line in lines.items() if not any(other.startswith(f"{key}.") for other in lines)]


def nearest(name: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    """The end of a message about an unknown name: which of the known ones was probably meant."""
    (closest,) = difflib.get_close_matches(name[:100], list(known), n=1, cutoff=0.0)  # which is slow on long ones
    return f"; did you mean {closest}?"


def known_keys(kind: Any = RunConfig) -> list[str]:
    """Every dotted key of a section, or of all sections that a type such as `tuple[LatentSpec, ...]` names."""
    if not (isinstance(kind, type) and issubclass(kind, Section)):
        return sorted({key for part in get_args(kind) for key in known_keys(part)})
    inner = {f"{name}.{key}" for name, field in kind.model_fields.items() for key in known_keys(field.annotation)}
    return sorted(inner | kind.model_fields.keys())
