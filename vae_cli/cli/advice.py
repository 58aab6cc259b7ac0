"""Sentences about models: what to expect of few images, what a figure means, and what to try."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vae_cli.config import RunConfig
    from vae_cli.training.events import Retreated, Shortened
    from vae_cli.training.run_state import RunState

FEW_IMAGES = 1000
"""Below this many training images a model remembers rather than invents."""
FEW_ACTIVE = 0.1
"""Share of active latent units below which the posterior is taken for collapsed."""
FEW_UPDATES = 300
"""Of the VAE; with fewer it has hardly begun."""
MIN_IMAGES = 10
"""Fewer do not tell how much a unit varies."""


def few_images_line(num_images: int) -> str | None:
    """What so small a training set will give; None for one that is large enough."""
    if num_images >= FEW_IMAGES:
        return None
    return (
        f"few images ({num_images}): expect samples and fills that look like these or copy them, little that is new; "
        f"that takes {FEW_IMAGES:,} or more, better several thousand"
    )


def few_updates_line(vae_steps: int) -> str | None:
    """What so short a training will give; None for one that was long enough. vae_steps: updates of the VAE."""
    if vae_steps >= FEW_UPDATES:
        return None
    return (
        f"only {vae_steps} update{'s' * (vae_steps != 1)} of the VAE: expect blurs, whatever is asked of this model;\n"
        f"that takes {FEW_UPDATES} or more, better thousands: train anew with a longer --time"
    )


def few_active_line(facts: Mapping[str, Any], config: "RunConfig") -> str | None:
    """What to try when almost no latent unit says anything about the image; None when enough do.

    The first layer decides: in a ladder most units of the fine layers stay silent on every image, and should.
    facts: figures of `tasks.evaluate`.
    """
    first = facts["layers"][0]
    active, total = first["active_units"], first["latent_units"]
    if facts["images"] < MIN_IMAGES or active >= FEW_ACTIVE * total:
        return None
    free_nats = max(1, round(0.05 * total), round(2 * config.objective.free_nats))
    warmup = max(1000, 4 * config.objective.kl_warmup_steps)
    return (
        f"only {active} of {total} latent units are active (posterior collapse): they hardly say which image it is;\n"
        f"train with --set objective.free_nats={free_nats}, or a longer --set objective.kl_warmup_steps={warmup}"
    )


def figures_line(figures: Mapping[str, float]) -> str:
    """The figures of a log line for the screen; active units as `active 12/32`."""
    words = [f"{name} {value:.4g}" for name, value in figures.items() if name not in ("active_units", "latent_units")]
    if "active_units" in figures:
        words.append(f"active {figures['active_units']:.0f}/{figures['latent_units']:.0f}")
    return "  ".join(words)


def shortened_line(event: "Shortened", patience: int) -> str:
    """Why a phase uses less than its budget."""
    then = "the phase ends here" if event.is_end else "the learning rate falls from here on"
    return (
        f"{event.phase} step {event.step}: {patience} validations without a better score; "
        f"back to the weights of step {event.best_step}, {then}"
    )


def going_on_line(progress: "RunState", rate_factor: float) -> str:
    """Where a resumed run stands, and what earlier retreats have left of the learning rate of its phase."""
    line = f"going on at step {progress.step} ({progress.phase} phase)"
    if rate_factor == 1:
        return line
    return f"{line}, at its learning rate times {rate_factor:g}: the gradients had exploded"


def retreated_line(event: "Retreated") -> str:
    """Why the learning rate has become smaller."""
    return (
        f"{event.phase} step {event.step}: the gradients have exploded; back to the best weights so far, "
        f"learning rate times {event.rate_factor:g} from here on"
    )
