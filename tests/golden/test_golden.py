"""Every command on fixed models answers as it did when golden.npz was recorded: bit for bit on the machine that wrote
it, within rounding elsewhere. `record.py` beside this file writes it anew."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from vae_cli.metrics import classifier

from .jobs import COMMANDS, SETTINGS, Arrays, all_arrays, machine

GOLDEN = Path(__file__).with_name("golden.npz")
NAMES = [*(f"{preset}/{name}" for preset in SETTINGS for name in COMMANDS), "train"]
LEAST_PSNR_DB = 45
FULL_CALIBRATION = True
MOST_RELATIVE_ERROR = 0.02


def stored_form(name: str, array: np.ndarray) -> np.ndarray:
    """Weights are too many to be kept: their norm, and a digest of their bits."""
    if name != "train":
        return array
    bits = hashlib.sha256(array.tobytes()).digest()[:6]
    return np.array([float(np.linalg.norm(array.astype(np.float64))), float(int.from_bytes(bits))])


def once_each(train: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """Two commands learn the same classifier of the same album, from the same seed: the second gets the first's."""
    trained: dict[object, nn.Module] = {}

    def remembered(
        pixels: np.ndarray, labels: np.ndarray, *, on_progress: object = None, **settings: object
    ) -> nn.Module:
        key = (np.asarray(pixels[:]).tobytes(), labels.tobytes(), repr(sorted(settings.items())))
        if key not in trained:
            trained[key] = train(pixels, labels, on_progress=on_progress, **settings)
        return trained[key]

    return remembered


@pytest.fixture(scope="module")
def computations(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Callable[[], Arrays]]]:
    folder = tmp_path_factory.mktemp("golden")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAE_CACHE", str(folder / "cache"))
        patch.setattr(classifier, "train_classifier", once_each(classifier.train_classifier))
        yield dict(all_arrays(folder))


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as stored:
        return dict(stored)


@pytest.mark.parametrize("name", NAMES)
def test_answers_as_recorded(name: str, computations: dict[str, Callable[[], Arrays]], recorded: Arrays) -> None:
    found = {f"{name}:{key}": stored_form(name, array) for key, array in computations[name]().items()}
    assert found.keys() == {key for key in recorded if key.startswith(f"{name}:")}
    is_same_machine = str(recorded["machine"]) == machine()
    for key, array in found.items():
        assert (array.shape, array.dtype) == (recorded[key].shape, recorded[key].dtype), key
        if is_same_machine:
            assert np.array_equal(array, recorded[key]), key
        elif name == "train":
            assert array[0] == pytest.approx(recorded[key][0], rel=MOST_RELATIVE_ERROR, abs=1e-3), key
        elif array.dtype.kind == "u":
            assert _psnr_db(array, recorded[key]) >= LEAST_PSNR_DB, key
        else:
            scale = np.abs(recorded[key]).max()
            assert np.abs(array - recorded[key]).max() <= MOST_RELATIVE_ERROR * scale, key


def _psnr_db(a: np.ndarray, b: np.ndarray) -> float:
    error = np.square(a.astype(np.float64) - b).mean()
    return float(10 * np.log10(np.iinfo(a.dtype).max ** 2 / max(error, 1e-12)))
