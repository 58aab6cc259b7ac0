"""A data set made larger from the command line: what is written, and what is left alone."""

import csv
import shutil
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vae_cli.dataset.scan import scan
from vae_cli.dataset.split import split_images
from vae_cli.jobs.augment import Writer
from vae_cli.jobs.events import FileDone
from vae_cli.tasks import augment_checks
from vae_cli.tasks.augment import METHODS, Augmented
from vae_cli.tasks.augment_checks import UNSURE, Checks, Verdict

from .conftest import SIDE, draw, pixels


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """What is wrong with every image: nothing. Checks of a dozen pictures doubt all that a tiny model makes;
    tests/tasks looks after them."""
    problem: list[str | None] = [None]

    def verdicts(self: Checks, pixels: np.ndarray, sources: np.ndarray, labels: np.ndarray) -> list[Verdict]:
        return [replace(verdict, problem=problem[0]) for verdict in real(self, pixels, sources, labels)]

    real = Checks.verdicts
    monkeypatch.setattr(Checks, "verdicts", verdicts)
    monkeypatch.setattr(augment_checks, "MAX_STEPS", 5)
    return problem


@pytest.fixture
def data(photos: Path, tmp_path: Path) -> Path:
    """The run's own pictures, and something that is none."""
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    (folder / "cat" / "broken.png").write_bytes(b"no picture")
    return folder


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*") if path.suffix != ".csv")


def held_out_ids(data: Path) -> set[str]:
    parts = split_images(scan(data).images)
    return {ref.id for ref in (*parts.validation, *parts.test)}


def test_class_folders_names_and_the_manifest(vae, run: Path, data: Path) -> None:
    before = {path: path.read_bytes() for path in data.rglob("*.*")}
    outcome = vae("augment", run, data, "--per-image", 2, "--seed", 3, "--strength", 0.4, "--json")
    assert outcome.code == 1, "one file is broken"
    out = data.with_name("photos-augment")
    held_out = held_out_ids(data)
    sources = [f"{'cat' if number % 2 else 'dog'}/{number:02d}" for number in range(12)]
    sources = sorted(source for source in sources if f"{source}.png" not in held_out)
    assert held_out and files_in(out) == [f"{source}.aug{number}.png" for source in sources for number in (1, 2)]
    assert {pixels(out / name).shape for name in files_in(out)} == {(SIDE, SIDE, 3)}
    rows = rows_of(out)
    assert b"\r" not in (out / "manifest.csv").read_bytes(), "lines end as in all tables"
    assert [row["output"] for row in rows] == files_in(out)
    for row in rows:
        assert row["output"] == f"{row['source'].removesuffix('.png')}.aug{row['number']}.png"
        assert row["label"] == row["source"].split("/")[0] and (row["seed"], row["strength"]) == ("3", "0.4")
        assert row["method"] in METHODS
        assert row["partner"] and not {row["source"], row["partner"]} & held_out
        assert float(row["held_out_distance"]) > 0 and 0 <= float(row["confidence"]) <= 1
    facts = outcome.json
    assert facts["images"] == len(rows) == sum(facts["methods"].values()) == sum(facts["labels"].values())
    assert facts["rejected"].keys() == {"unsure", "near_held_out"} and facts["dropped"] == 0
    states = [(entry["status"], entry["sample"]) for entry in facts["files"]]
    assert states == [("failed", None), *[("ok", number) for _ in sources for number in (0, 1)]]
    assert "broken.png" in facts["files"][0]["input"]
    assert {path: path.read_bytes() for path in data.rglob("*.*")} == before, "the originals were touched"


def test_the_same_seed_makes_the_same_images(vae, run: Path, data: Path, tmp_path: Path) -> None:
    def images(out: str, *words: object) -> list[bytes]:
        assert vae("augment", run, data, "--out", tmp_path / out, *words).code == 1
        return [
            pixels(tmp_path / out / name).tobytes() for name in files_in(tmp_path / out) if name.endswith("aug1.png")
        ]

    first = images("first", "--per-image", 2)
    assert images("again", "--per-image", 1, "--batch-size", 3) == first
    assert images("other", "--per-image", 1, "--seed", 1) != first


def test_of_more_candidates_harder_images_are_kept(vae, run: Path, data: Path, tmp_path: Path) -> None:
    def confidences(count: int) -> np.ndarray:
        out = tmp_path / f"{count}"
        assert vae("augment", run, data, "--out", out, "--strength", 1, "--candidates", count).code == 1
        return np.array([float(row["confidence"]) for row in rows_of(out)])

    assert confidences(20).mean() < confidences(1).mean()


def test_splits_named_by_folders_are_neither_used_nor_copied(vae, run: Path, tmp_path: Path) -> None:
    for number in range(12):
        split = ("train", "train", "val", "test")[number % 4]
        draw(tmp_path / "set" / split / ("cat" if number < 6 else "dog") / f"{number}.png", number)
    words = ("--per-image", 1, "--include-originals", "--out", tmp_path / "out")
    outcome = vae("augment", run, tmp_path / "set", *words)
    assert outcome.code == 0 and "splits by the folders test/, train/, val/" in outcome.stderr
    names = files_in(tmp_path / "out")
    assert len(names) == 12 and all(name.startswith("train/") for name in names)
    assert {row["source"].split("/")[0] for row in rows_of(tmp_path / "out")} == {"train"}


def test_originals_are_copied_when_asked_for(vae, run: Path, data: Path, tmp_path: Path) -> None:
    assert vae("augment", run, data, "--per-image", 1, "--include-originals", "--out", tmp_path / "out").code == 1
    rows = rows_of(tmp_path / "out")
    copies = [row for row in rows if row["method"] == "original"]
    assert len(copies) == len(rows) / 2
    for row in copies:
        assert (tmp_path / "out" / row["output"]).read_bytes() == (data / row["source"]).read_bytes()
        assert row["output"] == row["source"] and not row["number"]


def test_balance_fills_small_classes_up(vae, run: Path, data: Path, tmp_path: Path) -> None:
    for number in range(20, 27):
        draw(data / "cat" / f"{number}.png", number)
    outcome = vae("augment", run, data, "--balance", "--include-originals", "--out", tmp_path / "out", "--json")
    rows = rows_of(tmp_path / "out")
    sizes = [sum(row["label"] == name for row in rows) for name in ("cat", "dog")]
    assert sizes[0] == sizes[1] and {row["label"] for row in rows if row["number"]} == {"dog"}
    assert outcome.json["labels"] == {"dog": outcome.json["images"]}


def test_the_class_that_lost_most_is_named(tmp_path: Path) -> None:
    writer = Writer(None, tmp_path, 0, 0.5)  # type: ignore[arg-type]
    writer.methods.update({"style": 5})
    writer.labels.update({"cat": 5})
    writer.dropped.update({"dog": 3, "cat": 1})
    said = " ".join(remark.text for remark in writer.remarks(9))
    assert "4 of 9 images were given up (3 of them of dog)" in said and "no new image of dog:" in said
    assert writer.empty_labels == ["dog"], "so that the exit code is 1; cat has others"
    writer.dropped = Counter({"": 2})
    assert any("2 of 7 images were given up: no attempt" in remark.text for remark in writer.remarks(7))


def test_nothing_is_overwritten(vae, run: Path, data: Path, tmp_path: Path) -> None:
    words = ("augment", run, data, "--per-image", 1, "--out", tmp_path / "out")
    assert vae(*words).code == 1
    again = vae(*words)
    assert again.code == 2 and "manifest.csv: exists" in again.errors[0]
    (tmp_path / "out" / "manifest.csv").unlink()
    assert vae(*words).code == 2, "the images exist"
    assert vae(*words, "--overwrite").code == 1


def test_results_inside_the_data_are_not_taken_for_data(vae, run: Path, data: Path) -> None:
    words = ("augment", run, data, "--per-image", 1, "--out", data / "more")
    assert vae(*words).code == 1
    count = len(files_in(data / "more"))
    assert vae(*words, "--overwrite", "--json").json["images"] == count


def test_images_without_classes(vae, run: Path, data: Path, tmp_path: Path) -> None:
    for path in sorted(data.glob("*/*.png")):
        path.rename(data / f"{path.parent.name}-{path.name}")
    outcome = vae("augment", run, data, "--per-image", 1, "--out", tmp_path / "out")
    assert outcome.code == 1 and {row["label"] for row in rows_of(tmp_path / "out")} == {""}
    refused = vae("augment", run, data, "--balance", "--out", tmp_path / "balanced")
    assert refused.code == 2 and "class folders" in refused.errors[0]


def test_names_that_differ_in_their_suffix_only(vae, run: Path, tmp_path: Path) -> None:
    for number in range(6):
        draw(tmp_path / "set" / f"{number}.png", number)
        draw(tmp_path / "set" / f"{number}.bmp", number + 50)
    assert vae("augment", run, tmp_path / "set", "--per-image", 1, "--out", tmp_path / "out").code == 0
    held_out = held_out_ids(tmp_path / "set")
    names = {f"{number}.{suffix}" for number in range(6) for suffix in ("png", "bmp")} - held_out
    pairs = {name for name in names if {f"{name[0]}.png", f"{name[0]}.bmp"} <= names}
    assert set(files_in(tmp_path / "out")) == {
        f"{name}.aug1.png" if name in pairs else f"{name[0]}.aug1.png" for name in names
    }


def test_zips_and_lists(vae, run: Path, data: Path, tmp_path: Path) -> None:
    (data / "cat" / "broken.png").unlink()
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(data.glob("*/*.png")):
            file.write(path, path.relative_to(data))
    assert vae("augment", run, archive, "--per-image", 1, "--include-originals").code == 0
    out = tmp_path / "set.zip-augment"
    copies = [row for row in rows_of(out) if row["method"] == "original"]
    assert copies and all((out / row["output"]).read_bytes() == (data / row["source"]).read_bytes() for row in copies)

    below = tmp_path / "lists"
    below.mkdir()
    (below / "set.csv").write_text("".join(f"../photos/dog/{number:02d}.png,hound\n" for number in range(0, 12, 2)))
    assert vae("augment", run, below / "set.csv", "--per-image", 1, "--out", tmp_path / "listed").code == 0
    assert files_in(tmp_path / "listed") and all(name.startswith("hound/") for name in files_in(tmp_path / "listed"))


def test_listed_images_of_one_name_and_class_do_not_meet(vae, run: Path, tmp_path: Path) -> None:
    """Folders called alike, of one list; and a name that one of two would be given is somebody's own."""
    names = [f"{side}/shots/{number}.png" for side in ("left", "right", "../far") for number in (1, 2, "1-2")]
    for number, name in enumerate(names):
        draw(tmp_path / "lists" / name, number)
    below = tmp_path / "lists"
    (below / "set.csv").write_text("".join(f"{name},cat\n" for name in names))
    words = ("--per-image", 1, "--include-originals", "--out", tmp_path / "out")
    assert vae("augment", run, below / "set.csv", *words).code == 0
    rows = rows_of(tmp_path / "out")
    copies = [row for row in rows if row["method"] == "original"]
    assert len(rows) == 2 * len(copies) and len(copies) >= 7
    assert sorted(row["output"] for row in rows) == files_in(tmp_path / "out")
    for row in copies:
        assert (tmp_path / "out" / row["output"]).read_bytes() == (below / row["source"]).read_bytes()


def test_a_stop_leaves_a_whole_manifest_of_what_is_there(
    vae, run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(self: Writer, image: Augmented, targets: Sequence[Path]) -> Iterator[FileDone]:
        if self.methods.total() == 3:
            assert not (tmp_path / "out" / "manifest.csv").exists(), "it is not whole yet"
            raise KeyboardInterrupt
        return real(self, image, targets)

    real = Writer.write
    monkeypatch.setattr(Writer, "write", write)
    assert vae("augment", run, data, "--per-image", 1, "--out", tmp_path / "out").code == 130
    assert [row["output"] for row in rows_of(tmp_path / "out")] == files_in(tmp_path / "out")
    assert len(files_in(tmp_path / "out")) == 3 and not list((tmp_path / "out").glob(".*"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--out", "one.png"), "give a folder"),
        (("--per-image", 0), "nothing to make"),
        (("--method", "style", "--strength", 2), "strength"),
        (("--method", "mix"), "--method"),
        (("--candidates", 0), "candidates"),
        (("--out", "{data}"), "DATA itself"),
    ],
)
def test_what_cannot_be_done(vae, run: Path, data: Path, words: tuple[object, ...], told: str) -> None:
    outcome = vae("augment", run, data, *(str(word).format(data=data) for word in words))
    assert outcome.code == 2 and told in " ".join(outcome.errors)


def test_a_single_image_is_held_out(vae, run: Path, tmp_path: Path) -> None:
    outcome = vae("augment", run, draw(tmp_path / "one.png", 1), "--out", tmp_path / "out")
    assert outcome.code == 3 and "held out" in outcome.errors[0] and not (tmp_path / "out").exists()


def test_nothing_passes_the_checks(vae, run: Path, data: Path, tmp_path: Path, kept: list[str | None]) -> None:
    kept[0] = UNSURE
    outcome = vae("augment", run, data, "--per-image", 1, "--out", tmp_path / "out", "--json")
    assert outcome.code == 3 and "unlike their class" in outcome.json["error"]["message"]


def test_a_model_without_a_flow_or_labels(vae, run_without_flow: Path, data: Path, tmp_path: Path) -> None:
    outcome = vae("augment", run_without_flow, data, "--per-image", 1, "--out", tmp_path / "out")
    assert outcome.code == 1 and {row["method"] for row in rows_of(tmp_path / "out")} <= set(METHODS)


def test_a_method_that_no_image_can_be_made_by_is_refused_before_a_classifier_is_trained(
    vae, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vae_cli.jobs.augment._checks", lambda *_: pytest.fail("a classifier was trained"))
    for number in range(4):
        draw(tmp_path / "set" / f"class-{number}" / "one.png", number)
    outcome = vae("augment", run, tmp_path / "set", "--method", "extrapolate", "--out", tmp_path / "out")
    assert outcome.code == 2 and "needs two images of a class" in " ".join(outcome.errors)


def test_candidates_that_nothing_tells_apart_are_refused(vae, run: Path, tmp_path: Path) -> None:
    for number in range(3):
        draw(tmp_path / "set" / f"{number}.png", number)
    outcome = vae("augment", run, tmp_path / "set", "--candidates", 4, "--out", tmp_path / "out")
    assert outcome.code == 2 and "without two classes" in outcome.errors[0] and not (tmp_path / "out").exists()
    assert vae("augment", run, tmp_path / "set", "--candidates", 1, "--out", tmp_path / "out").code == 0


def test_names_of_255_bytes_and_odd_classes(vae, run: Path, tmp_path: Path) -> None:
    """Names are cut where they grow too long, and stay different; a class becomes a folder whatever it is called."""
    for number in range(4):
        draw(tmp_path / "set" / "cat" / f"{number}.png", number)
        draw(tmp_path / "set" / "dog" / f"{'ü' * 125}{number}.png", number + 4)
    words = ("--per-image", 2, "--include-originals", "--json", "--out")
    outcome = vae("augment", run, tmp_path / "set", *words, tmp_path / "out")
    assert outcome.code == 0, outcome.stderr
    assert len(files_in(tmp_path / "out")) == 3 * outcome.json["originals"]
    assert all(len(Path(name).name.encode()) <= 255 for name in files_in(tmp_path / "out"))

    odd = ["..", "a/b", "a\\0b", "x" * 300, "\\u00fc" * 200, "ü" * 199 + "u\\u0308", "con\\u001b"]
    lines = [f'{{"path": "../set/{("cat", "dog")[n % 2]}/{("", "ü" * 125)[n % 2]}{n // 2}.png", "label": "{label}"}}'
             for n, label in enumerate(odd)]  # fmt: skip
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "odd.jsonl").write_text("\n".join(lines).replace("\\0", "\\u0000"), encoding="utf-8")
    outcome = vae("augment", run, tmp_path / "lists" / "odd.jsonl", *words, tmp_path / "odd")
    assert outcome.code == 0, outcome.stderr
    folders = {Path(name).parent.as_posix() for name in files_in(tmp_path / "odd")}
    assert len(folders) >= 5 and all("/" not in name and len(name) < 100 for name in folders)
    assert not list(tmp_path.glob("*.png")), "nothing leaves the folder"


def test_on_its_own_output_it_takes_free_numbers(vae, run: Path, data: Path, tmp_path: Path) -> None:
    (data / "cat" / "broken.png").unlink()
    words = ("--per-image", 2, "--include-originals", "--out")
    assert vae("augment", run, data, *words, tmp_path / "one").code == 0
    before = set(files_in(tmp_path / "one"))
    outcome = vae("augment", run, tmp_path / "one", *words, tmp_path / "two", "--json")
    assert outcome.code == 0, outcome.stderr
    rows = rows_of(tmp_path / "two")
    assert len(rows) == len(files_in(tmp_path / "two")) == 3 * outcome.json["originals"]
    copies = {row["output"] for row in rows if row["method"] == "original"}
    assert copies <= before and all((tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
                                    for name in copies)  # fmt: skip
    assert {row["number"] for row in rows} == {"", "1", "2"}
    listed = scan(tmp_path / "two" / "manifest.csv")
    assert [ref.id for ref in listed.images] == files_in(tmp_path / "two") and listed.label_names == ("cat", "dog")


def test_a_folder_in_another_unicode_form_stays_where_it_is(vae, run: Path, tmp_path: Path) -> None:
    forms = [unicodedata.normalize(form, "café") for form in ("NFC", "NFD")]
    for number in range(8):
        draw(tmp_path / "set" / [*forms, "tea"][number % 3] / f"{number}.png", number)
    outcome = vae("augment", run, tmp_path / "set", "--per-image", 1, "--out", tmp_path / "out", "--json")
    assert outcome.code == 0 and set(outcome.json["labels"]) == {forms[0], "tea"}, outcome.stderr
    assert {name.split("/")[0] for name in files_in(tmp_path / "out")} == {*forms, "tea"}
