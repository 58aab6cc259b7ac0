# ruff: noqa: E501
"""Metadata and pixels through `inpaint`, over all formats: what is lost, and whether a remark named it.

    python tests/benchmarks/metadata.py --work FOLDER [--files FOLDER] [--formats keep png jpg …]

Draws a file of every format with every kind of metadata that exiftool and tifffile can put into it; with --files takes
those of a folder (the test images of other projects, say) instead. Of each, a quarter is filled and saved just as
`inpaint` does it. exiftool then lists both files tag by tag. Lost is a tag that is gone or reads otherwise and that no
remark names; structural tags (where pixels lie and in how many bytes) and thumbnails, which are drawn anew, do not
count. Altered is a file whose pixels outside the hole, as Pillow shows them, differ and that is not said to be lossy.
Needs `exiftool` on the path.
"""

import json
import re
import shutil
import subprocess
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import common
import numpy as np
import tifffile
from PIL import Image, PngImagePlugin

TARGETS = (common.Target("lost", 0), common.Target("altered", 0))
SUFFIXES = {"JPEG": "jpg", "PNG": "png", "TIFF": "tif", "WEBP": "webp", "AVIF": "avif", "JPEG2000": "jp2", "GIF": "gif",
            "BMP": "bmp", "PPM": "ppm"}  # fmt: skip
TAGS = ("-EXIF:Artist=Größe", "-EXIF:UserComment=seen", "-EXIF:LensModel=50mm", "-EXIF:GPSLatitude=48.1",
        "-EXIF:GPSLatitudeRef=N", "-EXIF:DateTimeOriginal=2020:01:02 03:04:05", "-XMP:Title=Ein Bild", "-XMP:Rating=4",
        "-XMP-photoshop:City=Köln", "-IPTC:Keywords=one", "-IPTC:Keywords=two", "-IPTC:City=Bonn",
        "-Comment=a comment", "-Photoshop:URL=http://example.org")  # fmt: skip
STRUCTURAL = re.compile(
    r"(ExifTool|System|Composite|Track1|RIFF|JUMBF|IFD1|Meta|Jpeg2000|GIF|PNG-pHYs):|(File|PNG|QuickTime):(?!Comment|Prompt|Author|Raw)"
    r"|JFIF:JFIFVersion|Warning|Error|Offset|ByteCounts?$|Length$|Start$|Thumbnail|Preview|(Free|Strip|Tile|JpgFromRaw|"
    r"OtherImage|MPImage)|:(RowsPerStrip|PlanarConfiguration|Padding|XMPToolkit|NumberOfImages|TotalFrames|Compression|"
    r"ExifByteOrder|Image(Width|Height)|SubfileType|FillOrder|SampleFormat|JPEG\w+|ColorTransform)$"
)
NAMED = {"resolution": r"Resolution|PixelsPerUnit|PixelUnits", "comment": r"Comment", "text": r"PNG|IPTC|Photoshop|IFD0:(Image"
         r"Description|Software|Artist|Make|Model|ModifyDate|HostComputer|DocumentName|Copyright)",
         "XMP": r"XMP", "EXIF": r"EXIF|IFD\d|ExifIFD|GPS|InteropIFD|MakerNotes|IPTC", "IPTC": r"IPTC|Photoshop|Adobe",
         "ICC": r"ICC", "profile": r"ICC", "frame": r"Frame|Duration|Loop|Animation|ItemList", "SubIFD": r"SubIFD", "sequence": r"XMP|ItemList",
         "GeoTIFF": r"Geo|GDAL|PixelScale", "other tags": r"IFD0", "box uuid": r"IFD\d|ExifIFD|GPS|XMP|IPTC|Photoshop",
         "stored as": r"BitsPerSample|Photometric|SamplesPerPixel|ExtraSamples|Predictor|YCbCr|ColorMap|BlackWhite|"
         r"JPEGTables|NumColors|Transparen|Bit|Palette", "lossy": r"YCbCr|Progressive|Encoding",
         "became": r"BitsPerSample|Photometric|SamplesPerPixel|ExtraSamples|Predictor|YCbCr|JPEGTables|JPEGProc|Bits"}  # fmt: skip
"""Words of remarks, and which tags they cover."""


def draw(folder: Path) -> None:
    """A file of every format, described by everything that can be put into it."""
    folder.mkdir(parents=True)
    grey = Image.radial_gradient("L").resize((96, 64))
    colour = Image.merge(
        "RGB", (grey, grey.transpose(Image.Transpose.ROTATE_180), grey.point(lambda value: value // 2))
    )
    alpha, text = colour.copy(), PngImagePlugin.PngInfo()
    alpha.putalpha(grey)
    text.add_text("prompt", "words " * 20, zip=True)
    text.add_itxt("author", "Größe")
    described: dict[str, Any] = {"dpi": (300, 300), "icc_profile": common_profile()}
    wanted: list[tuple[str, str, Image.Image, dict[str, Any]]] = [
        ("colour", "JPEG", colour, described), ("grey", "JPEG", grey, described), ("cmyk", "JPEG", colour.convert("CMYK"), {}),
        ("colour", "PNG", colour, {"pnginfo": text, **described}), ("alpha", "PNG", alpha, described),
        ("palette", "PNG", colour.quantize(16), {**described, "transparency": 3}), ("bits", "PNG", grey.convert("1"), {}),
        ("animated", "PNG", colour, {"save_all": True, "append_images": [colour.rotate(90)], "duration": 80}),
        ("colour", "TIFF", colour, described), ("jpeg", "TIFF", colour, {"compression": "jpeg", **described}),
        ("lzw", "TIFF", grey, {"compression": "tiff_lzw", **described}), ("palette", "TIFF", colour.quantize(16), described),
        ("cmyk", "TIFF", colour.convert("CMYK"), described), ("fax", "TIFF", grey.convert("1"), {"compression": "group4"}),
        ("alpha", "WEBP", alpha, {"icc_profile": common_profile()}), ("lossless", "WEBP", colour, {"lossless": True}),
        ("animated", "WEBP", colour, {"save_all": True, "append_images": [colour.rotate(90)], "duration": 80}),
        ("colour", "AVIF", colour, {"icc_profile": common_profile()}), ("alpha", "AVIF", alpha, {}),
        ("animated", "AVIF", colour, {"save_all": True, "append_images": [colour.rotate(90)], "duration": 80}),
        ("colour", "JPEG2000", colour, {}), ("alpha", "JPEG2000", alpha, {}), ("palette", "GIF", colour.quantize(16), {"comment": b"a comment"}),
        ("animated", "GIF", grey, {"save_all": True, "append_images": [grey.rotate(90)], "comment": b"a comment", "duration": 80, "loop": 3}),
        ("colour", "BMP", colour, {"dpi": (300, 300)}), ("palette", "BMP", colour.quantize(16), {}), ("colour", "PPM", colour, {}),
    ]  # fmt: skip
    for name, file_format, image, options in wanted:
        path = folder / f"{name}-{file_format}.{SUFFIXES[file_format]}"
        image.save(path, file_format, **options)
    # what a format cannot hold is left out
    subprocess.run(
        ["exiftool", "-q", "-q", "-m", "-overwrite_original", *TAGS, folder], check=False, capture_output=True
    )
    pixels = np.asarray(colour)
    deep = (pixels.astype(np.uint16) * 257) ^ np.arange(pixels.size, dtype=np.uint16).reshape(pixels.shape) % 256
    geo = [(33550, "d", 3, (1.0, 1.0, 0.0), True), (34735, "H", 8, (1, 1, 0, 1, 1024, 0, 1, 1), True),
           (42112, "s", 0, "<GDALMetadata><Item name=\"a\">1</Item></GDALMetadata>", True),
           (42113, "s", 0, "-9999", True), (65000, "s", 0, "of a maker's own", True)]  # fmt: skip
    for name, options in {
        "geo": {"extratags": geo}, "big": {"bigtiff": True, "extratags": geo}, "tiles": {"tile": (16, 32), "compression": "zlib"},
        "planes": {"planarconfig": "separate"}, "ome": {"metadata": {"axes": "YXS", "Description": "größer"}, "ome": True},
    }.items():  # fmt: skip
        tifffile.imwrite(
            folder / f"{name}-TIFF.tif",
            deep if name != "planes" else np.moveaxis(deep, 2, 0),
            photometric="rgb",
            **options,
        )
    with tifffile.TiffWriter(folder / "pages-TIFF.tif") as tiff:
        tiff.write(pixels, photometric="rgb", description="first", subifds=1)
        tiff.write(pixels[::2, ::2], photometric="rgb", subfiletype=1)
        tiff.write(255 - pixels, photometric="rgb", description="second")


def common_profile() -> bytes:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def refill(path: Path, out: Path, wanted: str) -> tuple[Path | None, np.ndarray, tuple[str, ...]]:
    """The file with a part of its picture filled, that hole as stored, and remarks; no file, and why, where refused."""
    from vae_cli.errors import VaeError
    from vae_cli.files.originals import open_original
    from vae_cli.images.orientation import as_stored

    try:
        original = open_original(path)
        height, width = original.display_size
        hole = np.zeros((height, width), bool)
        hole[height // 4 : max(height // 2, height // 4 + 1), width // 4 : max(width // 2, width // 4 + 1)] = True
        filled = original.with_fill(np.full((height, width, 3), (200.0, 100.0, 50.0), np.float32), hole)
        target = out / (path.name if wanted == "keep" else f"{path.name}.{wanted}")
        remarks = filled.with_text("seed", "0").save(target, format=wanted, overwrite=True)
        return target, as_stored(hole, original.orientation), remarks
    except VaeError as error:
        return None, np.zeros(0), (str(error).removeprefix(f"{path}: "),)


def tags(paths: Sequence[Path]) -> Iterator[Counter[tuple[str, str]]]:
    """Of each file, how often it has which tag with which value."""
    command = [
        "exiftool",
        "-q",
        "-q",
        "-m",
        "-j",
        "-a",
        "-u",
        "-n",
        "-b",
        "-G1:4",
        "-struct",
        "-api",
        "largefilesupport=1",
        *map(str, paths),
    ]
    found = json.loads(subprocess.run(command, capture_output=True, check=False).stdout or b"[]")
    by_name = {each.pop("SourceFile"): each for each in found}
    for path in paths:
        yield Counter((re.sub(r"Copy\d+:", "", key), str(value)) for key, value in by_name.get(str(path), {}).items())


def shown(path: Path) -> np.ndarray | None:
    """[H, W, C] as Pillow shows it, not turned; of deep TIFFs as tifffile does; None where it cannot."""
    try:
        if path.suffix.lower() in (".tif", ".tiff"):
            pixels = tifffile.imread(path, key=0)
            return np.moveaxis(pixels, 0, -1) if pixels.ndim == 3 and len(pixels) < 5 else np.atleast_3d(pixels)
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
            return np.atleast_3d(np.asarray(image.convert("RGBA") if image.mode in ("P", "PA") else image)).astype(
                np.float32
            )
    except Exception:  # whatever Pillow has to say of it
        return None


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--files", type=Path, metavar="FOLDER", help="files of others instead of drawn ones")
    parser.add_argument("--formats", nargs="+", default=["keep"], help="as --format of inpaint (default keep)")
    args = parser.parse_args()
    drawn, out = args.files or args.work / "drawn", args.work / "out"
    for folder in (out, *([] if args.files else [drawn])):
        shutil.rmtree(folder, ignore_errors=True)
    if not args.files:
        draw(drawn)
    out.mkdir(parents=True)
    Image.MAX_IMAGE_PIXELS = 1 << 24
    refused, lost, altered, num = Counter[str](), list[str](), list[str](), 0
    results = list[tuple[Path, Path, np.ndarray, tuple[str, ...]]]()
    for wanted in args.formats:
        for path in sorted(filter(Path.is_file, drawn.rglob("*"))):
            target, hole, remarks = refill(path, out, wanted)
            if target is not None:
                results.append((path, target, hole, remarks))
            elif shown(path) is not None:
                refused[remarks[0]] += 1
                print(f"refused   {path.name} ({wanted}): {remarks[0]}")
    every = [path for pair in results for path in pair[:2]]
    found = [each for start in range(0, len(every), 400) for each in tags(every[start : start + 400])]
    for (path, target, hole, remarks), before, after in zip(results, found[::2], found[1::2], strict=True):
        num += 1
        told = " | ".join(remarks)
        covered = [pattern for word, pattern in NAMED.items() if word in told]
        if "all metadata" not in told:
            if target.suffix != path.suffix:  # tags have other groups there, and resolution has another unit
                found = {(key.partition(":")[2], value) for key, value in after}
                gone = {key for key, value in before if (key.partition(":")[2], value) not in found}
                kinds = (
                    r"Resolution|IFD0:(BitsPerSample|Photometric|SamplesPerPixel|ExtraSamples|Predictor|YCbCr|ColorMap)"
                )
                gone = {key for key in gone if not re.search(kinds, key)}
            else:
                gone = {key for key, _ in before - after}
            missing = sorted(key for key in gone if not STRUCTURAL.search(key))
            missing = [key for key in missing if not any(re.search(pattern, key) for pattern in covered)]
            if missing:
                lost.append(target.name)
                print(f"lost      {target.name}: {', '.join(missing)[:400]}   [{told}]")
        one, other = shown(path), shown(target)
        if target.suffix != path.suffix or one is None or "lossy" in told:
            continue
        if other is None or one.shape != other.shape or (one != other).any(-1)[~hole].any():
            altered.append(target.name)
            print(f"altered   {target.name}: {one.shape}, {other if other is None else other.shape}   [{told}]")
    figures = {"files": num, "refused": sum(refused.values()), "lost": len(lost), "altered": len(altered)}
    common.table([tuple(figures), tuple(figures.values())])
    common.finish("metadata", figures, targets=TARGETS, protocol={"formats": args.formats, "files": str(args.files)})


if __name__ == "__main__":
    main()
