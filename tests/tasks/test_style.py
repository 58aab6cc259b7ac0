"""Another label, another look: how far pictures go, what stays, and what a result depends on."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tiny import LADDER, VECTOR, pictures, tiny_model

from vae_cli.checkpoint import Model
from vae_cli.errors import ConfigError
from vae_cli.images.colours import WHITE
from vae_cli.images.recipe import ImageRecipe
from vae_cli.model.vae import Latents
from vae_cli.tasks import style
from vae_cli.tasks.latent_statistics import (
    FEW_PICTURES,
    MAX_RATIO,
    LatentStatistics,
    towards_statistics,
    with_statistics,
)
from vae_cli.tasks.style import (
    CONTRAST,
    MAX_GUIDANCE,
    Change,
    Content,
    likeliest_label,
    restyle,
    tiles_of,
    to_label,
    to_look,
)
from vae_cli.windows.tiles import Tiles
from vae_cli.windows.working_scale import ScaledPicture


def recipe(fit: str) -> ImageRecipe:
    return ImageRecipe((8, 8), 1, fit, WHITE)


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model(num_labels=3)


def changed(change: Change, *images: np.ndarray, label: int | None = 0) -> list[np.ndarray]:
    return [styled.pixels for styled in restyle([Content(image, "a", label) for image in images], change)]


def some_pictures() -> list[np.ndarray]:
    """Of sizes that take one window, several, and less than one; one of 16 bits."""
    deep = pictures(1, (9, 8), seed=3)[0].astype(np.uint16) * 257
    return [pictures(1)[0], pictures(1, (20, 9), seed=1)[0], pictures(1, (5, 30), seed=2)[0], deep]


def both(model: Model, strength: float) -> list[Change]:
    """Every kind of change."""
    return [
        to_label(model, "b", strength=strength),
        to_look(model, pictures(3, seed=5), strength=strength),
        to_look(model, pictures(3, seed=5), pictures(2, (30, 12), seed=6), strength=strength),
    ]


# All changes


@pytest.mark.parametrize("number", range(3))
def test_any_size_comes_back_in_its_size_and_changed(model: Model, number: int) -> None:
    images = some_pictures()
    for image, found in zip(images, changed(both(model, 1.0)[number], *images), strict=True):
        assert found.shape == image.shape and found.dtype == np.float32
        assert found.min() >= 0 and found.max() <= 255
        assert np.abs(found - image * (255 / np.iinfo(image.dtype).max)).max() > 1e-3


@pytest.mark.parametrize("number", range(3))
def test_at_strength_0_everything_stays(model: Model, number: int) -> None:
    """Also what the model cannot draw: the very pixels come back."""
    images = some_pictures()
    for image, found in zip(images, changed(both(model, 0.0)[number], *images), strict=True):
        np.testing.assert_allclose(found, image * (255 / np.iinfo(image.dtype).max), atol=0.02)


@pytest.mark.parametrize("number", range(3))
def test_a_result_does_not_depend_on_its_neighbours(model: Model, number: int) -> None:
    images, change = some_pictures(), both(model, 1.0)[number]
    together = changed(change, *images)
    for image, found in zip(images, together, strict=True):
        assert np.array_equal(changed(change, image)[0], found)


def test_no_more_pictures_wait_than_a_chunk_holds(model: Model) -> None:
    drawn = 0

    def contents() -> Any:
        nonlocal drawn
        for image in pictures(3 * style.CHUNK):
            drawn += 1
            yield Content(image, "a", 0)

    results = restyle(contents(), to_label(model, "b", steps=1))
    next(results)
    assert drawn <= style.CHUNK + 1
    assert len(list(results)) == 3 * style.CHUNK - 1


# Scale


def test_a_picture_of_the_models_size_stays_as_it_is() -> None:
    image = pictures(1)[0]
    for fit in ("crop", "pad", "stretch"):
        working = ScaledPicture.of(image, recipe(fit))
        np.testing.assert_allclose((working.pixels + 1) * 127.5, image, atol=1e-4)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [(16, 40), (3, 5), (90, 20)])
def test_a_change_at_the_working_scale_is_one_of_the_picture(fit: str, size: tuple[int, int]) -> None:
    """Brightening all of it brightens all of the picture alike, padding or not."""
    working = ScaledPicture.of(np.full((*size, 1), 100, np.uint8), recipe(fit))
    height, width = working.pixels.shape[:2]
    assert (height, width) == (8, 8) if fit != "crop" else min(height, width) == 8
    np.testing.assert_allclose(
        working.in_picture(np.full_like(working.pixels, 0.5)), np.full((*size, 1), 0.5), atol=1e-5
    )


def test_thin_pictures_are_not_enlarged_without_bounds() -> None:
    def size_of(*size: int) -> tuple[int, ...]:
        return ScaledPicture.of(np.zeros((*size, 1), np.uint8), recipe("crop")).pixels.shape[:2]

    assert size_of(4, 64) == (8, 128) and size_of(64, 4) == (128, 8), "16 windows"
    assert size_of(4, 100) == (5, 128) and size_of(100, 4) == (128, 5), "no more than that"
    assert size_of(2, 3000) == (2, 3000), "nor smaller than it is"
    assert size_of(30, 3000) == (8, 800), "what is made smaller covers a window"


@pytest.mark.parametrize("size", [(2, 3000), (3000, 2)])
def test_a_thin_picture_comes_back_changed(model: Model, size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 1), np.uint8)
    likes = to_look(model, pictures(3, seed=5), [image])
    for change in (to_label(model, "b", strength=1.0, steps=1), likes):
        assert len(tiles_of(model, image, is_whole=change.is_whole)[1].corners) == 500  # 3000 pixels, 6 a window
        found = changed(change, image)[0]
        assert found.shape == image.shape and np.abs(found - image).max() > 1e-3


def test_padding_is_on_its_ground_and_changes_nothing() -> None:
    working = ScaledPicture.of(np.zeros((8, 16, 1), np.uint8), recipe("pad"))
    assert (working.pixels[:2] == 1).all() and np.allclose(working.pixels[2:6], -1)
    outside = np.zeros_like(working.pixels)
    outside[:2] = 1
    assert np.abs(working.in_picture(outside)).max() == 0


# To a label


def test_every_label_leads_elsewhere_and_strength_says_how_far(model: Model) -> None:
    image = pictures(1)[0]
    goals = [changed(to_label(model, name), image)[0] for name in "bc"]
    assert np.abs(goals[0] - goals[1]).max() > 0.1
    steps = [np.abs(changed(to_label(model, "b", strength=s), image)[0] - image).mean() for s in (0.2, 0.6, 1.0)]
    assert steps[0] < steps[1] < steps[2]


def test_a_picture_of_the_target_stays_as_it_is(model: Model) -> None:
    image = np.random.default_rng(0).integers(0, 65536, (20, 9, 1), dtype=np.uint16)
    np.testing.assert_array_equal(np.rint(changed(to_label(model, "b"), image, label=1)[0] * 257), image)


def test_noise_depends_on_seed_id_and_window(model: Model) -> None:
    image = np.full((8, 14, 1), 90, np.uint8)

    def found(seed: int, image_id: str) -> np.ndarray:
        return next(restyle([Content(image, image_id, 0)], to_label(model, "b", seed=seed))).pixels

    first = found(0, "a")
    assert np.array_equal(first, found(0, "a"))
    assert not np.allclose(first, found(1, "a")) and not np.allclose(first, found(0, "b"))
    assert not np.allclose(first[:, :6], first[:, 8:]), "both windows hold the same grey"


def test_it_begins_at_the_time_that_strength_says(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the own label here and both there, all of them at the same times."""
    seen: list[tuple[float, int]] = []
    real = type(model.flow).velocity

    def velocity(self, u, t, condition, label):  # type: ignore[no-untyped-def]
        seen.append((float(t[0]), int(label[0])))
        return real(self, u, t, condition, label)

    monkeypatch.setattr(type(model.flow), "velocity", velocity)
    changed(to_label(model, "b", strength=0.75, steps=3), pictures(1)[0], label=2)
    assert [time for time, _ in seen] == pytest.approx([0.25] * 3 + [0.5] * 3 + [0.75] * 3)
    assert all(sorted(label for _, label in seen[start : start + 3]) == [1, 2, 2] for start in (0, 3, 6))


def test_small_contrasts_are_enlarged_and_large_ones_kept() -> None:
    unit = torch.ones(1, 2, 3, 3)
    sizes = [style._enlarged(size * unit).mean().item() for size in (1e-3, 0.2, 1.0, 3.0)]
    assert sizes == pytest.approx([1e-3 * MAX_GUIDANCE, CONTRAST, 1.0, 3.0])


def test_the_label_that_explains_a_picture_is_found(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a flow that knows the way to the picture under one label only."""
    flow, (height, width) = model.flow, model.image_size
    assert flow is not None
    tiles = Tiles.of(ScaledPicture.of(pictures(1)[0]).pixels, (height, width))
    with torch.inference_mode():
        x = torch.from_numpy(tiles.cut([0])).permute(0, 3, 1, 2)
        goal = flow.standardise(model.vae.encode(x).noise[0])

    def velocity(self, u, t, condition, label):  # type: ignore[no-untyped-def]
        straight = (goal - u) / (1 - t[:, None, None, None])
        return straight if int(label[0]) == 2 else straight + 0.1

    monkeypatch.setattr(type(flow), "velocity", velocity)
    assert likeliest_label(model, flow, tiles) == 2
    assert likeliest_label(model, flow, tiles, other_than=2) != 2


def test_a_known_label_is_not_looked_for(model: Model) -> None:
    image = pictures(1)[0]
    change = to_label(model, "b", steps=1)
    assert [next(restyle([Content(image, "a", label)], change)).label for label in (0, 2)] == [0, 2]
    assert next(restyle([Content(image, "a")], change)).label in (0, 2), "what it is to become is not what it was"


def test_labels_that_do_not_exist(model: Model) -> None:
    with pytest.raises(ConfigError, match=r"--to B.*no such label"):
        to_label(model, "B")
    with pytest.raises(ConfigError, match="without labels"):
        to_label(tiny_model(), "b")
    with pytest.raises(ConfigError, match="flow"):
        to_label(replace(model, flow=None), "b")


# Towards other pictures


def latents(model: Model, images: Sequence[np.ndarray]) -> Latents:
    with torch.inference_mode():
        windows = np.concatenate([Tiles.of(ScaledPicture.of(image).pixels, (8, 8)).cut([0]) for image in images])
        return model.vae.encode(torch.from_numpy(windows).permute(0, 3, 1, 2))


def statistics(model: Model, images: Sequence[np.ndarray]) -> LatentStatistics:
    return LatentStatistics.of(model, (Tiles.of(ScaledPicture.of(image).pixels, (8, 8)) for image in images))


@pytest.mark.parametrize("layers", [(), LADDER, VECTOR], ids=["grid", "ladder", "vector"])
def test_statistics_are_matched(layers: tuple[Any, ...]) -> None:
    """Of any kind of latents: afterwards mean and scale of every channel are the target's."""
    model = tiny_model({"model": {"latents": list(layers)}} if layers else {})
    contents, styles = pictures(6, seed=1), pictures(9, seed=2)
    source, target = statistics(model, contents), statistics(model, styles)
    after = with_statistics(latents(model, contents), source, target, 1.0, by_place=False)
    for number, z in enumerate(after.noise):
        torch.testing.assert_close(z.mean((0, 2, 3)), target.means[number].flatten(), atol=1e-4, rtol=1e-4)
        ratio = target.scales[number] / source.scales[number]
        if ratio.min() > 1 / MAX_RATIO and ratio.max() < MAX_RATIO:
            torch.testing.assert_close(
                z.std((0, 2, 3), correction=0), target.scales[number].flatten(), atol=1e-3, rtol=1e-2
            )


def test_what_never_varies_is_not_scaled() -> None:
    flat = LatentStatistics(
        (torch.zeros(1, 2, 1, 1),), (torch.zeros(1, 2, 1, 1),), (torch.tensor([0.0, 1.0])[None, :, None, None],)
    )
    wild = LatentStatistics((torch.ones(1, 2, 1, 1),), (torch.ones(1, 2, 1, 1),), (torch.full((1, 2, 1, 1), 50.0),))
    z = Latents((torch.full((1, 2, 1, 1), 2.0),))
    found = with_statistics(z, flat, wild, 1.0, by_place=False).noise[0].flatten()
    assert found.tolist() == [3.0, 1 + 2 * MAX_RATIO]


def test_strength_is_the_share_of_the_way(model: Model) -> None:
    z = latents(model, pictures(2))
    source, target = statistics(model, pictures(2)), statistics(model, pictures(4, seed=3))
    whole, half = (with_statistics(z, source, target, strength, by_place=False).noise[0] for strength in (1.0, 0.5))
    torch.testing.assert_close(half, (z.noise[0] + whole) / 2)


def test_places_count_the_more_the_more_pictures_there_are(model: Model) -> None:
    few, many = statistics(model, pictures(1)), statistics(model, list(pictures(1)) * (3 * FEW_PICTURES))
    trust = [((found.places[0] - found.means[0]).norm() / z).item()
             for found in (few, many)
             for z in [(latents(model, pictures(1)).noise[0] - found.means[0]).norm()]]  # fmt: skip
    assert trust == pytest.approx([1 / (1 + FEW_PICTURES), 0.75], rel=1e-3)


def test_each_picture_of_a_set_counts_alike(model: Model) -> None:
    """However large it is."""
    small, large = np.full((8, 8, 1), 20, np.uint8), np.full((40, 8, 1), 220, np.uint8)
    alone = [statistics(model, [image]).means[0] for image in (small, large)]
    torch.testing.assert_close(statistics(model, [small, large]).means[0], (alone[0] + alone[1]) / 2)


def test_rows_keep_their_own_look(model: Model) -> None:
    z = latents(model, pictures(2))
    looks, target = [statistics(model, [image]) for image in pictures(2)], statistics(model, pictures(4, seed=3))
    together = with_statistics(z, LatentStatistics.joined(looks), target, 1.0, by_place=False).noise[0]
    for row, own in enumerate(looks):
        one = Latents(tuple(layer[row : row + 1] for layer in z.noise))
        torch.testing.assert_close(
            together[row : row + 1], with_statistics(one, own, target, 1.0, by_place=False).noise[0]
        )


def test_a_look_needs_pictures(model: Model) -> None:
    with pytest.raises(ValueError, match="no picture"):
        LatentStatistics.of(model, [])


def test_one_pictures_look_goes_to_another_whose_content_stays() -> None:
    """By means along a line and scales along a geometric one, never beyond MAX_RATIO; a layer of one place stays."""
    torch.manual_seed(0)
    z = Latents((torch.randn(6, 3, 1, 1), 1 + torch.randn(6, 4, 5, 5)))
    sizes = torch.tensor([0.1, 0.5, 2.0, 8.0]).reshape(1, 4, 1, 1)
    others = Latents((torch.randn(6, 3, 1, 1), 2 + sizes * torch.randn(6, 4, 5, 5)))
    shares = torch.tensor([0, 0.3, 0.6, 1, 1.5, 3])
    vector, new = towards_statistics(z, others, shares).noise
    assert torch.equal(vector, z.noise[0]), "there is nothing else to tell its picture by"
    own, new, other = (layer.flatten(2) for layer in (z.noise[1], new, others.noise[1]))
    way = shares[:, None]
    assert torch.allclose(new.mean(2), own.mean(2) + way * (other.mean(2) - own.mean(2)), atol=1e-5)
    before, after, goal = (layer.std(2, correction=0) for layer in (own, new, other))
    wanted = (goal / before).clamp(1 / MAX_RATIO, MAX_RATIO) ** way
    assert torch.allclose(after / before, wanted.clamp(1 / MAX_RATIO, MAX_RATIO), rtol=1e-4)
    centred = [layer - layer.mean(2, keepdim=True) for layer in (own, new)]
    assert torch.cosine_similarity(*centred, dim=2).min() > 0.999, "never upside down"
