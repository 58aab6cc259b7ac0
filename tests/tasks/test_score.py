"""Scores of single images are those of the evaluation, whatever stands beside them; an odd image lies far off."""

import numpy as np
import pytest
import torch
from tiny import LADDER, pictures, tiny_model, vivid

from vae_cli.checkpoint import Model
from vae_cli.metrics.features import nearest
from vae_cli.tasks.encode import encode_all
from vae_cli.tasks.evaluate import evaluate
from vae_cli.tasks.reconstruct import reconstruct
from vae_cli.tasks.score import CHUNK, KnownLatents, figures, score, strangest_first


@pytest.fixture(scope="module", params=["grid", "ladder"])
def model(request: pytest.FixtureRequest) -> Model:
    return vivid(tiny_model({"model": {"latents": list(LADDER)}} if request.param == "ladder" else {}))


def named(images: np.ndarray) -> list[tuple[str, np.ndarray]]:
    return [(f"{number}.png", image) for number, image in enumerate(images)]


def test_scores_are_those_of_the_evaluation(model: Model) -> None:
    images = pictures(CHUNK + 3)
    found = list(score(model, named(images)))
    wanted = evaluate(model, images)
    assert np.mean([one.psnr_db for one in found]) == pytest.approx(wanted["psnr_db"], abs=1e-3)
    assert np.mean([one.elbo_nats for one in found]) == pytest.approx(wanted["elbo_nats"], rel=0.1), "other noise"
    np.testing.assert_array_equal([one.rebuilt for one in found], list(reconstruct(model, images)))
    np.testing.assert_allclose([one.means for one in found], encode_all(model, images).flat_means(), atol=1e-5)


def test_a_score_depends_on_the_image_its_name_and_the_seed(model: Model) -> None:
    images = pictures(5)
    every, alone = list(score(model, named(images))), next(score(model, named(images)[3:4]))
    assert every[3].elbo_nats == alone.elbo_nats and every[3].psnr_db == alone.psnr_db
    assert next(score(model, named(images), seed=1)).elbo_nats != every[0].elbo_nats
    assert next(score(model, [("other.png", images[0])])).elbo_nats != every[0].elbo_nats


def test_surprise_lies_where_the_picture_was_changed() -> None:
    """A Gaussian of one scale: the surprise of a pixel grows with the square of its error."""
    model = vivid(tiny_model())
    one = next(score(model, named(pictures(1))))
    x = torch.from_numpy(pictures(1)[0, :, :, 0].astype(np.float32)) / 127.5 - 1
    mean = model.vae.decode(model.vae.encode(x[None, None]))[0, 0]
    assert one.surprise.shape == (8, 8)
    np.testing.assert_allclose(np.argsort(one.surprise.ravel()), np.argsort(((x - mean) ** 2).numpy().ravel()))


def test_the_distance_counts_in_the_spread_of_each_direction() -> None:
    """Known latents spread by 10 along one axis and by 0.1 along another: what is far off lies off the second."""
    random = np.random.default_rng(0)
    rows = (random.normal(size=(400, 2)) * (10, 0.1)).astype(np.float32)
    known = KnownLatents.of(rows)
    near, far = np.array([[8.0, 0.0]], np.float32), np.array([[0.0, 8.0]], np.float32)
    (distance, _, share), (far_distance, _, far_share) = known.compare(near), known.compare(far)
    assert far_distance > 3 * distance and far_share == 1.0 and share < 1.0
    again, numbers, shares = known.compare(rows[:50])
    np.testing.assert_array_equal(numbers, np.arange(50))
    assert again.max() < 1e-5 and shares.max() == 0.0
    fresh = (random.normal(size=(400, 2)) * (10, 0.1)).astype(np.float32)
    assert np.mean(known.compare(fresh)[2]) == pytest.approx(0.5, abs=0.06), "as far as known ones from one another"


def test_new_images_are_no_stranger_than_known_ones_though_few_are_known() -> None:
    """As many directions as images: the spread fits these better than any others."""
    random = np.random.default_rng(0)
    known = KnownLatents.of(random.normal(size=(300, 300)).astype(np.float32))
    shares = known.compare(random.normal(size=(200, 300)).astype(np.float32))[2]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize("shape", [(2, 3), (5, 400), (3, 1)])
def test_few_images_and_many_latents(shape: tuple[int, int]) -> None:
    rows = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    known = KnownLatents.of(rows)
    distance, number, share = known.compare(rows + 1e-3)
    assert np.isfinite(distance).all() and number.tolist() == list(range(shape[0])) and (share < 0.5).all()
    same = KnownLatents.of(np.ones((4, 3), np.float32)).compare(np.ones((1, 3), np.float32))
    assert same[0].tolist() == [0.0]


def test_the_strangest_comes_first(model: Model) -> None:
    """Stripes among rectangles; without known images the order is that of the bound."""
    images = pictures(20, seed=1)
    images[13] = np.where(np.arange(8)[None, :, None] % 2, 255, 0)
    scores = list(score(model, named(images)))
    known = KnownLatents.of(encode_all(model, pictures(300)).flat_means())
    found = figures(model, scores, known)
    assert strangest_first(found)[0] == 13 and found[13]["stranger_than"] == 1.0
    blind = figures(model, scores, None)
    assert blind[0]["latent_distance"] is None and blind[0]["bits_per_dim"] is None, "a density"
    order = strangest_first(blind)
    assert [scores[number].elbo_nats for number in order] == sorted(one.elbo_nats for one in scores)


def test_the_nearest_of_several() -> None:
    rows, columns = torch.tensor([[0.0, 0.0], [5.0, 5.0]]), torch.tensor([[3.0, 4.0], [0.0, 1.0], [5.0, 7.0]])
    distances, numbers = nearest(rows, columns, 2)
    assert numbers.tolist() == [[1, 0], [2, 0]]
    assert distances.tolist() == [pytest.approx([1.0, 5.0]), pytest.approx([2.0, 5**0.5])]
