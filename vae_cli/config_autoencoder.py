"""Which networks a VAE consists of: our own, or those of an autoencoder that was made elsewhere."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from vae_cli.config_values import Section

Channels = Annotated[int, Field(ge=1, le=8192)]
Levels = Annotated[tuple[Channels, ...], Field(min_length=2, max_length=7)]


class LadderNets(Section):
    """Our own encoder and ladder, which the other settings of the model describe."""

    kind: Literal["ladder"] = "ladder"

    def require(self, latents: Sequence[Any], likelihood: str, channels: int) -> None:
        """All of them fit."""


class AutoencoderKL(Section):
    """Those of a folder in the layout of diffusers, which `training.init` names and all of this is taken from; the
    model's blocks and dropout have no meaning then."""

    kind: Literal["autoencoder_kl"] = "autoencoder_kl"
    in_channels: Literal[1, 3] = 3
    """Channels of the images."""
    out_channels: Literal[1, 3] = 3
    """The same."""
    down_block_types: tuple[Literal["DownEncoderBlock2D"], ...] = ("DownEncoderBlock2D",)
    """The encoder's levels."""
    up_block_types: tuple[Literal["UpDecoderBlock2D"], ...] = ("UpDecoderBlock2D",)
    """The decoder's levels."""
    block_out_channels: Levels
    """Channels of each level, fine to coarse."""
    layers_per_block: int = Field(1, ge=1, le=16)
    """Residual blocks a level; the decoder has one more."""
    act_fn: Literal["silu", "swish", "mish", "gelu", "relu"] = "silu"
    """What stands between convolutions."""
    latent_channels: int = Field(4, ge=1, le=512)
    """Numbers at each place of the latents."""
    norm_num_groups: int = Field(32, ge=1, le=8192)
    """Groups of channels that are normalised together."""
    sample_size: int = Field(32, ge=1, le=65536)
    """Pixels of a side that it was trained at."""
    scaling_factor: float = Field(0.18215, gt=0, le=1e6)
    """What latents are multiplied by, so that their standard deviation is about 1."""
    shift_factor: Annotated[float, Field(ge=-1e6, le=1e6)] | None = None
    """What is subtracted from latents before."""
    latents_mean: None = None
    """Not used by this kind."""
    latents_std: None = None
    """Not used by this kind."""
    force_upcast: bool = True
    """Whether it needs float32 where others do with float16."""
    use_quant_conv: bool = True
    """Whether a convolution follows the encoder."""
    use_post_quant_conv: bool = True
    """Whether one comes before the decoder."""
    mid_block_add_attention: bool = True
    """Whether the coarsest level has attention."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        num = len(self.block_out_channels)
        if (len(self.down_block_types), len(self.up_block_types), self.out_channels) != (num, num, self.in_channels):
            raise ValueError(f"not {num} blocks down and {num} up for {num} levels, or more channels out than in")
        if any(width % self.norm_num_groups for width in self.block_out_channels):
            raise ValueError(f"block_out_channels: not all multiples of norm_num_groups, {self.norm_num_groups}")
        return self

    def require(self, latents: Sequence[Any], likelihood: str, channels: int) -> None:
        """Raises ValueError unless a model's latents (of `LatentSpec`), likelihood and channels are those of this."""
        found = [(spec.stride, spec.layers, spec.channels) for spec in latents], likelihood, channels
        if found != ([(self.stride, 1, self.latent_channels)], "gaussian", self.in_channels):
            text = f"[{{stride: {self.stride}, channels: {self.latent_channels}}}]"
            raise ValueError(f"this AutoencoderKL has model.latents={text}, a gaussian likelihood and "
                             f"data.channels={self.in_channels}; leave them open")  # fmt: skip

    @property
    def stride(self) -> int:
        """Image side ÷ latent side."""
        return int(2 ** (len(self.block_out_channels) - 1))
