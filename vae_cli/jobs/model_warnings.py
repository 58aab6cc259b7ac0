"""Warnings about models and their training: what to expect of them, and what to try."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vae_cli.config import RunConfig

FEW_IMAGES = 1000  # with fewer, samples are not both good and new
FEW_MEASURED = 20  # held-out images: the mean PSNR of so many is known to about 1 dB
FEW_UPDATES = 300  # of the VAE: with fewer it has hardly begun
FEW_FLOW_UPDATES = 3000  # of photographs from nothing: with fewer, samples are clouds of colour
SMALL_SHARE = 0.2  # of the model in fills, below which they are as good as classical
FEW_ACTIVE = 0.1  # share of active latent units, below which the posterior is taken for collapsed
MIN_IMAGES = 10  # of fewer it is not known how much a unit varies


def few_images_line(num_images: int) -> str | None:
    """What so small a training set will not give; None for one that is large enough."""
    if num_images >= FEW_IMAGES:
        return None
    return (f"few images ({num_images}): rebuilding, filling and removing noise get by with few; samples that are both "
            f"good and new take {FEW_IMAGES:,} or more, better several thousand")  # fmt: skip


def few_measured_line(num_images: int) -> str | None:
    """What figures of so few images are worth; None for enough of them."""
    if num_images >= FEW_MEASURED:
        return None
    return (f"figures of {num_images} image{'s' * (num_images != 1)} mean little: they depend on which ones these are; "
            f"measure {FEW_MEASURED} or more: vae evaluate RUN DATA")  # fmt: skip


def few_updates_line(vae_steps: int) -> str | None:
    """What so few updates of the VAE will give; None for enough of them."""
    if vae_steps >= FEW_UPDATES:
        return None
    return (f"only {vae_steps} update{'s' * (vae_steps != 1)} of the VAE: expect blurs, whatever is asked of this "
            f"model;\nthat takes {FEW_UPDATES} or more, better thousands: train anew with a longer --time")  # fmt: skip


def few_flow_updates_line(flow_steps: int, config: "RunConfig") -> str | None:
    """What so few updates of the flow will give of photographs; None for enough of them, and for small pictures."""
    has_start = config.training.init != "none"
    if has_start or config.model.flow.net != "transformer" or not 0 < flow_steps < FEW_FLOW_UPDATES:
        return None
    return (f"only {flow_steps} update{'s' * (flow_steps != 1)} of the flow: samples will be clouds of colour rather "
            f"than photographs;\nthat takes {FEW_FLOW_UPDATES:,} or more: go on with --resume and a longer --time, or "
            "start from a trained model (--init)")  # fmt: skip


def fill_share_line(share: float) -> str:
    """What `inpaint` will be like with a model of this part in fills, 0 to 1."""
    told = f"the model's part in fills is {share:.0%}"
    if share < SMALL_SHARE:
        return f"{told}: it is not yet better than continuing what is around a hole, so `inpaint` mostly does that"
    return f"{told}; the rest is continued from what is around the hole"


def few_active_line(figures: Mapping[str, Any], config: "RunConfig") -> str | None:
    """What to try when almost no latent unit says anything about the image; None when enough do.

    figures: of `tasks.evaluate`. The first layer decides: in a ladder most units of the fine layers are inactive on
    every image, and should be.
    """
    first = figures["layers"][0]
    active, total = first["active_units"], first["latent_units"]
    if figures["images"] < MIN_IMAGES or active >= FEW_ACTIVE * total:
        return None
    free_nats = max(1, round(0.05 * total), round(2 * config.objective.free_nats))
    warmup = max(1000, 4 * config.objective.kl_warmup_steps)
    return (f"only {active} of {total} latent units are active (posterior collapse): they hardly say which image it "
            f"is;\ntrain with --set objective.free_nats={free_nats}, or a longer --set "
            f"objective.kl_warmup_steps={warmup}")  # fmt: skip
