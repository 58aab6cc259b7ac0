"""Sheets of labelled rows, and folders named by labels, whatever script the labels are written in."""

from pathlib import Path

import numpy as np
from PIL import Image

from vae_cli.drawing.grids import with_alpha
from vae_cli.drawing.label_sheet import folder_names, sheet


def test_a_sheet_of_names_in_any_script() -> None:
    names = ["plain", "käse", "日本", "\udcff", "line\nbreak", "x" * 300, "🐈", ""]
    image = np.full((8, 8, 3), 200, np.uint8)
    made = sheet(names, [[image] * 2] * len(names))
    assert made.shape[2] == 3 and made.shape[0] >= 8 * len(names) and made.shape[1] < 500
    assert (made[:, -18:] == 200).all(axis=2).sum() == 2 * 64 * len(names)
    Image.fromarray(made)
    clear = sheet(names, [[with_alpha(image)] * 2] * len(names))
    np.testing.assert_array_equal(clear[:, :-18, 3], 255 - made[:, :-18, 0], "text is opaque, all else transparent")
    assert (clear[:, -18:, 3] == 255).sum() == 2 * 64 * len(names) and clear[0, -1].tolist() == [200, 200, 200, 255]


def test_folders_named_by_labels() -> None:
    labels = ["Cat", "cat", "../../etc", "a/b", "a:b", "..", "", "x" * 300, "文" * 300, "cat-2"]
    found = folder_names(labels)
    assert found[:2] == ["Cat", "cat-2"]
    assert len({name.casefold() for name in found}) == len(labels)
    for name in found:
        assert Path(name).name == name and name.strip(".") and len(name.encode()) <= 255
