from importlib.resources import files

import numpy as np

from vae_cli.dataset.builtin import builtin_images, builtin_split
from vae_cli.dataset.split import id_hash


def test_images_and_labels() -> None:
    data, label_names = builtin_images()
    assert data.pixels.shape == (10_000, 28, 28, 1) and data.pixels.dtype == np.uint8
    assert data.labels.dtype == np.int64
    counts = dict(zip(label_names, np.bincount(data.labels).tolist(), strict=True))
    assert counts["t-shirt"] == 942 and counts["ankle-boot"] == 1000 and sum(counts.values()) == 10_000
    assert data.pixels.mean(dtype=np.float64) == 73.00877385204082
    assert (data.pixels.reshape(10_000, -1).max(1) > 0).all(), "a filling tile among the images"


def test_ids_are_those_of_a_scan() -> None:
    data, label_names = builtin_images()
    assert list(data.ids) == sorted(set(data.ids))
    assert data.ids[0] == "builtin/ankle-boot/00000.png"
    assert all(label_names[label] == name.split("/")[1] for label, name in zip(data.labels, data.ids, strict=True))


def test_split_follows_the_hash_rule() -> None:
    train, held_out, label_names = builtin_split()
    assert len(train.ids) + len(held_out.ids) == 10_000 and len(label_names) == 10
    assert len(train.pixels) == len(train.labels) == len(train.ids)
    assert all(id_hash(image_id) < 0.05 for image_id in held_out.ids)
    assert all(id_hash(image_id) >= 0.05 for image_id in train.ids)


def test_licence_and_size() -> None:
    folder = files("vae_cli.dataset.builtin")
    assert "Zalando" in folder.joinpath("LICENSE").read_text(encoding="utf-8")
    assert all(len(entry.read_bytes()) < 2 << 20 for entry in folder.iterdir() if entry.is_file())
