"""`vae encode` and back through `vae sample --latents`: files that other tools read, and files that are none."""

import csv
import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from .conftest import SIDE, Outcome, draw, pixels


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Two class folders with odd names and a broken picture."""
    folder = tmp_path / "mixed"
    for number, name in enumerate(("cat/a.png", "cat/b.jpg", "dog/c, d.png", "dog/line\nbreak 文字.png")):
        draw(folder / name, number)
    draw(folder / "dog" / os.fsdecode(b"\xff.png"), 9)
    (folder / "cat" / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture
def latents(vae, run: Path, photos: Path, tmp_path: Path) -> Path:
    path = tmp_path / "latents.npz"
    outcome = vae("encode", run, photos, "--out", path)
    assert outcome.code == 0 and outcome.stdout.split() == [str(path)], outcome.stderr
    return path


def test_what_an_npz_file_holds(vae, run: Path, mixed: Path) -> None:
    outcome = vae("encode", run, mixed, "--json")
    assert outcome.code == 1, outcome.stderr
    path = mixed.with_name("mixed-encode.npz")
    with np.load(path, allow_pickle=False) as found:
        assert sorted(found.files) == ["files", "labels", "latents", "scaling_factor", "shift_factor", "std"]
        means, stds = found["latents"], found["std"]
        scaled = (means - found["shift_factor"]) * found["scaling_factor"]
        np.testing.assert_allclose([scaled.mean(), scaled.std()], [0, 1], atol=1e-5)
        files, labels = found["files"].tolist(), found["labels"].tolist()
    assert means.dtype == stds.dtype == np.float32 and means.shape == stds.shape == (5, *means.shape[1:])
    assert means.ndim == 4 and (stds > 0).all()
    names = ("cat/a.png", "cat/b.jpg", "dog/c, d.png", "dog/line\nbreak 文字.png", os.fsdecode(b"dog/\xff.png"))
    assert files == [str(mixed / name) for name in names]
    assert labels == ["cat", "cat", "dog", "dog", "dog"]
    entries = {entry["input"]: (entry["status"], entry["output"]) for entry in outcome.json["files"]}
    assert entries.pop(str(mixed / "cat" / "broken.png")) == ("failed", None)
    assert entries == {file: ("ok", str(path)) for file in files} and outcome.json["status"] == "partial"


def test_what_a_csv_file_holds(vae, run: Path, mixed: Path, tmp_path: Path) -> None:
    for name in ("l.npz", "l.csv"):
        assert vae("encode", run, mixed, "--out", tmp_path / name).code == 1
    with (tmp_path / "l.csv").open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        header, *rows = csv.reader(file)
    with np.load(tmp_path / "l.npz", allow_pickle=False) as found:
        wanted = found["latents"].reshape(5, -1)
        assert [row[0] for row in rows] == found["files"].tolist()
        assert [row[1] for row in rows] == found["labels"].tolist()
    assert header == ["file", "label", *(f"z{number}" for number in range(wanted.shape[1]))]
    np.testing.assert_array_equal(np.array([row[2:] for row in rows], np.float64).astype(np.float32), wanted)


def test_what_safetensors_and_parquet_files_hold(vae, run: Path, mixed: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    for name in ("l.npz", "l.safetensors", "l.parquet"):
        assert vae("encode", run, mixed, "--out", tmp_path / name).code == 1
    with np.load(tmp_path / "l.npz", allow_pickle=False) as found:
        wanted = dict(found)
    with safe_open(tmp_path / "l.safetensors", framework="np") as file:
        for name in ("latents", "std", "shift_factor", "scaling_factor"):
            np.testing.assert_array_equal(file.get_tensor(name), wanted[name], err_msg=name)
        names = json.loads(file.metadata()["vae"])
    assert names == {"files": wanted["files"].tolist(), "labels": wanted["labels"].tolist()}
    table = parquet.read_table(tmp_path / "l.parquet")
    facts = json.loads(table.schema.metadata[b"vae"])
    for name in ("latents", "std"):
        rows = np.array(table[name].to_pylist(), np.float32).reshape(-1, *facts["shapes"][name])
        np.testing.assert_array_equal(rows, wanted[name], err_msg=name)
    assert facts["scaling_factor"] == wanted["scaling_factor"] and table["label"].to_pylist()[-1] == "dog"
    assert table["file"].to_pylist()[-1].endswith("\\udcff.png"), "no UTF-8, and escaped"


def test_a_missing_package_is_named(vae, run: Path, photos: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (tmp_path / "l.parquet").write_bytes(b"")
    for words in (("encode", run, photos, "--out", tmp_path / "a.parquet"),
                  ("sample", run, "--latents", tmp_path / "l.parquet")):  # fmt: skip
        outcome = vae(*words)
        assert outcome.code == 2 and "pip install pyarrow" in outcome.errors[0], outcome.stderr


def test_files_and_flat_folders_have_no_labels(vae, run: Path, photos: Path, tmp_path: Path) -> None:
    words = ("encode", run, photos / "cat", photos / "dog" / "00.png", "--out", tmp_path / "l.npz")
    assert vae(*words).code == 0
    with np.load(tmp_path / "l.npz", allow_pickle=False) as found:
        assert set(found["labels"]) == {""} and found["files"][-1] == str(photos / "dog" / "00.png")
    again = vae(*words)
    assert again.code == 2 and "--overwrite" in again.stderr and vae(*words, "--overwrite").code == 0


def test_equal_images_give_equal_files(vae, run: Path, photos: Path, latents: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.npz"
    assert vae("encode", run, photos, "--out", other, "--batch-size", 1, "--seed", 7).code == 0
    assert other.read_bytes() == latents.read_bytes()


def as_decoded(vae, run: Path, path: Path, out: Path) -> np.ndarray:
    outcome = vae("sample", run, "--latents", path, "--out", out)
    assert outcome.code == 0, outcome.stderr
    return np.stack([pixels(file) for file in sorted(out.iterdir())])


def test_there_and_back_is_a_reconstruction(vae, run: Path, photos: Path, latents: Path, tmp_path: Path) -> None:
    """From our files, and from plain arrays of any shape and type that others write."""
    assert vae("reconstruct", run, photos, "--out", tmp_path / "rebuilt").code == 0
    wanted = np.stack([pixels(path) for path in sorted((tmp_path / "rebuilt").rglob("*.png"))])
    ours = ["latents.npz", "table.csv", "tensors.safetensors", "table.parquet"]
    for name in ours[1:] if importlib.util.find_spec("pyarrow") else ours[1:-1]:
        assert vae("encode", run, photos, "--out", tmp_path / name).code == 0
    with np.load(latents) as found:
        means = found["latents"]
    np.save(tmp_path / "grid.npy", means.astype(np.float64))
    np.save(tmp_path / "flat.npy", means.reshape(len(means), -1))
    np.savez_compressed(tmp_path / "plain.npz", edited=np.asfortranarray(means))
    for name in (*(name for name in ours if (tmp_path / name).exists()), "grid.npy", "flat.npy", "plain.npz"):
        found = as_decoded(vae, run, tmp_path / name, tmp_path / f"from-{name}")
        np.testing.assert_array_equal(found, wanted, err_msg=name)


def test_a_table_may_be_edited(vae, run: Path, latents: Path, tmp_path: Path) -> None:
    """Rows in another order, columns moved, added and removed, a byte-order mark, an empty line."""
    with np.load(latents) as found:
        means = found["latents"].reshape(12, -1)
    names = [f"z{number}" for number in range(means.shape[1])]
    lines = [",".join([*names[::-1], "cluster"]), ""]
    lines += [",".join([*map(repr, row[::-1].tolist()), "x"]) for row in means[[4, 1]]]
    (tmp_path / "t.csv").write_text("\n".join(lines), encoding="utf-8-sig")
    found = as_decoded(vae, run, tmp_path / "t.csv", tmp_path / "edited")
    np.testing.assert_array_equal(found, as_decoded(vae, run, latents, tmp_path / "all")[[4, 1]])


def test_a_grid_of_latents_and_its_json(vae, run: Path, latents: Path, tmp_path: Path) -> None:
    facts = vae("sample", run, "--latents", latents, "--out", tmp_path / "grid.png", "--json").json
    assert facts["status"] == "ok" and facts["seed"] is facts["prior"] is facts["solver_steps"] is None
    assert [(entry["input"], entry["output"]) for entry in facts["files"]] == [(None, str(tmp_path / "grid.png"))]
    assert pixels(tmp_path / "grid.png").shape == (3 * (SIDE + 2) - 2, 4 * (SIDE + 2) - 2, 3)


@pytest.mark.parametrize(
    "words", [("-n", 64), ("--label", "cat"), ("--prior", "auto"), ("--temperature", 1), ("--solver-steps", 3)]
)
def test_nothing_is_drawn_beside_latents(vae, run: Path, latents: Path, words: tuple[object, ...]) -> None:
    """Even where the option says what is the default anyway."""
    outcome = vae("sample", run, "--latents", latents, *words)
    assert outcome.code == 2 and str(words[0]) in outcome.errors[0] and "--latents" in outcome.errors[0]


def refused(vae, run: Path, path: Path) -> Outcome:
    """The outcome of decoding a bad file: a short message that names it, and nothing written."""
    out = path.with_name("refused")
    outcome = vae("sample", run, "--latents", path, "--out", out)
    assert str(path) in outcome.errors[0] and len(outcome.errors) == 1 and not out.exists(), outcome.stderr
    return outcome


def test_arrays_that_are_no_latents(vae, run: Path, latents: Path, tmp_path: Path) -> None:
    with np.load(latents) as found:
        means = found["latents"]
    broken = means.copy()
    broken[7, 0, 0, 0] = np.nan
    shape = ", ".join(map(str, means.shape[1:]))
    for name, array, problem in (
        ("narrow", means[:, :-1], f"[N, {shape}]"),
        ("image", means[0], f"[N, {shape}]"),
        ("number", np.float32(3), "a single number"),
        ("nan", broken, "row 7 (the first is 0): not a number"),
        ("none", means[:0], "no rows"),
        ("words", means.astype(str), "real numbers"),
    ):
        np.save(tmp_path / f"{name}.npy", array)
        outcome = refused(vae, run, tmp_path / f"{name}.npy")
        assert outcome.code == 3 and problem in outcome.errors[0], outcome.stderr


class Payload:
    """Unpickling it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_nothing_is_ever_unpickled(vae, run: Path, tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    array = np.array([Payload(trap)], dtype=object)
    np.save(tmp_path / "object.npy", array, allow_pickle=True)
    np.savez(tmp_path / "object.npz", latents=array, allow_pickle=True)
    array.dump(tmp_path / "pickle.npy")
    for name in ("object.npy", "object.npz", "pickle.npy"):
        assert refused(vae, run, tmp_path / name).code == 3
    assert not trap.exists()


def test_files_that_are_something_else(vae, run: Path, latents: Path, photos: Path, tmp_path: Path) -> None:
    content = latents.read_bytes()
    np.savez(tmp_path / "others.npz", a=np.zeros(3), b=np.zeros(3))
    for name, data, problem in (
        ("empty.npz", b"", "damaged, or no file of plain arrays"),
        ("text.npy", b"hello", "damaged, or no file of plain arrays"),
        ("picture.npz", (photos / "cat" / "01.png").read_bytes(), "damaged, or no file of plain arrays"),
        ("cut.npz", content[: len(content) // 2], "damaged, or no file of plain arrays"),
        ("others.npz", None, "no array called latents in it (only a, b)"),
        ("empty.csv", b"", "no columns z0"),
        ("binary.csv", content, ""),
        ("foreign.csv", b"x,y\n1,2\n", "no columns z0"),
        ("word.csv", b"z0,z1\n1,two\n", "line 2: "),
        ("short.csv", b"z0,z1\n1,2\n3\n", "line 3 has 1 columns"),
        ("narrow.csv", b"z0,z1\n1,2\n", "this model's latents"),
        ("header.csv", b"z0,z1\n", "this model's latents"),
    ):
        if data is not None:
            (tmp_path / name).write_bytes(data)
        outcome = refused(vae, run, tmp_path / name)
        assert outcome.code == 3 and problem in outcome.errors[0], f"{name}: {outcome.stderr}"
    (tmp_path / "l.pt").write_bytes(b"")
    for path in (tmp_path / "l.pt", tmp_path / "absent.npz", tmp_path):
        assert refused(vae, run, path).code == 2


def test_the_format_is_the_suffixs_or_the_options(vae, run: Path, photos: Path, tmp_path: Path) -> None:
    for words, problem in (((), ".npz, .csv, .safetensors or .parquet"), (("--format", "npy"), "--format")):
        outcome = vae("encode", run, photos, "--out", tmp_path / "l.npy", *words)
        assert outcome.code == 2 and problem in outcome.errors[0]
    outcome = vae("encode", run, photos, "--out", tmp_path / "l.npz", "--format", "csv")
    assert outcome.code == 2 and "says another" in outcome.errors[0]
    assert vae("encode", run, photos, "--out", tmp_path / "l.tmp", "--format", "csv").code == 0
    assert (tmp_path / "l.tmp").read_bytes().startswith(b"file,label,z0,")
    (tmp_path / "bad.png").write_bytes(b"")
    assert vae("encode", run, tmp_path / "bad.png").code == 3
    assert not (tmp_path / "bad.png-encode.npz").exists()


def test_pictures_of_latents(vae, run: Path, photos: Path, tmp_path: Path) -> None:
    out, folder = tmp_path / "l.npz", tmp_path / "drawn"
    outcome = vae("encode", run, photos, "--out", out, "--pictures", folder, "--json")
    assert outcome.code == 0, outcome.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["map.png", "traversals.png"]
    assert pixels(folder / "map.png").shape == (640, 800, 4), "class folders make a legend"
    drawn = [entry["output"] for entry in outcome.json["files"] if entry["input"] is None]
    assert sorted(drawn) == [str(folder / "map.png"), str(folder / "traversals.png")]
    again = vae("encode", run, photos, "--out", tmp_path / "m.npz", "--pictures", folder)
    assert again.code == 2 and not (tmp_path / "m.npz").exists()


def test_training_leaves_pictures_of_its_latents(vae, run: Path, photos: Path, tmp_path: Path) -> None:
    assert {"traversals.png", "map.png"} <= {path.name for path in (run / "previews").iterdir()}
    plane = ("--preset", "flat", "--set", "model.latents=[{stride: global, layers: 1, channels: 2}]")
    small = ("--set", "model.width=8", "--set", "model.flow.width=16", "--set", "training.batch_size=4")
    outcome = vae("train", photos, *plane, *small, "--steps", 4, "--out", tmp_path / "plane", "--device", "cpu")
    assert outcome.code == 0, outcome.stderr
    assert pixels(tmp_path / "plane" / "previews" / "manifold.png").shape == (20 * (SIDE + 2) - 2,) * 2 + (4,)


def test_saved_latents_give_the_same_samples(vae, run: Path, tmp_path: Path) -> None:
    """More samples than are decoded at once; enlarged ones are the same ones."""
    path, out = tmp_path / "drawn.npz", tmp_path / "drawn"
    words = ("sample", run, "-n", 35, "--label", "cat", "--seed", 3, "--save-latents", path)
    outcome = vae(*words, "--out", out, "--json")
    assert outcome.code == 0 and outcome.json["files"][-1]["output"] == str(path), outcome.stderr
    drawn = np.stack([pixels(file) for file in sorted(out.iterdir())])
    assert (drawn != drawn[0]).any(), "the pictures differ"
    np.testing.assert_array_equal(as_decoded(vae, run, path, tmp_path / "again"), drawn)
    with np.load(path) as found:
        assert "std" not in found.files and found["latents"].dtype == np.float32 and set(found["labels"]) == {"cat"}
        assert found["files"].tolist() == [str(file) for file in sorted(out.iterdir())]
    assert vae("sample", run, "--latents", path, "--scale", 3, "--out", tmp_path / "large").code == 0
    enlarged = pixels(tmp_path / "large" / "000034.png")
    np.testing.assert_array_equal(enlarged, drawn[34].repeat(3, axis=0).repeat(3, axis=1))
    again = vae(*words, "--out", tmp_path / "other")
    assert again.code == 2 and str(path) in again.errors[0] and not (tmp_path / "other").exists()
    refused_suffix = vae("sample", run, "--save-latents", tmp_path / "l.npy")
    assert refused_suffix.code == 2 and ".npz or .csv" in refused_suffix.errors[0]


def test_latents_of_a_grid_of_labels(vae, run: Path, tmp_path: Path) -> None:
    path, sheet = tmp_path / "all.csv", tmp_path / "all.png"
    assert vae("sample", run, "-n", 2, "--label", "all", "--out", sheet, "--save-latents", path).code == 0
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["file"], row["label"]) for row in rows] == [
        (str(sheet), name) for name in ("cat", "cat", "dog", "dog")
    ]
