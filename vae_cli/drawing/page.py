"""HTML pages from the templates beside this file. They open without a network: pictures lie in the page itself."""

import base64
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from vae_cli.atomic import writing
from vae_cli.printable import printable_lines


def _shown(value: object) -> object:
    """What the page shows of a value: names of strangers may hide or turn round what stands beside them."""
    return printable_lines(value) if isinstance(value, str) and not isinstance(value, Markup) else value


_ENVIRONMENT = Environment(loader=PackageLoader("vae_cli.drawing"), autoescape=True, undefined=StrictUndefined,
                           finalize=_shown, trim_blocks=True, lstrip_blocks=True)  # fmt: skip
_ENVIRONMENT.filters["base64"] = lambda content: base64.b64encode(content).decode()


def page(template: str, **values: Any) -> Iterator[str]:
    """The page piece by piece, text escaped; iterators are read as it gets to them, so a long one needs no memory."""
    return _ENVIRONMENT.get_template(template).generate(values)


def write_pieces(path: Path, pieces: Iterable[str]) -> None:
    """Writes a page piece by piece, as they come. Raises WriteError."""
    with writing(path) as file:
        for piece in pieces:
            file.write(piece.encode("utf-8", "backslashreplace"))
