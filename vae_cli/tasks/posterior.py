"""Pictures that may lie behind a damaged view: what `inpaint` and `denoise` have in common."""

import torch
from torch import Tensor

from vae_cli.errors import ConfigError
from vae_cli.model.flow import REFINEMENT_TIME, View
from vae_cli.model.priors import through_flow, to_device
from vae_cli.model.vae import Latents
from vae_cli.training.checkpoint import LoadedModel


@torch.inference_mode()
def posterior_pictures(
    model: LoadedModel,
    x: Tensor,
    observed: Tensor,
    noise: Latents,
    *,
    sigma: float = 0.0,
    solver_steps: int | None = None,
    time: float = REFINEMENT_TIME,
) -> Tensor:
    """[B, C, h, w] in [-1, 1]: whole pictures that agree with x [B, C, h, w] where observed [B, 1, h, w] is 1.

    What x holds elsewhere has no influence. sigma: standard deviation of the noise on x, 0-255 scale; time: what the
    refiner is told, see `LatentFlow.refine`. Raises ConfigError for a model without a flow.
    """
    if model.flow is None:
        raise ConfigError(f"{model.path}: this model has no latent flow, which is what finds such pictures")
    device, steps = model.runtime.device, solver_steps or model.config.model.flow.solver_steps
    no_label = torch.full((len(x),), -1, device=device)
    sigmas = torch.full((len(x),), sigma, device=device)
    view = View.of(model.runtime.move(x), model.runtime.move(observed), sigmas, no_label)
    with model.runtime.autocast():
        latents = through_flow(model.flow, to_device(noise, device), view, steps=steps)
        return model.flow.refine(model.vae.decode_mean(latents), view, time).cpu()
