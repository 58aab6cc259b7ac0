"""Ranks that are about to train something else than rank 0 are named before the first update."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from vae_cli.config import RunConfig
from vae_cli.dataset.cache import ImageSet
from vae_cli.errors import ConfigError
from vae_cli.training import alike
from vae_cli.training.inputs import TrainingInputs
from vae_cli.training.prepare import prepare

Change = Callable[[TrainingInputs], TrainingInputs]


@pytest.fixture(scope="module")
def inputs() -> TrainingInputs:
    found = prepare(RunConfig().updated({"preset": "tiny"}))
    some = ImageSet(found.train.pixels[:20], found.train.ids[:20], found.train.labels[:20])
    return replace(found, train=some, validation=some)


def compare(inputs: TrainingInputs, other: TrainingInputs, monkeypatch: pytest.MonkeyPatch) -> None:
    """As three ranks do, of which the last one has something else."""
    sent = []
    monkeypatch.setattr(alike, "of_all_ranks", lambda value: sent.append(value) or [value])
    for name, own in (("one", inputs), ("one", inputs), ("two", other)):
        alike.require_alike(own, name)
    monkeypatch.setattr(alike, "of_all_ranks", lambda value: sent)
    alike.require_alike(inputs, "one")


def changed(**settings: object) -> Change:
    return lambda inputs: replace(inputs, config=inputs.config.updated({"training": settings}))


def other_images(**fields: object) -> Change:
    return lambda inputs: replace(inputs, train=replace(inputs.train, **fields))


PIXELS = np.zeros((20, 28, 28, 1), np.uint8)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (changed(batch_size=7), r"training\.batch_size \(7, not \d+\)"),
        (changed(precision="bfloat16"), r"training\.precision \(bfloat16, not auto\)"),
        (other_images(pixels=PIXELS), "pixels of training images"),
        (other_images(labels=np.ones(20, np.int64)), "labels of training images"),
        (other_images(ids=tuple(map(str, range(20)))), "names of training images"),
        (lambda inputs: replace(inputs, label_names=("x",)), "labels"),
    ],
)
def test_what_differs_is_named_with_its_node(
    inputs: TrainingInputs, monkeypatch: pytest.MonkeyPatch, change: Change, named: str
) -> None:
    with pytest.raises(ConfigError, match=rf"^rank 2 on two differs from rank 0 in: {named}") as caught:
        compare(inputs, change(inputs), monkeypatch)
    assert caught.value.exit_code == 2 and len(str(caught.value).splitlines()) <= 3


def test_what_may_differ(inputs: TrainingInputs, monkeypatch: pytest.MonkeyPatch) -> None:
    compare(inputs, changed(threads=3)(inputs), monkeypatch)
