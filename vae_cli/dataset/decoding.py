"""Images decoded one after the other into a file, by one process or by the ranks of a node together."""

import json
import shutil
import zlib
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from vae_cli.atomic import replacing
from vae_cli.company import Company
from vae_cli.dataset.ordered_threads import OnProgress, ordered_map
from vae_cli.dataset.stored_pixels import is_extreme
from vae_cli.errors import DataError
from vae_cli.images.bad_files import with_remarks
from vae_cli.images.image_ref import ImageRef
from vae_cli.images.image_refs import taken
from vae_cli.printable import printable

_MAX_REMARKS = 5  # images whose decoders' remarks are told


@dataclass(frozen=True)
class Request:
    """Images to decode, and how."""

    refs: Sequence[ImageRef]
    decode: Callable[[ImageRef], np.ndarray]  # gives a uint8 array of `shape`, or raises DataError
    shape: tuple[int, ...]  # (H, W, C), or with a number before it of as many arrays for each image
    settings: str  # everything but the files that the arrays depend on
    workers: int = 2
    on_progress: OnProgress | None = None
    company: Company = field(default_factory=Company)  # whose ranks on this node decode together, at the same time


Failure = tuple[int, str]  # position in the request, reason


class Written(NamedTuple):
    """What is in a file of pixels: which images were kept, which failed, the checksum of each array, how many values
    are 0 or 255, and what decoders remarked on images that were kept."""

    kept: list[int]
    failed: list[Failure]
    checksums: list[int]
    num_extreme: int
    remarks: Sequence[Failure] = ()

    def notes(self, request: Request) -> tuple[str, ...]:
        """The remarks, each with the name of its image; of many, some."""
        told = [f"{printable(request.refs[position].id)}: read, with a remark of its decoder: {printable(line)}"
                for position, line in self.remarks[:_MAX_REMARKS]]  # fmt: skip
        num_more = len(self.remarks) - len(told)
        return (*told, *([f"decoders remark on {num_more} more images; `vae check -v` shows it"] if num_more else []))

    def require_some(self, request: Request) -> None:
        """Raises DataError where no image was kept."""
        if not self.kept:
            first = f"the first, {request.refs[0].id}: {self.failed[0][1]}" if self.failed else "the list is empty"
            raise DataError(f"none of {len(request.refs)} images can be decoded ({first}); `vae check` lists them")


def decode_into(stream: IO[bytes], request: Request) -> Written:
    """Append every decoded image to the stream."""
    kept, failed, checksums, num_extreme, remarks = list[int](), list[Failure](), list[int](), 0, list[Failure]()
    with closing(ordered_map(with_remarks(request.decode), request.refs, request.workers)) as results:
        for position, result in enumerate(results):
            if isinstance(result, DataError):
                failed.append((position, str(result)))
            else:
                kept.append(position)
                array, lines = result
                remarks += [(position, "; ".join(lines))] if lines else []
                arrays = np.ascontiguousarray(array).reshape(-1, *request.shape[-3:])
                checksums += [zlib.crc32(array.data) for array in arrays]
                num_extreme += int(np.count_nonzero(is_extreme(arrays)))
                stream.write(arrays.data)
            if request.on_progress is not None:
                request.on_progress(position + 1, len(request.refs))
    stream.flush()
    return Written(kept, failed, checksums, num_extreme, remarks)


def part_of(path: Path, position: int) -> Path:
    return path.with_name(f"{path.stem}.{position}.u8")


def write_part(path: Path, request: Request) -> None:
    """Decode this rank's part of what its node decodes. Raises OSError."""
    company, num = request.company, len(request.refs)
    rows = range(num * company.position // company.size, num * (company.position + 1) // company.size)
    text = ""
    try:
        with replacing(part_of(path, company.position)) as file:
            text = json.dumps(decode_into(file, replace(request, refs=taken(request.refs, rows)))._asdict())
    finally:
        company.say(f"part {company.position}", text)


def joined(path: Path, file: IO[bytes], request: Request) -> Written:
    """The parts of all ranks of the node, once they are there, in one file. Raises OSError where one is not."""
    whole, num = Written([], [], [], 0), len(request.refs)
    for position in range(request.company.size):
        if not (text := request.company.hear(f"part {position}")):
            raise OSError("another rank of this node cannot write there")
        part, start = Written(**json.loads(text)), num * position // request.company.size
        whole = Written(whole.kept + [start + row for row in part.kept],
                         whole.failed + [(start + row, reason) for row, reason in part.failed],
                         whole.checksums + part.checksums, whole.num_extreme + part.num_extreme,
                         [*whole.remarks, *((start + row, line) for row, line in part.remarks)])  # fmt: skip
        with part_of(path, position).open("rb") as stream:
            shutil.copyfileobj(stream, file, 1 << 20)
        part_of(path, position).unlink()
    return whole
