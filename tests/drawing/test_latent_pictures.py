"""Pictures of latents: the directions that carry most come first, and what is drawn lies where it should."""

import re
from statistics import NormalDist

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import LADDER, VECTOR, pictures, tiny_model

from vae_cli.drawing.grids import INK, with_alpha
from vae_cli.drawing.latent_pictures import (
    NUM_FRAMES,
    NUM_ROWS,
    SHEET_SIDE,
    is_plane,
    latent_map,
    manifold,
    traversals,
    with_captions,
)
from vae_cli.model.vae import Latents
from vae_cli.tasks.encode import Encoded, decode, encode_all

PLANE = ({"stride": "global", "layers": 1, "channels": 2},)


def encoded_vectors(means: np.ndarray, stds: np.ndarray) -> Encoded:
    """Posteriors of a model with one vector, [N, D] each."""
    return Encoded((means.astype(np.float32)[:, :, None, None],), (stds.astype(np.float32)[:, :, None, None],))


def test_units_are_ordered_by_what_they_carry() -> None:
    """Unit 2 is told precisely, unit 0 hardly, unit 1 follows the prior and carries nothing."""
    model = tiny_model({"model": {"latents": list(VECTOR)}})
    random = np.random.default_rng(0)
    means = random.normal(size=(400, 3)) * (0.3, 0, 1)
    stds = np.broadcast_to(np.array((0.9, 1, 0.1)), means.shape)
    rows = traversals(model, encoded_vectors(means, stds))
    assert [(row.layer, row.number) for row in rows] == [(0, 2), (0, 0), (0, 1)]
    wanted = [0.5 * (np.square(means[:, unit]).mean() + stds[0, unit] ** 2 - 1) - np.log(stds[0, unit])
              for unit in (2, 0, 1)]  # fmt: skip
    np.testing.assert_allclose([row.kl_nats for row in rows], wanted, atol=1e-5)
    assert rows[0].caption == f"unit 2: {wanted[0]:.1f} nats"
    ladder = tiny_model({"model": {"latents": list(LADDER)}})
    captions = [row.caption for row in traversals(ladder, encode_all(ladder, pictures(5)))]
    assert all(re.fullmatch(r"layer (1 unit|[2-4] direction) \d+: \d+\.\d nats", caption) for caption in captions)


def test_a_walk_moves_one_unit_from_minus_three_to_three() -> None:
    model = tiny_model({"model": {"latents": list(VECTOR)}})
    random = np.random.default_rng(1)
    means, stds = random.normal(size=(2000, 3)) * (2, 0.5, 0.5), np.full((2000, 3), 0.1)
    row = traversals(model, encoded_vectors(means, stds))[0]
    start = means[np.square(means - means.mean(0)).sum(1).argmin()]
    spread = np.sqrt(means[:, 0].var() + 0.01)
    latents = np.tile(start, (NUM_FRAMES, 1))
    latents[:, 0] = means[:, 0].mean() + spread * np.linspace(-3, 3, NUM_FRAMES)
    wanted = list(decode(model, Latents((torch.from_numpy(latents).float()[:, :, None, None],))))
    assert np.abs(row.frames.astype(int) - np.stack(wanted)).max() <= 1
    assert (row.frames[0] != row.frames[-1]).any()


@pytest.mark.parametrize("num_images", [1, 2, 30])
@pytest.mark.parametrize("latents", ["grid", "ladder"])
def test_any_model_and_any_number_of_images(latents: str, num_images: int) -> None:
    model = tiny_model({"model": {"latents": list(LADDER)}} if latents == "ladder" else {})
    encoded = encode_all(model, pictures(num_images))
    rows = traversals(model, encoded)
    assert 1 <= len(rows) <= NUM_ROWS and rows[0].frames.shape == (NUM_FRAMES, 8, 8, 1)
    assert [row.kl_nats for row in rows] == sorted((row.kl_nats for row in rows), reverse=True)
    assert all(np.isfinite(row.kl_nats) for row in rows)
    if 1 < num_images <= NUM_ROWS and latents == "grid":
        assert len(rows) == num_images - 1, "so many images lie in a space of one dimension less"
    for labels in ([""] * num_images, ["a"] * num_images, [*["a"] * (num_images - 1), ""]):
        assert latent_map(model, encoded, labels).shape[2] == 4
    again = traversals(model, encode_all(model, pictures(num_images)))
    assert all(np.array_equal(one.frames, other.frames) for one, other in zip(rows, again, strict=True))


def test_captions_stand_beside_the_picture() -> None:
    for channels in (1, 3):
        sheet = with_alpha(np.full((40, 30, channels), 77, np.uint8))
        wide = with_captions(sheet, ["one", "another"])
        np.testing.assert_array_equal(wide[:, -30:], sheet)
        margin = wide[:, :-30]
        assert margin[:20, :, -1].max() > 128 and margin[20:, :, -1].max() > 128, "two lines of text"
        assert (margin[:, :, :-1] == INK).all() and margin[0, 0, -1] == 0, "grey on nothing"


def test_the_sheet_shows_the_quantiles() -> None:
    model = tiny_model({"model": {"latents": list(PLANE)}})
    assert is_plane(model) and not is_plane(tiny_model())
    sheet = manifold(model)
    low = NormalDist().inv_cdf(0.5 / SHEET_SIDE)
    corners = torch.tensor([(low, -low), (-low, -low), (low, low), (-low, low)])[:, :, None, None]
    wanted = list(decode(model, Latents((corners,))))
    found = [sheet[0], sheet[SHEET_SIDE - 1], sheet[-SHEET_SIDE], sheet[-1]]
    assert len(sheet) == SHEET_SIDE**2
    assert all(np.array_equal(one, other) for one, other in zip(found, wanted, strict=True))


def centre_of(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """x and y of the middle of all pixels of a colour left of the legend."""
    rows, columns = np.nonzero((picture[:, :640, :3] == colour).all(2) & (picture[:, :640, 3] == 255))
    return np.array((columns.mean(), rows.mean()))


def test_points_lie_where_their_latents_are() -> None:
    """On a plane of two latents the first goes to the right, the second upwards."""
    model = tiny_model({"model": {"latents": list(PLANE)}})
    means = np.array([(0, 0)] * 5 + [(4, 0)] * 5 + [(0, 2)] * 5, float)
    labels = ["origin"] * 5 + ["right"] * 5 + ["up"] * 5
    picture = latent_map(model, encoded_vectors(means, np.ones_like(means)), labels)
    legend = Image.fromarray(picture[:, 640:]).convert("RGB")
    colours = [colour for _, colour in sorted(legend.getcolors(100_000), reverse=True)]
    vivid = [colour for colour in colours if max(colour) - min(colour) > 120][:3]
    assert len(vivid) == 3, "three labels, three colours in the legend"
    places = sorted(tuple(np.round(centre_of(picture, colour))) for colour in vivid)
    (x0, y0), (x1, y1), (x2, y2) = places  # the two at the left first, the upper one of them first
    assert x0 == x1 < x2 and y0 < y1 == y2
    assert (x2 - x0) == pytest.approx(2 * (y1 - y0), rel=0.02), "one scale for both axes"


def test_a_map_of_more_dimensions_follows_the_variance() -> None:
    model = tiny_model({"model": {"latents": list(VECTOR)}})
    random = np.random.default_rng(2)
    means = random.normal(size=(200, 3)) * (0.1, 5, 0.1)
    means[:100, 1] -= 20
    picture = latent_map(model, encoded_vectors(means, np.ones_like(means)), ["a"] * 100 + ["b"] * 100)
    columns = np.nonzero(picture[:, :640, 3].any(0))[0]
    rows = np.nonzero(picture[:, :640, 3].any(1))[0]
    assert np.ptp(columns) > 600 and np.ptp(rows) < 60, "all of the spread lies along the first axis"


def test_unlabelled_images_are_shown_themselves() -> None:
    model = tiny_model()
    images = pictures(3)
    picture = latent_map(model, encode_all(model, images), [""] * 3)
    assert picture.shape == (640, 640, 4) and 0 < (picture[:, :, 3] == 255).mean() < 0.5


def test_names_of_any_script_and_number_do_no_harm() -> None:
    model = tiny_model({"model": {"latents": list(PLANE)}})
    means = np.random.default_rng(0).normal(size=(60, 2))
    labels = [f"line\nbreak {number} 文字 \udcff" for number in range(60)]
    assert latent_map(model, encoded_vectors(means, np.ones_like(means)), labels).shape == (640, 800, 4)
