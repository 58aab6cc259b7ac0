"""Scores of single images are those of the evaluation, whatever stands beside them; an odd image lies far off."""

import numpy as np
import pytest
import torch
from tiny import LADDER, pictures, tiny_model, vivid

from vae_cli.checkpoint import Model
from vae_cli.metrics.features import nearest
from vae_cli.tasks.encode import comparable, encode_all
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
    np.testing.assert_allclose([one.latents for one in found], comparable(encode_all(model, images).means), atol=1e-5)


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


def test_the_distance_counts_as_a_multiple_of_what_is_usual_there() -> None:
    """Known latents lie close together around one place and far apart around another."""
    random = np.random.default_rng(0)
    crowd, wide = random.normal(size=(300, 4)) * 0.1, random.normal(size=(300, 4)) * 5 + (50, 0, 0, 0)
    known = KnownLatents.of(np.concatenate([crowd, wide]).astype(np.float32))
    beside_crowd, within_wide = np.array([[0, 2.0, 0, 0]], np.float32), np.array([[50, 2.0, 0, 0]], np.float32)
    (strange, _, share), (usual, _, usual_share) = known.compare(beside_crowd), known.compare(within_wide)
    assert strange > 10 and share == 1.0 and usual == pytest.approx(1.0, abs=0.4) and usual_share < 0.9


def test_what_is_known_is_compared_with_the_others() -> None:
    """So that the odd ones among the known images are found as well."""
    rows = np.random.default_rng(0).normal(size=(400, 6)).astype(np.float32)
    rows[7] += 30
    known = KnownLatents.of(rows)
    strangeness, numbers, shares = known.compare(rows)
    np.testing.assert_array_equal(numbers, np.arange(400))
    assert strangeness.argmax() == 7 and strangeness[7] > 5 and shares[7] == pytest.approx(399 / 400)
    assert np.median(strangeness) == pytest.approx(1.0, abs=0.1) and np.mean(shares) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("dims", [2, 300])
def test_new_images_are_as_strange_as_known_ones_among_the_others(dims: int) -> None:
    random = np.random.default_rng(0)
    known = KnownLatents.of(random.normal(size=(300, dims)).astype(np.float32))
    shares = known.compare(random.normal(size=(200, dims)).astype(np.float32))[2]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize("shape", [(2, 3), (5, 400), (3, 1)])
def test_few_images_and_many_latents(shape: tuple[int, int]) -> None:
    rows = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    known = KnownLatents.of(rows)
    strangeness, _, share = known.compare(rows + 100)
    assert np.isfinite(strangeness).all() and (strangeness > 5).all() and (share == 1.0).all()
    assert known.compare(rows)[1].tolist() == list(range(shape[0]))
    same = KnownLatents.of(np.ones((4, 3), np.float32))
    assert same.compare(np.ones((1, 3), np.float32))[0].tolist() == [0.0]
    assert np.isfinite(same.compare(np.zeros((1, 3), np.float32))[0]).all()


def test_the_strangest_comes_first(model: Model) -> None:
    """Stripes among rectangles; without known images the order is that of the bound."""
    images = pictures(20, seed=1)
    images[13] = np.where(np.arange(8)[None, :, None] % 2, 255, 0)
    scores = list(score(model, named(images)))
    known = KnownLatents.of(comparable(encode_all(model, pictures(300)).means))
    found = figures(model, scores, known)
    assert strangest_first(found)[0] == 13 and found[13]["stranger_than"] == 1.0
    blind = figures(model, scores, None)
    assert blind[0]["strangeness"] is None and blind[0]["bits_per_dim"] is None, "a density"
    order = strangest_first(blind)
    assert [scores[number].elbo_nats for number in order] == sorted(one.elbo_nats for one in scores)


def test_the_nearest_of_several() -> None:
    rows, columns = torch.tensor([[0.0, 0.0], [5.0, 5.0]]), torch.tensor([[3.0, 4.0], [0.0, 1.0], [5.0, 7.0]])
    distances, numbers = nearest(rows, columns, 2)
    assert numbers.tolist() == [[1, 0], [2, 0]]
    assert distances.tolist() == [pytest.approx([1.0, 5.0]), pytest.approx([2.0, 5**0.5])]
