"""Mutated files against everything that reads a stranger's file: only the program's own errors may come of them.

    python tests/benchmarks/fuzz.py --work FOLDER [--targets decode stored …] [--seconds 60] [--coverage]

Seeds are drawn by this script: every format, depth and packing in a few hundred bytes. An input is a seed, or parts of
two, with bytes flipped, numbers replaced by ones at the edge of their range, parts doubled, left out or cut off. With
--coverage atheris (`pip install atheris`) chooses among them by the code that they reach. Each target runs for
--seconds of the processor in a process of its own. An error of another class than VaeError, more than 10 s of the
processor, or more than 2 GiB of memory is a finding: its input is kept under --work/TARGET, with the traceback beside
it.
"""

import hashlib
import json
import os
import random
import signal
import struct
import subprocess
import sys
import time
import traceback
import zipfile
import zlib
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import common

MAX_SECONDS, MAX_BYTES = 10, 2 << 30
EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 13000, 65500, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
INSTRUMENTED = ["vae_cli", "PIL", "tifffile", "zipfile", "yaml", "csv", "json"]


# ---- seeds


def pictures() -> dict[str, bytes]:
    """A small picture in every format that is read, by its suffix and kind."""
    from PIL import Image, PngImagePlugin

    grey = Image.radial_gradient("L").resize((9, 7))
    colour = Image.merge("RGB", (grey, grey.transpose(Image.Transpose.ROTATE_180), grey))
    alpha, exif, text = colour.copy(), Image.Exif(), PngImagePlugin.PngInfo()
    alpha.putalpha(grey)
    exif[274], exif[270] = 6, "a picture"
    text.add_text("prompt", "words " * 20, zip=True)
    text.add_itxt("author", "Größe")
    described: dict[str, Any] = {"exif": exif, "dpi": (72, 72), "icc_profile": b"profile " * 9}
    wanted: list[tuple[str, Image.Image, dict[str, Any]]] = [
        ("PNG", alpha, {"pnginfo": text, **described}), ("PNG", grey.convert("P"), {"transparency": b"\0\1"}),
        ("PNG", grey, {"transparency": 7}), ("PNG", grey.convert("I;16"), {}), ("JPEG", colour, described),
        ("JPEG", Image.new("CMYK", (9, 7)), {}), ("JPEG", grey, {"progressive": True}), ("GIF", grey.convert("P"), {}),
        ("GIF", grey, {"save_all": True, "append_images": [grey.rotate(90)], "transparency": 0}),
        ("WEBP", alpha, {"exif": exif}), ("WEBP", colour, {"lossless": True}), ("BMP", colour, {}), ("BMP", grey, {}),
        ("PPM", colour, {}), ("AVIF", colour, {"exif": exif}), ("JPEG2000", alpha, {}), ("TIFF", grey.convert("1"), {}),
        ("TIFF", colour.convert("P"), {}), ("TIFF", grey.convert("1"), {"compression": "group4"}),
        *(("TIFF", alpha, {"compression": name, "tiffinfo": exif})
          for name in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "lzma", "zstd")),
        ("TIFF", colour, {"compression": "jpeg"}), ("TIFF", colour.convert("YCbCr"), {}),
    ]  # fmt: skip
    found = {}
    for number, (kind, image, options) in enumerate(wanted):
        stream = BytesIO()
        image.save(stream, kind, **options)
        found[f"{number} {kind}"] = stream.getvalue()
    return found | {"pgm": b"P5 3 1 4095\n" + bytes(6), "plain ppm": b"P3 2 1 255\n1 2 3 4 5 6\n", **deep_pictures()}


def deep_pictures() -> dict[str, bytes]:
    """What is changed in place: 16 bits and odd samples, in TIFF and PNG."""
    import numpy as np
    import tifffile

    values = np.random.default_rng(0).integers(0, 65536, (8, 16, 5), np.uint16)
    settings: tuple[dict[str, Any], ...] = (
        {"compression": "zlib", "predictor": True}, {"compression": "lzw", "rowsperstrip": 3}, {"tile": (16, 16)},
        {"compression": "packbits", "byteorder": ">"}, {"bigtiff": True}, {"planarconfig": "separate"},
    )  # fmt: skip
    found = {}
    for number, options in enumerate(settings):
        stream, samples = BytesIO(), values[..., : 3 + number % 3]
        samples = np.moveaxis(samples, 2, 0) if "planarconfig" in options else samples
        with tifffile.TiffWriter(
            stream, **{name: options.pop(name) for name in ("byteorder", "bigtiff") if name in options}
        ) as file:
            for _ in range(1 + number % 2):
                file.write(samples, photometric="rgb", resolution=(300, 300), description="a page", **options)
        found[f"deep {number}"] = stream.getvalue()
    with tifffile.TiffWriter(stream := BytesIO()) as file:  # a page with a preview below it and one behind it
        picture = (values[..., :3] >> 8).astype(np.uint8)
        file.write(picture, photometric="rgb", subifds=1)
        file.write(picture[::2, ::2], photometric="rgb", subfiletype=1, compression="jpeg")
        file.write(picture[::4, ::4], photometric="rgb", subfiletype=1)
    found["previews"] = stream.getvalue()
    return found | {f"deep png {count}": _png(values[..., :count]) for count in (1, 2, 3, 4)}


def _png(values: Any) -> bytes:
    """16 bits of 1 to 4 samples, which Pillow cannot write."""
    height, width, count = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, (0, 4, 2, 6)[count - 1], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"tEXt", b"a\0b"), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def zips() -> dict[str, bytes]:
    found = {}
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(stream := BytesIO(), "w", method) as archive:
            for number, content in enumerate(list(pictures().values())[:3]):
                archive.writestr(f"class {number}/{number}.png", content)
            archive.writestr("train/ü.txt", "words")
        found[str(method)] = stream.getvalue()
    return found


def lists() -> dict[str, bytes]:
    return {
        "plain": b"a.png\nsub/b.jpg,cat\n# a comment\n", "quoted": b'file_name,label\n"a, b.png","a ""cat"""\nc.png,\n',
        "semicolons": "path;class;split\nü.png;Größe;val\n".encode("utf-16"), 
        "tabs": b"\xef\xbb\xbfimage\tlabel\na.png\tx\r\n",
    }  # fmt: skip


def configurations() -> dict[str, bytes]:
    samples = sorted((common.REPOSITORY / "sample_configs").glob("*.yaml"))
    return {path.name: path.read_bytes() for path in samples} | {
        "aliases": b"a: &a [1, 2]\nmodel: {latents: [*a, *a], width: 1e-3}\n",
        "numbers": b"training: {steps: 1_0, time: 1:2:3}",
    }  # fmt: skip


def weights() -> dict[str, bytes]:
    sys.path.insert(0, str(common.REPOSITORY / "tests"))
    from tiny import tiny_model, weights_of

    from vae_cli.checkpoint import weights_file

    model = tiny_model(num_labels=2)
    return {"tiny": weights_file(model.facts, weights_of(model.vae, model.flow))}


# ---- what reads them


def decode(path: Path) -> None:
    from vae_cli.images.decode import probe
    from vae_cli.images.recipe import ImageRecipe

    probe(path)
    ImageRecipe((4, 4), 3, "crop", (255, 255, 255)).decode(path)


def stored(path: Path) -> None:
    """Changes a pixel and writes the picture back, as `vae inpaint` does."""
    import numpy as np

    from vae_cli.files.originals import open_original
    from vae_cli.images.bad_files import bad_bytes_are_data_errors
    from vae_cli.images.decode import probe

    probe(path)
    with bad_bytes_are_data_errors():
        original = open_original(path)
        hole = np.zeros(original.display_size, bool)
        hole[0, 0] = True
        original.with_fill(np.full((*hole.shape, 3), 99, np.float32), hole).save(path.with_name("out"), overwrite=True)


def masks(path: Path) -> None:
    from vae_cli.files.masks import hole_from_alpha, hole_from_color, read_hole
    from vae_cli.images.decode import open_image

    read_hole(path, (7, 9))
    hole_from_color(open_image(path), "#000")
    hole_from_alpha(open_image(path))


def zip_members(path: Path) -> None:
    from vae_cli.dataset.ordered_threads import ordered_map
    from vae_cli.dataset.scan import scan
    from vae_cli.images.decode import open_image

    found = scan(path)
    list(ordered_map(open_image, found.images, 1))


def list_file(path: Path) -> None:
    from vae_cli.dataset.scan import scan

    scan(path)


def configuration(path: Path) -> None:
    from vae_cli.config_layers import resolve_config

    resolve_config(file=path)


def header(path: Path) -> None:
    import torch

    from vae_cli.checkpoint import load_model
    from vae_cli.runtime import Runtime

    load_model(path, Runtime(torch.device("cpu")))


@dataclass(frozen=True)
class Reader:
    """What is fuzzed: seeds, what reads a file of them, and what the file is called."""

    seeds: Callable[[], dict[str, bytes]]
    read: Callable[[Path], None]
    name: str = "a.img"


READERS = {
    "decode": Reader(pictures, decode), "stored": Reader(pictures, stored), "masks": Reader(pictures, masks),
    "deep": Reader(deep_pictures, stored), "zips": Reader(zips, zip_members, "a.zip"),
    "lists": Reader(lists, list_file, "a.csv"), "configuration": Reader(configurations, configuration, "a.yaml"),
    "header": Reader(weights, header, "a.safetensors"),
}  # fmt: skip


# ---- mutation


def mutated(seeds: list[bytes], draw: random.Random) -> bytes:
    content = bytearray(draw.choice(seeds))
    for _ in range(draw.choice((1, 1, 2, 4, 8))):
        at = draw.randrange(len(content) + 1)
        match draw.randrange(7):
            case 0 | 1 if content:
                content[at % len(content)] = draw.randrange(256)
            case 2 | 3:
                form = draw.choice(("<H", ">H", "<I", ">I"))
                size = struct.calcsize(form)
                content[at : at + size] = struct.pack(form, draw.choice(EDGES) & (256**size - 1))
            case 4:
                part = content[at : at + draw.randrange(1, 40)]
                content[at:at] = part * draw.choice((1, 1, 50))
            case 5:
                del content[at : at + draw.randrange(1, 40)]
            case 6:
                other = draw.choice(seeds)
                content = content[:at] + other[draw.randrange(len(other)) :]
    return bytes(content[: draw.randrange(len(content) + 1)] if draw.random() < 0.1 else content)


# ---- the run of one target


class TooSlow(BaseException):
    """No guard of the program's may take it for an error of the file."""


def _stop(*_: object) -> None:
    raise TooSlow


class Trial:
    """Feeds inputs to a target, and keeps those that are findings."""

    def __init__(self, target: str, folder: Path) -> None:
        self.reader, self.folder, self.num_inputs, self.findings = READERS[target], folder, 0, set[str]()
        self.path = folder / self.reader.name
        folder.mkdir(parents=True, exist_ok=True)
        signal.signal(signal.SIGPROF, _stop)

    def feed(self, content: bytes) -> None:
        from vae_cli.errors import VaeError

        self.path.write_bytes(content)
        peak, self.num_inputs = peak_bytes(), self.num_inputs + 1
        signal.setitimer(signal.ITIMER_PROF, MAX_SECONDS)
        try:
            self.reader.read(self.path)
        except VaeError as error:
            if len(str(error)) > 2000 or str(error).count("\n") > 2:
                self.keep(content, f"a long message: {str(error)[:3000]}", "message")
        except (Exception, TooSlow) as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            self.keep(
                content, traceback.format_exc(), f"{type(error).__name__} {Path(last.filename).name}:{last.lineno}"
            )
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        if MAX_BYTES < peak_bytes() > peak:
            self.keep(content, f"{peak_bytes() / 1e9:.1f} GB", "memory")

    def keep(self, content: bytes, words: str, kind: str) -> None:
        if kind not in self.findings:
            self.findings.add(kind)
            name = hashlib.blake2b(content, digest_size=6).hexdigest()
            (self.folder / f"{name}.input").write_bytes(content)
            (self.folder / f"{name}.txt").write_text(f"{kind}\n{words}", errors="replace")

    def report(self) -> None:
        (self.folder / "report.json").write_text(json.dumps({"inputs": self.num_inputs, "findings": [*self.findings]}))


def peak_bytes() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def run_target(target: str, args: Namespace) -> None:
    """In a process of its own, which atheris would end itself."""
    folder = args.work / target
    atheris = __import__("atheris") if args.coverage else None
    with atheris.instrument_imports(include=INSTRUMENTED) if atheris else nullcontext():
        trial = Trial(target, folder)
        seeds = list(trial.reader.seeds().values())
        for seed in seeds:
            trial.feed(seed)
    trial.report()
    if atheris:
        corpus = folder / "corpus"
        corpus.mkdir(exist_ok=True)
        for number, seed in enumerate(seeds):
            (corpus / f"seed{number}").write_bytes(seed)

        def one_input(content: bytes) -> None:
            trial.feed(content)
            is_over = time.process_time() > args.seconds
            if is_over or trial.num_inputs % 100 == 0:
                trial.report()
            if is_over:
                os._exit(0)  # atheris would count an exception as a finding

        options = ["-max_len=65536", f"-seed={args.seed + 1}", "-rss_limit_mb=8000"]
        atheris.Setup([sys.argv[0], *options, "-verbosity=0", str(corpus)], one_input)
        atheris.Fuzz()
    draw = random.Random(args.seed)
    while time.process_time() < args.seconds:
        trial.feed(mutated(seeds, draw))
        trial.report()


def outcomes(args: Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    for target in args.targets:
        command = [sys.executable, __file__, "--work", str(args.work), "--seconds", str(args.seconds), "--run", target]
        command += ["--seed", str(args.seed), *["--coverage"] * args.coverage]
        code = subprocess.run(command, env=common.environment(args.work)).returncode
        report = json.loads((args.work / target / "report.json").read_text())
        yield target, report | {"findings": report["findings"] + ([f"ended with {code}"] if code else [])}


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--targets", nargs="+", choices=READERS, default=[*READERS])
    parser.add_argument("--seconds", type=int, default=60, help="of the processor, for each target (default 60)")
    parser.add_argument("--coverage", action="store_true", help="let atheris choose")
    parser.add_argument("--run", choices=READERS, help="one target in this process")
    args = parser.parse_args()
    if args.run:
        run_target(args.run, args)
        return
    found = dict(outcomes(args))
    common.table(
        [
            ("target", "inputs", "findings"),
            *((name, each["inputs"], len(each["findings"])) for name, each in found.items()),
        ]
    )
    for name, each in found.items():
        for kind in each["findings"]:
            print(f"{name}: {kind}")
    figures = {"findings": sum(len(each["findings"]) for each in found.values()), **found}
    protocol = {"seconds": args.seconds, "seed": args.seed, "coverage": args.coverage}
    common.finish("fuzz", figures, targets=(common.Target("findings", 0),), protocol=protocol)


if __name__ == "__main__":
    main()
