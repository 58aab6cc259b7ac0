import os
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_cli.dataset import scan as scan_module
from vae_cli.dataset.scan import Scan, scan
from vae_cli.dataset.split import SPLIT_NAMES, id_hash, lowest_hashes, split_images
from vae_cli.errors import ConfigError, DataError
from vae_cli.images.decode import read_bytes
from vae_cli.images.image_ref import IMAGE_SUFFIXES, ImageRef


def touch(root: Path, *names: str) -> Path:
    """Files with one byte in them: a scan never opens them."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def ids(found: Scan) -> list[str]:
    return [ref.id for ref in found.images]


def labels(found: Scan) -> list[str | None]:
    return [ref.label for ref in found.images]


# ---- folders


def test_flat_and_nested_in_id_order(tmp_path: Path) -> None:
    found = scan(touch(tmp_path, "b.png", "a/c/d.jpg", "a/b.gif"))
    assert ids(found) == ["a/b.gif", "a/c/d.jpg", "b.png"]
    assert found.label_names == ()
    assert found.images[0].path == tmp_path / "a/b.gif"


def test_how_many_were_found_so_far_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_module, "_REPORTED_AFTER", 2)
    told: list[int] = []
    scan(touch(tmp_path, *(f"{number}.png" for number in range(5)), "6.txt"), on_progress=told.append)
    assert told == [2, 4]


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_every_extension_in_any_case(tmp_path: Path, suffix: str) -> None:
    names = [f"a{suffix}", f"b{suffix.upper()}", f"c{suffix.title()}"]
    assert ids(scan(touch(tmp_path, *names))) == names


def test_the_extensions_of_the_contract() -> None:
    wanted = "jpg jpeg jfif png webp bmp tif tiff gif ppm pgm pbm avif jp2"
    assert {f".{suffix}" for suffix in wanted.split()} == IMAGE_SUFFIXES


def test_litter_is_ignored_silently(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", ".b.png", "Thumbs.db", "__MACOSX/c.png", ".hidden/d.png", "notes.txt", "._a.png")
    found = scan(tmp_path)
    assert ids(found) == ["a.png"]
    assert found.skipped == ()


def test_no_images_names_what_was_seen(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"saw .txt \(2\), .mp4 \(1\), no extension \(1\)"):
        scan(touch(tmp_path, "a.txt", "b.TXT", "c.mp4", "README"))


def test_missing_path_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        scan(tmp_path / "nowhere")


def test_looping_links_end(tmp_path: Path) -> None:
    touch(tmp_path, "a/b/c.png")
    (tmp_path / "a/b/up").symlink_to(tmp_path)
    (tmp_path / "a/self").symlink_to(tmp_path / "a/self")
    (tmp_path / "self.png").symlink_to(tmp_path / "self.png")
    found = scan(tmp_path)
    assert ids(found) == ["a/b/c.png"]
    assert [entry.id for entry in found.skipped] == ["self.png"]


def test_links_to_files_and_folders_are_followed(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere", "x.png", "deep/y.png")
    touch(tmp_path / "data", "z/own.png")
    (tmp_path / "data/a.png").symlink_to(tmp_path / "elsewhere/x.png")
    (tmp_path / "data/folder").symlink_to(tmp_path / "elsewhere/deep")
    assert ids(scan(tmp_path / "data")) == ["a.png", "folder/y.png", "z/own.png"]


def test_link_never_hides_the_folder_it_points_to(tmp_path: Path) -> None:
    touch(tmp_path, "b/x.png")
    (tmp_path / "a").symlink_to(tmp_path / "b")
    assert ids(scan(tmp_path)) == ["b/x.png"]


def test_broken_link_and_pipe_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    (tmp_path / "b.png").symlink_to("missing")
    os.mkfifo(tmp_path / "c.png")
    reasons = {entry.id: entry.reason for entry in scan(tmp_path).skipped}
    assert reasons == {"b.png": "link that leads nowhere", "c.png": "not a regular file"}


def test_names_in_any_script_and_in_no_encoding(tmp_path: Path) -> None:
    touch(tmp_path, "łódź/写真.png", "صورة.png", "📷 1.png")
    with open(os.path.join(os.fsencode(tmp_path), b"\xff\xfe.png"), "wb") as file:
        file.write(b"x")
    found = scan(tmp_path)
    assert len(found.images) == 4
    assert "\udcff\udcfe.png" in ids(found)
    assert all(ref.path.exists() and 0 <= id_hash(ref.id) < 1 for ref in found.images)


def test_unreadable_folder_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.png", "locked/b.png")
    real_scandir = os.scandir

    def scandir(folder: str) -> object:
        if folder.endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return real_scandir(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    found = scan(tmp_path)
    assert ids(found) == ["a.png"]
    assert found.skipped[0].id == "locked" and "Permission denied" in found.skipped[0].reason


def test_run_folders_and_excluded_folders_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "run/config.yaml", "run/checkpoints/x", "run/previews/p.png", "out/o.png", "m/m.png")
    found = scan(tmp_path, exclude=[tmp_path / "out", tmp_path / "m" / "m.png", tmp_path / "absent"])
    assert ids(found) == ["a.png"]


def test_results_beside_what_they_were_made_of_are_left_out(tmp_path: Path) -> None:
    results = [f"a.png-{command}/a.png" for command in ("inpaint", "inpaint-1", "masks", "denoise-samples", "style-0.5",
                                                        "denoise", "reconstruct", "interpolate", "style")]  # fmt: skip
    touch(tmp_path, "a.png", *results, "b.png-inpaint/b.png", "hair/c.png", "hair-style/c.png")
    kept = ["a.png", "b.png-inpaint/b.png", "hair-style/c.png", "hair/c.png"]
    assert ids(scan(tmp_path)) == kept, "there is no b.png, and hair-style may be a class"
    assert ids(scan(tmp_path / "a.png-inpaint")) == ["a.png"], "asked for by name"


def test_heic_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.png", "b.HEIC")
    monkeypatch.setattr(scan_module, "can_read_heif", lambda: False)
    assert "pillow-heif" in scan(tmp_path).skipped[0].reason
    (tmp_path / "a.png").unlink()
    with pytest.raises(DataError, match="pillow-heif"):
        scan(tmp_path)
    monkeypatch.setattr(scan_module, "can_read_heif", lambda: True)
    assert ids(scan(tmp_path)) == ["b.HEIC"]


def test_ten_thousand_files(tmp_path: Path) -> None:
    for number in range(10_000):
        (tmp_path / f"{number}.png").touch()
    assert len(scan(tmp_path).images) == 10_000


# ---- labels and splits


def test_class_folders_make_labels(tmp_path: Path) -> None:
    touch(tmp_path, "dog/1.png", "cat/1.png", "cat/2.png")
    found = scan(tmp_path)
    assert found.label_names == ("cat", "dog")
    assert labels(found) == ["cat", "cat", "dog"]
    assert scan(tmp_path, labels="none").label_names == ()


@pytest.mark.parametrize("extra", ["top.png", "cat/deeper/1.png"])
def test_auto_wants_every_image_one_level_down(tmp_path: Path, extra: str) -> None:
    touch(tmp_path, "dog/1.png", "cat/1.png", extra)
    assert scan(tmp_path).label_names == ()
    assert scan(tmp_path, labels="folders").label_names == ("cat", "dog")


def test_auto_wants_two_folders(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.png")
    assert scan(tmp_path).label_names == ()
    assert scan(tmp_path, labels="folders").label_names == ("cat",)


def test_folders_allows_unlabelled_images_at_the_top(tmp_path: Path) -> None:
    assert labels(scan(touch(tmp_path, "a.png", "b/c.png"), labels="folders")) == [None, "b"]


def test_folders_without_folders_is_a_usage_error(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    for path in (tmp_path, tmp_path / "a.png"):
        with pytest.raises(ConfigError, match="no class folders"):
            scan(path, labels="folders")


def test_split_folders_keep_their_prefix_and_labels_lie_below(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/1.png", "train/dog/2.png", "valid/cat/3.png", "test/dog/4.png")
    found = scan(tmp_path)
    assert ids(found) == ["test/dog/4.png", "train/cat/1.png", "train/dog/2.png", "valid/cat/3.png"]
    assert [ref.split for ref in found.images] == ["test", "train", "train", "validation"]
    assert labels(found) == ["dog", "cat", "dog", "cat"]
    parts = split_images(found.images)
    assert [len(parts.train), len(parts.validation), len(parts.test)] == [2, 1, 1]


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_names_of_the_validation_folder(tmp_path: Path, name: str) -> None:
    found = scan(touch(tmp_path, "train/1.png", f"{name}/2.png"))
    assert found.label_names == ()
    assert [ref.id for ref in split_images(found.images).validation] == [f"{name}/2.png"]


def test_train_without_validation_is_held_out_by_hash(tmp_path: Path) -> None:
    found = scan(touch(tmp_path, *(f"train/{number}.png" for number in range(40)), "test/1.png"))
    parts = split_images(found.images)
    assert len(parts.test) == 1 and parts.validation
    assert len(parts.train) + len(parts.validation) == 40


def test_lone_test_folder_is_no_split(tmp_path: Path) -> None:
    found = scan(touch(tmp_path, "test/1.png", "test/2.png", "test/3.png"))
    parts = split_images(found.images)
    assert len(parts.train) == 2 and len(parts.validation) == 1 and parts.test == ()
    assert "so does training" in found.notes[0]


@pytest.mark.parametrize("name", ["train", "Train", "val", "valid", "validation", "test"])
def test_a_class_may_be_called_like_a_split(tmp_path: Path, name: str) -> None:
    """PASCAL VOC has a class `train`; a swab may be negative, positive or a test."""
    touch(tmp_path, *(f"{folder}/{number}.png" for folder in ("bus", "car", name) for number in range(9)))
    found = scan(tmp_path)
    assert set(found.label_names) == {"bus", "car", name} and {ref.split for ref in found.images} == {None}
    assert found.notes == (f"no splits: {name}/ may well be a class, since there are images in bus/, car/, too",)
    named = scan(tmp_path, splits="folders")
    assert named.has_split_folders and {ref.split for ref in named.images} == {None, SPLIT_NAMES[name.lower()]}


def test_folders_without_images_do_not_hinder_splits_and_loose_images_belong_to_none(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/1.png", "train/dog/2.png", "test/3.png", "top.png", "annotations/1.xml", ".git/x.png")
    found = scan(tmp_path)
    assert [ref.split for ref in found.images] == ["test", None, "train", "train"]
    assert found.notes == ("splits by the folders test/, train/: no split 1, test 1, train 2 images; "
                           "--splits none ignores them",)  # fmt: skip


def test_splits_none_takes_such_folders_for_classes(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.png", "test/2.png")
    assert scan(tmp_path).label_names == () and scan(tmp_path).has_split_folders
    found = scan(tmp_path, splits="none")
    assert found.label_names == ("test", "train") and {ref.split for ref in found.images} == {None}
    assert found.notes == () and not found.has_split_folders


def test_a_class_called_like_a_split_in_a_zip_and_in_a_list(tmp_path: Path) -> None:
    names = [f"{folder}/{number}.png" for folder in ("bus", "train") for number in range(3)]
    with zipfile.ZipFile(tmp_path / "voc.zip", "w") as archive:
        for name in names:
            archive.writestr(f"voc/{name}", b"x")
    touch(tmp_path, *names)
    (tmp_path / "voc.txt").write_text("".join(f"./{name}\n" for name in names))
    for path in (tmp_path / "voc.zip", tmp_path / "voc.txt"):
        assert scan(path).label_names == ("bus", "train"), path


def test_one_class_in_two_unicode_forms(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    touch(tmp_path, f"{composed}/1.png", f"{decomposed}/2.png", "tea/3.png")
    found = scan(tmp_path)
    assert found.label_names == (composed, "tea") and labels(found).count(composed) == 2
    assert ids(found).count(f"{decomposed}/2.png") == 1, "names of files stay as they are"
    (tmp_path / "list.csv").write_text(f"{composed}/1.png,{decomposed}\n{decomposed}/2.png,{composed}\n")
    assert scan(tmp_path / "list.csv").label_names == (composed,)


def refs(names: set[str]) -> list[ImageRef]:
    return [ImageRef(name, Path(name)) for name in sorted(names)]


@given(st.sets(st.text(min_size=1), min_size=1, max_size=60), st.text(min_size=1))
def test_split_by_hash_is_stable(names: set[str], added: str) -> None:
    """Every id is in one part; where the threshold decides, an added image moves no other."""
    parts = split_images(refs(names))
    train, validation = {ref.id for ref in parts.train}, {ref.id for ref in parts.validation}
    assert train | validation == names and train and validation
    assert train.isdisjoint(validation) or len(names) == 1
    below = {name for name in names if id_hash(name) < 0.05}
    if below and below != names:
        assert validation == below
        more = split_images(refs(names | {added}))
        assert {ref.id for ref in more.validation} - {added} == validation


def test_share_held_out_is_five_percent() -> None:
    parts = split_images([ImageRef(f"{number}.png", Path()) for number in range(20_000)])
    assert 900 < len(parts.validation) < 1100
    assert split_images(parts.train[:1]).validation == parts.train[:1]


def test_hash_is_fixed_for_ever() -> None:
    assert id_hash("a.png") == 0.882865517843342


def test_lowest_hashes_are_nested_and_sorted() -> None:
    images = [ImageRef(f"{number}.png", Path()) for number in range(100)]
    ten, twenty = lowest_hashes(images, 10), lowest_hashes(images, 20)
    assert set(ten) < set(twenty) and len(twenty) == 20
    assert [ref.id for ref in ten] == sorted(ref.id for ref in ten)
    assert len(lowest_hashes(images, 1000)) == 100


# ---- lists, zips, single files


def test_list_with_labels_comments_and_missing_files(tmp_path: Path) -> None:
    touch(tmp_path, "img/a.png", "img/b, c.png", "d.jpg", "e.doc")
    lines = ["# comment", "", "img/a.png,cat", "d.jpg , dog ", "gone.png,cat", "img/b, c.png", "img", "e.doc"]
    lines += ["d.jpg", '"img/b, c.png",cat']
    (tmp_path / "list.csv").write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8")
    found = scan(tmp_path / "list.csv")
    assert ids(found) == ["d.jpg", "img/a.png", "img/b, c.png"]
    assert labels(found) == ["dog", "cat", None]
    reasons = {entry.id: entry.reason for entry in found.skipped}
    assert "no such file" in reasons["gone.png"] and "folder" in reasons["img"] and "not an image" in reasons["e.doc"]
    assert reasons["d.jpg"] == "listed twice"


def test_list_with_the_line_ends_of_old_macs_and_a_line_that_is_none(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.png")
    (tmp_path / "list.csv").write_bytes(b'"a.png","x"\r"b.png","y"\r"' + b"c" * 140_000 + b'"\r"a.png\r')
    found = scan(tmp_path / "list.csv")
    assert ids(found) == ["a.png", "b.png"] and labels(found) == ["x", "y"]
    reasons = {entry.id: entry.reason for entry in found.skipped}
    assert reasons['"a.png'] == "no line of a list: a quotation mark is missing"
    assert [len(name) <= 300 and "no such file" in reason for name, reason in reasons.items()].count(True) == 1


def test_list_header_absolute_paths_and_splits(tmp_path: Path) -> None:
    touch(tmp_path, "train/a.png", "val/b.png", "c.png")
    (tmp_path / "list.txt").write_text(f"filename,label\ntrain/a.png\nval/b.png\n{tmp_path}/c.png\n")
    found = scan(tmp_path / "list.txt")
    assert found.skipped == () and len(found.images) == 3
    assert {ref.id: ref.split for ref in found.images}["val/b.png"] == "validation"
    assert found.label_names == ()


@given(content=st.binary(max_size=200))
def test_any_bytes_as_a_list(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("list") / "list.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match="no images"):
        scan(path)


def test_zip_members(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name in ("cat/1.png", "dog/2.PNG", "__MACOSX/._1.png", ".x.png", "read.me", "../evil.png"):
            archive.writestr(name, b"x")
        archive.mkdir("empty.png/")
    found = scan(tmp_path / "set.zip")
    assert ids(found) == ["cat/1.png", "dog/2.PNG"]
    assert found.images[0].member == "cat/1.png" and found.images[0].path == tmp_path / "set.zip"
    assert found.label_names == ("cat", "dog")
    assert [entry.id for entry in found.skipped] == ["../evil.png"]


@pytest.mark.parametrize(("system", "labels"), [(0, ("cat", "dog")), (11, ("cat", "dog")), (3, ())])
def test_slashes_of_windows_in_a_zip(tmp_path: Path, system: int, labels: tuple[str, ...]) -> None:
    """Where other systems have made it they are part of a name."""
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name in ("cat\\1.png", "dog\\2.png", "dog\\", "..\\3.png"):
            info = zipfile.ZipInfo(name)
            info.create_system = system
            archive.writestr(info, name)
    found = scan(tmp_path / "set.zip")
    assert found.label_names == labels
    assert {read_bytes(ref) for ref in found.images} >= {b"cat\\1.png", b"dog\\2.png"}
    assert [skipped.id for skipped in found.skipped] == (["../3.png"] if labels else [])


def test_zip_of_a_folder_with_its_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name in ("photos/train/cat/1.png", "photos/test/dog/2.png"):
            archive.writestr(name, b"x")
    found = scan(tmp_path / "set.zip")
    assert ids(found) == ["photos/test/dog/2.png", "photos/train/cat/1.png"]
    assert found.label_names == ("cat", "dog")
    assert [ref.split for ref in found.images] == ["test", "train"]


def test_corrupt_zip_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "set.zip").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(DataError, match="zip"):
        scan(tmp_path / "set.zip")


def test_single_image_is_a_set_of_one(tmp_path: Path, draw: Callable[..., Path]) -> None:
    found = scan(draw(tmp_path / "only.png"))
    assert ids(found) == ["only.png"] and found.label_names == ()
    parts = split_images(found.images)
    assert parts.train == parts.validation == found.images


def test_single_file_that_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not an image"):
        scan(touch(tmp_path, "a.pdf") / "a.pdf")
