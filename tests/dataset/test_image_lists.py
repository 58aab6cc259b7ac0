"""Lists as spreadsheets, shells, other programs and other systems write them."""

import json
import unicodedata
import zipfile
from pathlib import Path

import pytest

from vae_cli.dataset.scan import Scan, scan
from vae_cli.errors import DataError

ROWS = [("cat/1.png", "cat", "train"), ("dog/a, b.png", "big dog", "test"), ("dog/ü;2.JPG", "dog", "valid")]
FOUND = {"cat/1.png": ("cat", "train"), "dog/a, b.png": ("big dog", "test"), "dog/ü;2.JPG": ("dog", "validation")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files of ROWS; a scan never opens them."""
    for name, _, _ in ROWS:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def listed(folder: Path, text: str, *, name: str = "list.csv", encoding: str = "utf-8", **options: str) -> Scan:
    (folder / name).write_bytes(text.encode(encoding, "surrogateescape"))
    return scan(folder / name, **options)


def facts(found: Scan) -> dict[str, tuple[str | None, str | None]]:
    assert not found.skipped
    return {ref.id: (ref.label, ref.split) for ref in found.images}


def table(header: str, delimiter: str) -> str:
    rows = ['"' + f'"{delimiter}"'.join(row) + '"' for row in ROWS]
    return "\r\n".join([header.replace(",", delimiter), *rows, ""])


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("header", ["path,label,split", '"file_name","class","split"', "Image Path, Category ,SUBSET"])
def test_tables_name_their_columns(folder: Path, header: str, delimiter: str) -> None:
    assert facts(listed(folder, table(header, delimiter))) == FOUND
    hint = f"sep={delimiter}\n# made by hand\n\n"
    assert facts(listed(folder, hint + table(header, delimiter), name="list.tsv")) == FOUND


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings(folder: Path, encoding: str) -> None:
    assert facts(listed(folder, table("image,label,split", ";"), encoding=encoding)) == FOUND
    assert set(facts(listed(folder, "dog/ü;2.JPG\ncat/1.png", encoding=encoding, name="a.txt"))) < set(FOUND)


def test_the_order_of_columns_and_further_ones(folder: Path) -> None:
    text = 'id,label,width,filename,caption\n0,cat,8,cat/1.png,"on a mat,\nasleep"\n1,,9,"dog/a, b.png",\n\n'
    assert facts(listed(folder, text)) == {"cat/1.png": ("cat", None), "dog/a, b.png": (None, None)}


@pytest.mark.parametrize(
    "line",
    ["cat/1.png,cat", "cat/1.png;cat", "cat/1.png\tcat", "cat/1.png cat", '"cat/1.png","cat"', '"cat/1.png"; cat',
     " ./cat/1.png ,cat ", "cat\\1.png,cat", ".\\cat\\1.png;cat", "cat/1.png,cat,black", '"cat/1.png"\t"cat"'],
)  # fmt: skip
def test_plain_lines(folder: Path, line: str) -> None:
    assert facts(listed(folder, f"# mine\n{line}\n", name="list.txt")) == {"cat/1.png": ("cat", None)}
    assert facts(listed(folder, f"path\n{line}\n", name="list.txt")) == {"cat/1.png": ("cat", None)}


@pytest.mark.parametrize("name", ["a, b.png", "a;b.png", "a.png b.png", "1.png copy.jpg", "a\tb.gif", 'say "a".png'])
def test_what_separates_may_belong_to_a_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    quoted = '"' + name.replace('"', '""') + '"'
    for text in (name, f"{name},big cat", f"{quoted},big cat", f"path,label\n{quoted},big cat"):
        label = None if text == name else "big cat"
        assert facts(listed(tmp_path, text)) == {name: (label, None)}, text


def test_names_in_another_unicode_form_or_encoding(tmp_path: Path) -> None:
    stored = unicodedata.normalize("NFD", "Müller.png")
    for name in (stored, "Größe.png"):
        (tmp_path / name).write_bytes(b"x")
    found = listed(tmp_path, "Müller.png,Käfer\nGröße.png,Käfer", encoding="utf-8")
    assert facts(found) == {stored: ("Käfer", None), "Größe.png": ("Käfer", None)}
    assert [ref.id for ref in listed(tmp_path, "Müller.png\nGröße.png", encoding="cp1252").images] == [
        "Größe.png",
        stored,
    ]


def test_split_columns_become_splits_or_are_ignored(folder: Path) -> None:
    text = table("path,label,split", ",")
    found = listed(folder, text)
    assert found.notes == ("splits by a column of that name: test 1, train 1, validation 1 images; "
                           "--splits none ignores them",) and not found.has_split_folders  # fmt: skip
    assert {ref.split for ref in listed(folder, text, splits="none").images} == {None}
    odd = text.replace('"test"', '"fold 3"')
    found = listed(folder, odd)
    assert len(found.images) == 2 and "'fold 3'; use train, val or test" in found.skipped[0].reason
    assert len(listed(folder, odd, splits="none").images) == 3
    with pytest.raises(DataError, match="use train, val or test"):
        listed(folder, 'path,split\ncat/1.png,"fold 1"')


def test_json_lines(folder: Path) -> None:
    lines = [json.dumps({"file_name": path, "label": label, "split": split}) for path, label, split in ROWS]
    assert facts(listed(folder, "\n".join(lines), name="list.jsonl")) == FOUND
    odd = ["{", "3", '{"label": 1}', "[" * 10_000, '{"path": "\\ud800.png"}', '{"path": "a\\u0000.png"}',
           '{"path": ["a"]}', '{"path": "cat/1.png", "label": "\\ud800"}',
           f'{{"path": "cat/1.png", "label": {"9" * 5000}}}',
           '{"image": "cat/1.png", "class": 3, "label": null}']  # fmt: skip
    found = listed(folder, "\n".join(odd), name="list.jsonl")
    assert [(ref.id, ref.label) for ref in found.images] == [("cat/1.png", "3")] and len(found.skipped) == len(odd) - 1


def test_lines_that_name_nothing(folder: Path) -> None:
    found = listed(folder, f'path,label\n,cat\ncat/1.png\n"{"x" * 200_000}",cat\n"cat/1.png","cat"\n')
    assert [ref.id for ref in found.images] == ["cat/1.png"]
    reasons = sorted(entry.reason.partition(":")[0] for entry in found.skipped)
    assert reasons == ["listed twice", "no line of a list", "no line of a list"]


# ---- metadata inside a folder


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_metadata_beside_images(folder: Path, suffix: str) -> None:
    """As Hugging Face's image folders have it: in each folder of images, or above them."""
    (folder / "loose.png").write_bytes(b"x")
    rows = [{"file_name": path, "label": label, "split": split} for path, label, split in ROWS]
    rows.append({"file_name": "gone.png", "label": "cat", "split": "train"})
    text = {"csv": table("file_name,label,split", ",") + "gone.png,cat,train",
            "jsonl": "\n".join(map(json.dumps, rows))}[suffix]  # fmt: skip
    (folder / f"metadata.{suffix}").write_text(text, encoding="utf-8")
    found = scan(folder)
    assert {ref.id: (ref.label, ref.split) for ref in found.images} == FOUND | {"loose.png": (None, None)}
    assert [entry.id for entry in found.skipped] == ["gone.png"] and f"metadata.{suffix}" in found.skipped[0].reason
    assert {ref.split for ref in scan(folder, splits="none").images} == {None}
    assert scan(folder, labels="none").label_names == ()
    assert scan(folder, labels="none", splits="none").skipped == (), "nobody asks what it says"


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_metadata_may_speak_of_other_paths_first(tmp_path: Path, suffix: str) -> None:
    entry = {"image": "elsewhere.png", "file_name": "1.png", "label": "cat"}
    (tmp_path / "1.png").write_bytes(b"x")
    text = {"csv": f"{','.join(entry)}\n{','.join(entry.values())}\n", "jsonl": json.dumps(entry)}[suffix]
    (tmp_path / f"metadata.{suffix}").write_text(text)
    found = scan(tmp_path)
    assert found.label_names == ("cat",) and found.skipped == ()


def test_metadata_of_each_split_and_in_a_zip(tmp_path: Path) -> None:
    files = {"train/1.png": "x", "train/deep/2.png": "x", "test/3.png": "x",
             "train/metadata.csv": "text,file_name,label\nhello,1.png,cat\nworld,deep/2.png,dog\n",
             "test/metadata.jsonl": '{"file_name": "3.png", "label": 0}\n'}  # fmt: skip
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
            (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "set" / name).write_text(content)
    wanted = {"train/1.png": ("cat", "train"), "train/deep/2.png": ("dog", "train"), "test/3.png": ("0", "test")}
    assert facts(scan(tmp_path / "set")) == facts(scan(tmp_path / "set.zip")) == wanted


@pytest.mark.parametrize("text", ["path,label\ncat/1.png,x\n", "id;caption\n1;2", "", "\x00", '{"file_name": 3'])
def test_metadata_about_something_else(folder: Path, text: str) -> None:
    (folder / "metadata.csv").write_text(text)
    found = scan(folder)
    assert found.label_names == ("cat", "dog") and found.skipped == ()


def test_a_name_moves_nothing_on_the_screen(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\\x1bs\.png: listed, but there is no such file"):
        listed(tmp_path, "a\x1bs.png\n")
