"""What a run will cost on this machine, measured on a few updates before it starts."""

import sys
import time
from dataclasses import dataclass

import torch

from vae_cli.checkpoint import NUM_KEPT
from vae_cli.dataset.batches import Batches
from vae_cli.model.flow import build_flow
from vae_cli.model.vae import build_vae
from vae_cli.training.budget import total_steps, vae_steps
from vae_cli.training.flow_phase import FlowPhase
from vae_cli.training.phase import Phase, TrainingInputs
from vae_cli.training.vae_phase import VaePhase

TRIAL_UPDATES = 2
LAUNCH_OVERHEAD = 1.1
"""Updates of the weights, validation and checkpoints on top of the measured passes."""


@dataclass(frozen=True)
class Estimate:
    """Seconds None under a budget of time with no number of steps behind it: it is what was asked for."""

    seconds: float
    steps: int | None
    vae_step_seconds: float
    flow_step_seconds: float
    parameters: int
    memory_bytes: int
    disk_bytes: int


def estimate(inputs: TrainingInputs) -> Estimate:
    """Run a few updates of both phases without stepping, and reckon the whole run from them."""
    training = inputs.config.training
    with torch.random.fork_rng(devices=[]):
        vae = inputs.runtime.place(build_vae(inputs.config))
        flow = build_flow(inputs.config, vae.latent_shapes[0], len(inputs.label_names))
        inputs.runtime.place(flow)
    vae_seconds = _seconds_of_update(VaePhase(inputs, vae), inputs)
    has_flow = training.flow_share > 0
    flow_seconds = _seconds_of_update(FlowPhase(inputs, flow, vae), inputs) if has_flow else 0.0
    total = total_steps(training, inputs.images_an_epoch)
    if total is None:
        seconds = training.time or 0.0
    else:
        first = vae_steps(training, total)
        seconds = LAUNCH_OVERHEAD * (first * vae_seconds + (total - first) * flow_seconds)
    modules = [vae, flow] if has_flow else [vae]
    parameters = sum(parameter.numel() for module in modules for parameter in module.parameters())
    weights = 4 * parameters
    return Estimate(
        seconds, total, vae_seconds, flow_seconds, parameters, _memory_bytes(inputs), weights * (1 + NUM_KEPT * 5)
    )


def _seconds_of_update(phase: Phase, inputs: TrainingInputs) -> float:
    """Of the fastest of a few passes forward and back; the first one compiles kernels."""
    training, runtime = inputs.config.training, inputs.runtime
    best = float("inf")
    # With an adversary the last updates are the dearest, with several draws an image, which excludes one, the first.
    spent = 0.0 if inputs.config.objective.importance_samples > 1 else 1.0
    with Batches(inputs.train, training.batch_size, patches=inputs.patches, seed=training.seed, rank=runtime.rank,
                 world_size=runtime.world_size) as batches:  # fmt: skip
        for number in range(1 + TRIAL_UPDATES):
            start = time.perf_counter()
            phase.loss(phase.module, next(batches), spent).total.backward()
            phase.module.zero_grad(set_to_none=True)
            if number:
                best = min(best, time.perf_counter() - start)
    return best


def _memory_bytes(inputs: TrainingInputs) -> int:
    """Peak so far: of the GPU where there is one, else of this process; 0 where the system does not tell."""
    if inputs.runtime.device.type == "cuda":
        return torch.cuda.max_memory_allocated(inputs.runtime.device)
    try:
        import resource
    except ImportError:  # Windows does not have it
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
