"""Text chunks of PNG files: what is small copies of the picture in them shows the fill, or nothing."""

import textwrap
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from originals import encoded, smooth
from PIL import Image, PngImagePlugin
from test_thumbnails import exif as exif_with_thumbnail

from vae_cli.files.originals import open_original
from vae_cli.images import png


@pytest.mark.parametrize("kind", ["exif", "8bim", "xmp"])
@pytest.mark.parametrize("chunk", ["tEXt", "zTXt"])
def test_what_imagemagick_keeps_in_a_png_shows_the_fill(tmp_path: Path, kind: str, chunk: str) -> None:
    thumbnail = encoded(smooth(size=(28, 20)), "JPEG")
    profile = {
        "exif": exif_with_thumbnail(thumbnail), "8bim": b"8BIM\4\x0c\0\0" + thumbnail,
        "xmp": b"<xmp:Thumbnails>%s</xmp:Thumbnails><b/>" % thumbnail.hex().encode(),
    }[kind]  # fmt: skip
    figures = textwrap.fill(profile.hex(), 72)
    info = PngImagePlugin.PngInfo()
    info.add_text(f"Raw profile type {kind}", f"\n{kind}\n{len(profile):8}\n{figures}\n", zip=chunk == "zTXt")
    Image.new("RGB", (56, 40), (200, 0, 200)).save(tmp_path / "a.png", pnginfo=info)
    open_original(tmp_path / "a.png").save(tmp_path / "b.png")
    old, new = (next(iter(Image.open(tmp_path / f"{name}.png").text.values())) for name in "ab")
    assert [len(line) for line in new.splitlines()] == [len(line) for line in old.splitlines()]
    found = bytes.fromhex("".join(new.splitlines()[3:]))
    if kind == "xmp":
        assert found.split() == [b"<b/>"]
    else:
        drawn = np.asarray(Image.open(BytesIO(found[found.index(b"\xff\xd8\xff") :])), np.int32)
        assert drawn.shape == (20, 28, 3) and abs(drawn - (200, 0, 200)).max() < 12


def test_packed_xmp_and_other_texts_of_a_png(tmp_path: Path) -> None:
    """Texts without thumbnails stay the same bytes, also where they are none."""
    info, xmp = PngImagePlugin.PngInfo(), "<xmp:Thumbnails>base64</xmp:Thumbnails><b/>"
    info.add_itxt("XML:com.adobe.xmp", xmp, "en", "x", zip=True)
    others = [
        (b"zTXt", b"a\0\0no deflate"), (b"iTXt", b"a\0"), (b"tEXt", b"a"), (b"tEXt", b"Raw profile type exif\0\nzz"),
        (b"zTXt", b"a\0\0" + zlib.compress(xmp.replace("xmp", "y").encode(), 1)),
    ]  # fmt: skip
    for name, data in others:
        info.add(name, data)
    smooth().save(tmp_path / "a.png", pnginfo=info)
    open_original(tmp_path / "a.png").save(tmp_path / "b.png")
    with (tmp_path / "b.png").open("rb") as file:
        chunks = [chunk for chunk in png.read_chunks(file).chunks if chunk[0].endswith(b"Xt") or chunk[0] == b"tEXt"]
    assert chunks[1:] == others
    head, _, packed = chunks[0][1].partition(b"\0en\0x\0")
    assert (head, zlib.decompress(packed).split()) == (b"XML:com.adobe.xmp\0\1", [b"<b/>"])
