"""HTML pages from the templates beside this file. They open without a network: pictures lie in the page itself."""

import base64
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from vae_cli.atomic import writing

_ENVIRONMENT = Environment(loader=PackageLoader("vae_cli.drawing"), autoescape=True, undefined=StrictUndefined,
                           trim_blocks=True, lstrip_blocks=True)  # fmt: skip
_ENVIRONMENT.filters["base64"] = lambda content: base64.b64encode(content).decode()


def page(template: str, **values: Any) -> Iterator[str]:
    """The page piece by piece, text escaped; iterators are read as it gets to them, so a long one needs no memory."""
    return _ENVIRONMENT.get_template(template).generate(values)


def write_pieces(path: Path, pieces: Iterable[str]) -> None:
    """Writes a page piece by piece, as they come. Raises WriteError."""
    with writing(path) as file:
        for piece in pieces:
            file.write(piece.encode("utf-8", "backslashreplace"))
