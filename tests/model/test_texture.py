"""Copied texture: a pattern goes on through a hole, colours stay about those it starts from, and chance has a seed."""

import torch
from torch import Tensor

from vae_cli.model import texture
from vae_cli.model.continuation import plate
from vae_cli.model.texture import textured

SIDE = 48


def hole_of(side: int = SIDE, half: int = 8) -> Tensor:
    hole = torch.zeros(side, side, dtype=torch.bool)
    hole[side // 2 - half : side // 2 + half, side // 2 - half : side // 2 + half] = True
    return hole


def fogged(picture: Tensor, hole: Tensor) -> Tensor:
    """The picture with its hole continued smoothly."""
    observed = (~hole)[None].float()
    return plate((picture * observed)[None], observed[None])[0]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def stripes(side: int = SIDE, period: int = 6) -> Tensor:
    """[1, side, side]: diagonal ones."""
    places = torch.arange(side)
    return 0.8 * torch.sin(2 * torch.pi * (places[:, None] + places) / period)[None]


def error(found: Tensor, wanted: Tensor, hole: Tensor) -> float:
    return float((found - wanted)[:, hole].square().mean())


def test_stripes_go_on_through_a_hole() -> None:
    for size, half in ((SIDE, 8), (160, 30)):  # the second is too large for all pairs of patches to be compared
        truth, hole = stripes(size), hole_of(size, half)
        start = fogged(truth, hole)
        found = textured(start, hole, generator())
        assert found is not None
        assert error(found, truth, hole) < 0.3 * error(start, truth, hole), size


def test_what_is_known_stays_and_what_is_unknown_is_copied() -> None:
    truth, hole = torch.rand(3, SIDE, SIDE, generator=generator()) * 2 - 1, hole_of()
    found = textured(fogged(truth, hole), hole, generator())
    assert found is not None
    assert torch.equal(found[:, ~hole], truth[:, ~hole])

    def roughness(picture: Tensor) -> float:
        return float(picture.diff(dim=2)[:, hole[:, 1:]].square().mean())

    assert roughness(found) > 0.4 * roughness(truth) > 2 * roughness(fogged(truth, hole))
    assert found.abs().max() <= 1


def test_colours_at_large_are_those_of_the_start() -> None:
    picture, hole = stripes() * 0.2, hole_of()
    start = torch.where(hole, 0.5, picture)
    found = textured(start, hole, generator())
    assert found is not None
    assert abs(float(found[:, hole].mean()) - 0.5) < 0.1


def test_a_fill_follows_from_its_seed() -> None:
    truth, hole = torch.rand(1, SIDE, SIDE, generator=generator()) * 2 - 1, hole_of()
    start = fogged(truth, hole)
    first, same, other = (textured(start, hole, generator(seed)) for seed in (1, 1, 2))
    assert first is not None and same is not None and other is not None
    assert torch.equal(first, same) and not torch.equal(first, other)


def test_few_halvings_keep_the_shapes_of_the_start() -> None:
    """A bright disc that is known nowhere: only where the search begins at the finest resolution does it stay."""
    hole = hole_of(96, 28)
    places = torch.arange(96) - 48
    disc = (places[:, None] ** 2 + places**2 < 15**2).float()[None]
    start = torch.where(hole, disc, 0.2 * stripes(96))

    def contrast(halvings: int) -> float:
        found = textured(start, hole, generator(), halvings)
        assert found is not None
        return float((found * disc).sum() / disc.sum() - (found * (1 - disc) * hole).sum() / ((1 - disc) * hole).sum())

    assert contrast(1) > contrast(16)


def test_without_a_whole_known_patch_there_is_nothing_to_copy() -> None:
    hole = torch.rand(SIDE, SIDE, generator=generator()) < 0.75
    assert textured(torch.zeros(1, SIDE, SIDE), hole, generator()) is None
    assert textured(torch.zeros(1, SIDE, SIDE), torch.ones(SIDE, SIDE, dtype=torch.bool), generator()) is None


def test_a_huge_hole_takes_over_the_matches_of_a_coarser_level(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    truth, hole = stripes(160, 16), hole_of(160, 30)
    start = fogged(truth, hole)
    monkeypatch.setattr(texture, "_MOST_SEARCHED", 1000)
    monkeypatch.setattr(texture._Level, "_search", lambda *_: (_ for _ in ()).throw(AssertionError("a search")))
    found = textured(start, hole, generator())
    assert found is not None and error(found, truth, hole) < 0.5 * error(start, truth, hole)
