"""The whole configuration of a run: one frozen, typed object.

What depends on the data (image size, channels, latent grid, width, likelihood) may be left open in a `RunConfig`.
`training.prepare` settles it, and from there on everything takes a `CompleteConfig`. The text below each setting is
what `vae config` says of it.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import Field, ValidationError, model_validator

from vae_cli.config_autoencoder import AutoencoderKL, LadderNets
from vae_cli.config_values import Blocks, Clusters, ImageSize, LatentNoise, Seconds, Section, Share, explanations
from vae_cli.errors import ConfigError

SMALL_SIDE = 32
"""Pixels of a side up to which images are small: clothes, digits, icons rather than photographs."""
Layer = dict[str, Any]  # nested settings that override earlier ones; holds differences only


class DataConfig(Section):
    """What is read, and how it becomes pixels."""

    path: str | None = None
    """Folder, list, zip or tar of images; null = the built-in data set."""
    image_size: ImageSize | None = None
    """Height and width that the model works at, pixels; null = chosen from the images."""
    channels: Literal["auto", 1, 3] = "auto"
    """Grey (1) or colour (3); auto = grey where every image is."""
    fit: Literal["crop", "pad", "stretch"] = "crop"
    """How images of another shape become the model's."""
    background: str = "#ffffff"
    """Colour behind transparent pixels, and beside images that are padded."""
    labels: Literal["auto", "none", "folders"] = "auto"
    """Whether class folders give labels; auto = where every image lies in one of at least two folders."""
    splits: Literal["auto", "none", "folders"] = "auto"
    """Whether train/, val/ and test/ at the top are splits; auto = where no other folder is there; folders = always."""
    binarize: Literal["none", "dynamic"] = "none"
    """dynamic = each pixel is drawn black or white, with its grey value as the probability, at every visit."""
    patches: Annotated[int, Field(ge=0, le=2**20)] | Literal["auto"] = 0
    """Close-ups of images much larger than the model, to learn from as well; auto = some, where there is a flow."""
    augment: bool = True
    """Shift and mirror images for the VAE after their second visit; only where a flow follows."""


class LatentSpec(Section):
    """Latent layers that share one grid; a model lists them from coarse to fine."""

    stride: Annotated[int, Field(ge=2, le=64)] | Literal["global"]
    """Image side ÷ latent side, a power of two; global = one vector."""
    layers: int = Field(1, ge=1, le=32)
    """Latent layers on this grid, one after another."""
    channels: int = Field(4, ge=1, le=512)
    """Numbers at each place of the grid."""

    @model_validator(mode="after")
    def _power_of_two(self) -> "LatentSpec":
        if self.stride != "global" and self.stride & (self.stride - 1):
            raise ValueError(f"stride {self.stride} is not a power of two")
        return self


class AutoLikelihood(Section):
    """Chosen from the images: bernoulli for black and white ones, else gaussian."""

    kind: Literal["auto"] = "auto"


class PlainLikelihood(Section):
    """One of those that have no settings of their own."""

    kind: Literal["bernoulli", "gaussian", "discretized_logistic"]


class LogisticMixtureLikelihood(Section):
    """Mixtures of logistics, for bits per dimension of pictures in colour."""

    kind: Literal["logistic_mixture"]
    components: int = Field(10, ge=1, le=100)
    """Logistics in the mixture of a pixel."""


KnownLikelihood = Annotated[PlainLikelihood | LogisticMixtureLikelihood, Field(discriminator="kind")]
LikelihoodConfig = Annotated[AutoLikelihood | PlainLikelihood | LogisticMixtureLikelihood, Field(discriminator="kind")]
Latents = Annotated[tuple[LatentSpec, ...], Field(min_length=1, max_length=64)]
Width = Annotated[int, Field(ge=8, le=8192, multiple_of=8)]
Patch = Annotated[int, Field(ge=1, le=8)]
Net = Literal["unet", "transformer"]


class FlowConfig(Section):
    """The latent flow's network and solver."""

    net: Net | Literal["auto"] = "auto"
    """auto = unet for images of at most 32 pixels, else transformer."""
    width: Width | Literal["auto"] = "auto"
    """Channels; the lower level of a UNet has twice as many."""
    blocks: Blocks | Literal["auto"] = "auto"
    """Residual blocks; of a UNet on each level and the way."""
    patch: Patch | Literal["auto"] = "auto"
    """Latents that a token is wide and high; auto = as many as 8 pixels in images larger than 32, else 1."""
    solver_steps: int = Field(10, ge=1, le=1000)
    """Steps from noise to latents; more are slower and a little better."""
    clusters: Clusters | Literal["auto"] = "auto"
    """Groups of similar images that samples start from, at most, or of photographs single images' layouts; auto = 256
    groups or 2,048 layouts."""
    refiner_width: int = Field(32, ge=8, le=8192)
    """Channels, at half resolution, of the network that fits fills to known pixels."""


class ModelConfig(Section):
    """The networks."""

    nets: Annotated[LadderNets | AutoencoderKL, Field(discriminator="kind")] = LadderNets()
    """Of the VAE."""
    latents: Latents | Literal["auto"] = "auto"
    """Latent layers, coarse to fine; auto = one layer, chosen from size and channels."""
    width: Width | Literal["auto"] = "auto"
    """Channels of the VAE at half resolution; deeper levels have two and three times these."""
    blocks: int = Field(1, ge=1, le=16)
    """Residual blocks a resolution."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the features that is left out at random in training; helps with few images."""
    likelihood: LikelihoodConfig = AutoLikelihood()
    """How pixels are distributed around what the decoder draws."""
    flow: FlowConfig = FlowConfig()


class ObjectiveConfig(Section):
    """What training minimises."""

    kl_weight: float = Field(1.0, ge=0)
    """1 = the bound. Less where the flow, not N(0, I), is the prior: latents then cost less than their KL."""
    kl_warmup_steps: int = Field(400, ge=0)
    """Updates over which that weight rises from 0."""
    free_nats: float = Field(0.0, ge=0)
    """Floor under the batch mean of each latent layer's KL, nats."""
    latent_noise: LatentNoise | Literal["auto"] = 0.0
    """Noise on the latents that the decoder sees, on every other image and only before a flow, whose latents do not fit
    as well as those of images; its size is normal with this scale, as a share of the latents' spread. auto = some for
    images larger than 32 pixels, of which flows learn less."""
    importance_samples: int = Field(1, ge=1, le=10_000)
    """Draws K of the importance-weighted bound that ends the VAE phase, of every K-th image of a batch; 1 = without."""
    importance_start: float = Field(0.9, gt=0, lt=1)
    """Share of the VAE phase before that, with free nats and warm-up."""
    perceptual: float = Field(0.0, ge=0)
    """Weight w of the distance of image gradients, in nats of a Laplace density of scale 1 / w; 1 to 10 are usual."""
    adversarial: float = Field(0.0, ge=0)
    """Pull of the patch discriminator, as a share of the reconstruction's."""
    adversarial_start: float = Field(0.5, ge=0, lt=1)
    """Share of the VAE phase after which the discriminator joins in."""


class TrainingConfig(Section):
    """How long, how fast, and what is kept."""

    batch_size: int = Field(32, ge=1, le=2**20)
    """Images an update over all ranks."""
    gradient_accumulation: int = Field(1, ge=1, le=2**20)
    """Micro-batches that each rank works through its part of a batch in, adding up their gradients: less memory for the
    same model, up to rounding and to what dropout leaves out."""
    learning_rate: float = Field(2e-3, gt=0)
    """Of the VAE."""
    flow_learning_rate: float = Field(2e-3, gt=0)
    """Of the flow."""
    flow_optimizer: Literal["muon", "adamw"] = "muon"
    """For the flow's large convolutions and matrices; the rest takes AdamW."""
    vae_optimizer: Literal["muon", "adamw"] = "muon"
    """The same for the VAE."""
    warmup_steps: int = Field(100, ge=0)
    """Updates at the start of each phase over which the learning rate rises."""
    decay_share: float = Field(0.4, ge=0, le=1)
    """Last part of each phase, over which the learning rate falls to 2 %."""
    gradient_clip: float = Field(200.0, gt=0)
    """Longest gradient of the VAE, nats per image; longer ones are shortened to it."""
    weight_decay: float = Field(0.01, ge=0)
    """Pull of the weights towards 0."""
    ema_decay: float = Field(0.999, ge=0, lt=1)
    """Of the moving average of the weights, which is what commands use."""
    steps: int | None = Field(None, ge=1, le=10**12)
    """Budget in updates of both phases. Of the three budgets one is given, the others are null."""
    epochs: float | None = Field(None, gt=0, le=1e9)
    """Budget in passes over the images."""
    time: Seconds | None = None
    """Budget from the start of the process to the last update: seconds, or 90s, 10m, 1h30m."""
    flow_share: Share | Literal["auto"] = "auto"
    """Part of the budget that is the flow's; 0 = no flow, auto = 0.6, or 0.85 where the VAE starts trained."""
    init: str = Field("auto", min_length=1)
    """A run or weights file that both phases start from, the folder of an AutoencoderKL, photo or none; auto = photo
    for colour images of 48 pixels and more, where the settings of the model are left open."""
    tune_vae: bool = False
    """Train an AutoencoderKL further, too; else it stays as it is, and the whole budget is the flow's."""
    save_every: int = Field(500, ge=1)
    """Updates between checkpoints."""
    validate_every: int = Field(250, ge=1)
    """Updates between measurements on held-out images, which choose the best weights."""
    patience: int = Field(10, ge=0)
    """Validations without a better score after which a phase lowers its learning rate, and then ends; 0 = never."""
    log_every: int = Field(50, ge=1)
    """Updates between lines of metrics.jsonl."""
    preview_every: int = Field(1000, ge=1)
    """Updates between pictures in previews/."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Same seed, same model."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the networks; auto = bfloat16 where the processor is faster with it."""
    threads: int = Field(0, ge=0, le=4096)
    """Threads of the processor; 0 = as many as the process may use."""

    @model_validator(mode="after")
    def _one_budget(self) -> "TrainingConfig":
        given = [name for name in BUDGETS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude one another; give one of them")
        return self

    def total_steps(self, num_images: int) -> int | None:
        """Updates of both phases together on this many images an epoch; None under a budget of time."""
        return self.steps if self.epochs is None else math.ceil(self.epochs * num_images / self.batch_size)


BUDGETS = ("steps", "epochs", "time")


class RunConfig(Section):
    """Everything that decides what a run does; stored whole in the run and in every weights file."""

    preset: str = "small"
    """What all else builds on: tiny, flat, small, base or nll."""
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    training: TrainingConfig = TrainingConfig()

    @model_validator(mode="after")
    def _importance_samples_need_the_plain_bound(self) -> "RunConfig":
        objective, needed = self.objective, {"kl_weight": 1, "latent_noise": 0, "perceptual": 0, "adversarial": 0}
        wrong = [f"objective.{name}={value}" for name, value in needed.items() if getattr(objective, name) != value]
        if objective.importance_samples > 1 and wrong:
            raise ValueError(f"objective.importance_samples {objective.importance_samples} weighs the bound alone; "
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
    clusters: Clusters


class CompleteModel(ModelConfig):
    latents: Latents
    width: Width
    likelihood: KnownLikelihood
    flow: CompleteFlow


class CompleteObjective(ObjectiveConfig):
    latent_noise: LatentNoise


class CompleteTraining(TrainingConfig):
    flow_share: Share

    def vae_steps(self, total: int) -> int:
        """Updates of so many that belong to phase 1."""
        return round(total * (1 - self.flow_share))


class CompleteConfig(RunConfig):
    """A configuration in which everything that depends on the data is settled: what a model is built from."""

    data: CompleteData
    model: CompleteModel
    objective: CompleteObjective
    training: CompleteTraining

    @model_validator(mode="after")
    def _fits_the_nets(self) -> Self:
        self.model.nets.require(self.model.latents, self.model.likelihood.kind, self.data.channels)
        return self


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
        raise ConfigError(*explanations(error.errors()[:50], known_keys())[:3]) from error  # of thousands


def known_keys(kind: Any = RunConfig) -> list[str]:
    """Every dotted key of a section, or of all sections that a type such as `tuple[LatentSpec, ...]` names."""
    if not (isinstance(kind, type) and issubclass(kind, Section)):
        return sorted({key for part in get_args(kind) for key in known_keys(part)})
    inner = {f"{name}.{key}" for name, field in kind.model_fields.items() for key in known_keys(field.annotation)}
    return sorted(inner | kind.model_fields.keys())
