"""What the ranks of a distributed training have to agree on; a single process already does."""

import torch
from torch import Tensor
from torch import distributed as dist


def mean_over_ranks(tensor: Tensor) -> Tensor:
    """The mean of each rank's tensor, without a gradient."""
    if not dist.is_initialized():
        return tensor.detach()
    mean = tensor.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(mean)
    return mean / dist.get_world_size()


def of_main_rank(value: float, device: torch.device) -> float:
    """Rank 0's value on every rank."""
    if not dist.is_initialized():
        return value
    shared = torch.tensor([value], dtype=torch.float64, device=device)
    dist.broadcast(shared, 0)
    return shared.item()
