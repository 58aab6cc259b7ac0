"""What a run will cost on this machine, measured on a few updates before it starts."""

import math
import sys
import time
from dataclasses import dataclass

import torch

from vae_cli.checkpoint import build_modules, count_parameters
from vae_cli.checkpoint_folders import NUM_KEPT
from vae_cli.dataset.batches import Batches
from vae_cli.training.flow_phase import FlowPhase
from vae_cli.training.inputs import TrainingInputs
from vae_cli.training.phase import Phase
from vae_cli.training.vae_phase import VaePhase

TRIAL_UPDATES = 2
LAUNCH_OVERHEAD = 1.1  # factor for updates of the weights, validation and checkpoints on top of the measured passes
# Numbers on disk a weight: `best`; in every step checkpoint weights, average, best and the optimiser's two moments.
FILES_A_WEIGHT = 1 + 5 * NUM_KEPT


@dataclass(frozen=True)
class Estimate:
    """The cost of a whole run; steps None under a budget of time, whose seconds are those asked for."""

    seconds: float
    steps: int | None
    vae_step_seconds: float
    flow_step_seconds: float
    parameters: int
    memory_bytes: int
    disk_bytes: int


def estimate(inputs: TrainingInputs) -> Estimate:
    """Compute a few updates of both phases without making them, and reckon the whole run from their time."""
    training = inputs.config.training
    vae, flow = build_modules(inputs.facts(), has_flow=training.flow_share > 0)
    inputs.runtime.place(vae)
    vae_seconds = _seconds_of_update(VaePhase(inputs, vae)) if training.flow_share < 1 else 0.0
    flow_seconds = 0.0 if flow is None else _seconds_of_update(FlowPhase(inputs, inputs.runtime.place(flow), vae))
    seconds, total = training.time or 0.0, training.total_steps(inputs.images_an_epoch)
    if total is not None:
        first = training.vae_steps(total)
        seconds = LAUNCH_OVERHEAD * (first * vae_seconds + (total - first) * flow_seconds)
    parameters = count_parameters(vae, flow)
    memory, disk = _memory_bytes(inputs.runtime.device), 4 * parameters * FILES_A_WEIGHT
    return Estimate(seconds, total, vae_seconds, flow_seconds, parameters, memory, disk)


def _seconds_of_update(phase: Phase) -> float:
    """Of the fastest of a few passes forward and back; the first one, which compiles kernels, does not count."""
    inputs, best = phase.inputs, math.inf
    training, runtime = inputs.config.training, inputs.runtime
    # An adversary makes the last updates the dearest; several draws, which exclude one, the first.
    spent = 0.0 if inputs.config.objective.importance_samples > 1 else 1.0
    with Batches(inputs.train, training.batch_size, patches=inputs.patches, seed=training.seed, rank=runtime.rank,
                 world_size=runtime.world_size) as batches:  # fmt: skip
        for number in range(1 + TRIAL_UPDATES):
            start = time.perf_counter()
            phase.add_gradients(phase.module, next(batches), spent)
            phase.module.zero_grad(set_to_none=True)
            if number:
                best = min(best, time.perf_counter() - start)
    return best


def _memory_bytes(device: torch.device) -> int:
    """Peak so far: of the GPU where there is one, else of this process; 0 where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows does not have it
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
