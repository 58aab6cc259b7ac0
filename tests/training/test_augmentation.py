"""Augmented images: whole pixels, the border repeated, the same for any number of ranks, and never in the flow."""

from typing import Any

import pytest
import torch
from tiny import tiny_config, tiny_inputs

from vae_cli.config import Layer, merge
from vae_cli.dataset.batches import Batch
from vae_cli.model.flow import build_flow
from vae_cli.model.vae import build_vae
from vae_cli.runtime import Runtime
from vae_cli.training import vae_phase
from vae_cli.training.augmentation import FIRST_VISITS, MAX_SHIFT, augmented, draw_augmentation, is_due
from vae_cli.training.flow_phase import FlowPhase
from vae_cli.training.vae_phase import VaePhase


def coordinates(num: int, height: int, width: int) -> torch.Tensor:
    """[num, 2, H, W] images whose pixels say where they are."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([rows, columns]).float().expand(num, -1, -1, -1)


def test_pixels_keep_their_neighbours() -> None:
    """Shifted by at most a sixteenth, half of them mirrored, the border repeated; on a rectangle."""
    x = coordinates(400, 32, 64)
    found = augmented(x, *draw_augmentation(400, (32, 64), torch.Generator().manual_seed(0)))
    down, along = found[:, 0, :, 0], found[:, 1, 0]
    assert torch.equal(found[:, 0], down[:, :, None].expand(-1, -1, 64)), "rows stay rows"
    steps = along.diff(dim=1)
    is_mirrored = steps.sum(1) < 0
    assert 0.4 < is_mirrored.float().mean() < 0.6
    assert set(steps[~is_mirrored].unique().tolist()) <= {0, 1} and set(steps[is_mirrored].unique().tolist()) <= {0, -1}
    shift = down[:, 16] - 16
    assert (shift.min(), shift.max()) == (-32 * MAX_SHIFT, 32 * MAX_SHIFT)
    assert (down.diff(dim=1) == 0).sum(1).eq(shift.abs()).all(), "as many rows repeat as were pushed out"


def test_small_images_are_mirrored_at_least() -> None:
    x = torch.arange(8.0).expand(50, 1, 8, 8)
    found = augmented(x, *draw_augmentation(50, (8, 8), torch.Generator().manual_seed(0)))
    assert {tuple(row.tolist()) for row in found[:, 0, 0]} == {tuple(range(8)), tuple(range(7, -1, -1))}


def test_the_first_visits_show_images_as_they_are() -> None:
    due = [is_due(step, batch_size=4, num_images=10) for step in range(8)]
    assert due == [False] * 5 + [True] * 3 and FIRST_VISITS == 2


def seen_by(layer: Layer, step: int, runtime: Runtime | None = None) -> torch.Tensor:
    """What the VAE is shown in an update: four of the ten images, each different in every column."""
    setting = tiny_inputs(tiny_config(layer), **({"runtime": runtime} if runtime else {}))
    phase = VaePhase(setting, build_vae(setting.config))
    shown: list[torch.Tensor] = []

    def module(x: torch.Tensor, noise: Any, **_: Any) -> Any:
        shown.append(x)
        raise StopIteration

    first, num = (0, 4) if runtime is None else (2 * runtime.rank, 2)
    pixels = torch.from_numpy(setting.train.pixels[first : first + num])
    with pytest.raises(StopIteration):
        phase.loss(module, Batch(step, pixels, torch.full((num,), -1), torch.zeros(num), first), 0.5)
    return shown[0]


def test_a_phase_moves_images_only_before_a_flow_and_when_asked() -> None:
    plain = seen_by({}, 0)
    assert not torch.equal(seen_by({}, 5), plain)
    assert torch.equal(seen_by({}, 4), plain)
    assert torch.equal(seen_by({"data": {"augment": False}}, 5), plain)
    assert torch.equal(seen_by({"training": {"flow_share": 0.0}}, 5), plain)


def test_ranks_see_their_part_of_what_one_rank_sees() -> None:
    cpu = torch.device("cpu")
    parts = [seen_by({}, 5, Runtime(cpu, rank=rank, world_size=2)) for rank in (0, 1)]
    assert torch.equal(torch.cat(parts), seen_by({}, 5))


def test_validation_and_the_flow_never_move_images(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*arguments: Any) -> Any:
        raise AssertionError("augmented")

    monkeypatch.setattr(vae_phase, "augmented", forbidden)
    setting = tiny_inputs(tiny_config())
    vae = build_vae(setting.config)
    VaePhase(setting, vae).validate(vae)
    flow = build_flow(setting.config, vae.latent_shapes[0], 0)
    batch = Batch(100, torch.from_numpy(setting.train.pixels[:4]), torch.full((4,), -1), torch.zeros(4))
    assert FlowPhase(setting, flow, vae).loss(flow, batch, 0.5).total.isfinite()
    with pytest.raises(AssertionError, match="augmented"):
        VaePhase(setting, vae).loss(vae, batch, 0.5)


def latent_noise_of(layer: Layer, runtime: Runtime | None = None) -> torch.Tensor | None:
    """The noise on latents in an update of four images."""
    inputs = tiny_inputs(tiny_config(layer), **({"runtime": runtime} if runtime else {}))
    shown: list[torch.Tensor | None] = []

    def module(x: torch.Tensor, noise: Any, *, latent_noise: torch.Tensor | None, **_: Any) -> Any:
        shown.append(latent_noise)
        raise StopIteration

    first, num = (0, 4) if runtime is None else (2 * runtime.rank, 2)
    batch = Batch(3, torch.from_numpy(inputs.train.pixels[:num]), torch.full((num,), -1), torch.zeros(num), first)
    with pytest.raises(StopIteration):
        VaePhase(inputs, build_vae(inputs.config)).loss(module, batch, 0.5)
    return shown[0]


def test_every_other_image_has_noise_on_its_latents_before_a_flow() -> None:
    noisy: Layer = {"objective": {"latent_noise": 0.3}}
    found = latent_noise_of(noisy)
    assert found is not None and (found > 0).tolist() == [False, True, False, True]
    parts = [latent_noise_of(noisy, Runtime(torch.device("cpu"), rank=rank, world_size=2)) for rank in (0, 1)]
    assert torch.equal(torch.cat([part for part in parts if part is not None]), found)
    assert latent_noise_of({}) is latent_noise_of(merge(noisy, {"training": {"flow_share": 0.0}})) is None
