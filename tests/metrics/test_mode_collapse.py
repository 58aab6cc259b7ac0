"""Samples that repeat themselves or leave kinds of pictures out: which figures fall, and which do not notice."""

import pytest
import torch
from torch import Tensor

from vae_cli.metrics.features import frechet_distance, neighbourhoods

NUM_MODES, PER_MODE, DIMENSIONS = 8, 50, 6


def pictures_of(modes: int, seed: int) -> Tensor:
    """[400, 6] features around the first few of eight centres that lie far apart."""
    centres = 20 * torch.randn(NUM_MODES, DIMENSIONS, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(seed)
    chosen = centres[:modes].repeat(NUM_MODES, 1)[:NUM_MODES].repeat_interleave(PER_MODE, 0)
    return (chosen + torch.randn(chosen.shape, generator=generator)).double()


def test_coverage_falls_with_every_kind_that_is_left_out() -> None:
    """Precision does not see it: each sample is a good one."""
    real = pictures_of(NUM_MODES, 1)
    found = [neighbourhoods(real, pictures_of(modes, 2)) for modes in (8, 6, 4, 2, 1)]
    for figures, modes in zip(found, (8, 6, 4, 2, 1), strict=True):
        assert figures.coverage <= modes / NUM_MODES and figures.recall <= modes / NUM_MODES
        assert figures.precision > 0.85
    covered = [figures.coverage for figures in found]
    assert covered[0] > 0.9 and covered == sorted(covered, reverse=True) and covered[-1] < 0.13


@pytest.mark.parametrize(("num_different", "most"), [(40, 0.4), (8, 0.1), (2, 0.03)])
def test_coverage_falls_when_samples_repeat(num_different: int, most: float) -> None:
    """A few good pictures drawn again and again, nearly alike, cover no more than themselves would."""
    real = pictures_of(NUM_MODES, 1)
    generator = torch.Generator().manual_seed(3)
    fresh = pictures_of(NUM_MODES, 2)
    kept = fresh[torch.randperm(len(fresh), generator=generator)[:num_different]]
    repeated = kept.repeat(len(fresh) // num_different, 1)
    repeated = repeated + 1e-3 * torch.randn(repeated.shape, generator=generator)
    assert neighbourhoods(real, repeated).coverage < most < neighbourhoods(real, fresh).coverage
    assert frechet_distance(real, repeated) > frechet_distance(real, fresh)
