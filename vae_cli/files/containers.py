"""WebP, JPEG 2000 and AVIF files whose pixels are encoded anew while what else they hold stays.

The functions take the old file, the new one as Pillow writes it and the picture that this shows. Damaged files raise
many things.
"""

import re
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from PIL import Image

from vae_cli.files.thumbnails import with_redrawn_jpegs, with_redrawn_thumbnail, without_xmp_thumbnails
from vae_cli.images.jpeg2000 import CODE_STREAM, boxes

_WEBP_PIXELS = (b"ALPH", b"VP8 ", b"VP8L")
_WEBP_PICTURE = (*_WEBP_PIXELS, b"VP8X", b"ICCP", b"ANIM", b"ANMF")
_AVIF_BOXES = {b"ftyp", b"meta", b"mdat", b"moov", b"free", b"skip"}
_JP2_PICTURE = (b"jP  ", b"ftyp", b"jp2h", b"jp2c")


def webp_with_new_pixels(old: bytes, new: bytes, picture: Image.Image) -> bytes:
    """The first frame of an animation is replaced by one of the whole canvas; the others stay."""
    pixels = b"".join(_chunk(kind, data) for kind, data in _chunks_of(new) if kind in _WEBP_PIXELS)
    content, is_replaced = list[bytes](), False  # joined at the end: a file may be of a million chunks
    for kind, data in _chunks_of(old):
        if kind in _WEBP_PIXELS or kind == b"ANMF":
            if kind == b"ANMF" and not is_replaced:  # x, y, width - 1 and height - 1 of three bytes each
                sides = b"".join((side - 1).to_bytes(3, "little") for side in picture.size)
                content.append(_chunk(kind, bytes(6) + sides + data[12:16] + pixels))
            elif kind == b"ANMF":
                content.append(_chunk(kind, data))
            elif not is_replaced:
                content.append(pixels)
            is_replaced = True
        elif kind == b"EXIF":
            content.append(_chunk(kind, with_redrawn_thumbnail(data, picture)))
        else:
            content.append(_chunk(kind, without_xmp_thumbnails(data)))
    return _webp(b"".join(content)) + old[8 + int.from_bytes(old[4:8], "little") :]


def webp_without_metadata(content: bytes, exif: bytes) -> bytes:
    """With nothing but what pixels and colours need, and with this EXIF data, if any."""
    kept = [(kind, data) for kind, data in _chunks_of(content) if kind in _WEBP_PICTURE]
    kept = [(kind, bytes([data[0] & ~0x0C | 0x08 * bool(exif)]) + data[1:] if kind == b"VP8X" else data)
            for kind, data in kept]  # fmt: skip
    return _webp(b"".join(_chunk(*each) for each in (*kept, *([(b"EXIF", exif)] if exif else []))))


def other_webp_metadata(content: bytes) -> tuple[str, ...]:
    """Names of chunks that no program but their own knows, and of what follows the picture."""
    known = (*_WEBP_PICTURE, b"EXIF", b"XMP ")
    names = dict.fromkeys(f"chunk {kind.decode('latin-1')}" for kind, _ in _chunks_of(content) if kind not in known)
    follows = content[8 + int.from_bytes(content[4:8], "little") :].strip(b"\0")
    return (*names, *(["what follows the picture"] if follows else []))


def is_lossless_webp(content: bytes) -> bool:
    """Whether the first frame is."""
    for kind, data in _chunks_of(content):
        if kind == b"ANMF":
            return any(kind == b"VP8L" for kind, _ in _chunks(data, 16))
        if kind in _WEBP_PIXELS:
            return kind == b"VP8L"
    return False


def _webp(chunks: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def _chunks_of(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Of a file, without what follows it."""
    return _chunks(content[: 8 + int.from_bytes(content[4:8], "little")], 12)


def _chunks(data: bytes, start: int) -> Iterator[tuple[bytes, bytes]]:
    while len(data) >= start + 8:
        kind, size = struct.unpack_from("<4sI", data, start)
        yield kind, data[start + 8 : start + 8 + size]
        start += 8 + size + size % 2


def _chunk(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def jp2_with_new_pixels(old: bytes, new: bytes, picture: Image.Image) -> bytes:
    new_boxes = dict(boxes(new))
    pixels = new_boxes[b"jp2c"]
    if old.startswith(CODE_STREAM):  # without a container
        return pixels
    content = list[bytes]()
    for kind, data in boxes(old):
        if kind == b"jp2h":
            new_size = dict(boxes(new_boxes[kind]))[b"ihdr"]
            parts = ((part, new_size if part == b"ihdr" else value) for part, value in boxes(data) if part != b"bpcc")
            data = b"".join(_box(part, value) for part, value in parts)
        elif kind == b"jp2c" and pixels:
            data, pixels = pixels, b""
        elif kind == b"uuid":
            data = without_xmp_thumbnails(with_redrawn_jpegs(data, picture))
        content.append(_box(kind, data))
    return b"".join(content)


def jp2_without_metadata(content: bytes, _exif: bytes) -> bytes:
    return b"".join(_box(kind, data) for kind, data in boxes(content) if kind in _JP2_PICTURE) or content


def other_jp2_metadata(content: bytes) -> tuple[str, ...]:
    """Names of boxes with more than the picture needs."""
    kinds = {} if content.startswith(CODE_STREAM) else dict(boxes(content))
    return tuple(sorted(f"box {kind.decode('latin-1').strip()}" for kind in kinds if kind not in _JP2_PICTURE))


def _box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I4s", len(data) + 8, kind) + data


def avif_with_old_colours(old: bytes, new: bytes) -> bytes:
    """The new file, which says of its colours' primaries and transfer function what the old one says."""
    marks = b"colrnclx"
    source, target = old.find(marks) + len(marks), new.find(marks) + len(marks)
    if source < len(marks) or target < len(marks):
        return new
    return new[:target] + old[source : source + 4] + new[target + 4 :]


def has_unusual_colours(avif: bytes) -> bool:
    """Whether a file names other primaries than those of sRGB."""
    found = re.search(b"colrnclx(..)", avif, re.DOTALL)
    return found is not None and found[1] not in (b"\0\1", b"\0\2")  # the latter: unspecified


def avif_facts(content: bytes, num_pictures: int) -> dict[str, Any]:
    """How the colours are subsampled, and names of what Pillow does not see beside so many pictures: colours, alpha."""
    flags = content.partition(b"av1C")[2][2:3] or b"\0"
    sampling = {0x0C: "4:2:0", 0x08: "4:2:2"}.get(flags[0] & 0x0C, "4:4:4")
    items, names = Counter[bytes](), list[str]()
    with suppress(LookupError, struct.error):
        listed = dict(boxes(dict(boxes(content))[b"meta"][4:]))[b"iinf"]  # ISO/IEC 14496-12, 8.11.6
        entries = boxes(listed[6 if listed[0] == 0 else 8 :])
        items.update(data[10:14] if data[0] == 3 else data[8:12] for kind, data in entries if kind == b"infe")
    with suppress(LookupError, struct.error):
        names += [f"box {kind.decode('latin-1')}" for kind in sorted({*dict(boxes(content))} - _AVIF_BOXES)]
        if {b"udta", b"meta", b"uuid"} & {*dict(boxes(dict(boxes(content))[b"moov"]))}:
            names.append("metadata of the sequence")
    if b"grid" not in items and items[b"av01"] > num_pictures:
        names.append("further pictures (a depth map, say)")
    names += ["further descriptions"] * (items[b"mime"] > 1)
    others = sorted({*items} - {b"av01", b"grid", b"Exif", b"mime"})
    names += ["gain map" if kind == b"tmap" else f"item {kind.decode('latin-1')}" for kind in others]
    return {"subsampling": sampling, "extras": tuple(names)}
