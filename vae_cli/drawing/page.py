"""HTML pages from the templates beside this file. They open without a network: pictures lie in the page itself."""

import base64
from collections.abc import Iterator
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

_ENVIRONMENT = Environment(loader=PackageLoader("vae_cli.drawing"), autoescape=True, undefined=StrictUndefined,
                           trim_blocks=True, lstrip_blocks=True)  # fmt: skip
_ENVIRONMENT.filters["base64"] = lambda content: base64.b64encode(content).decode()


def page(template: str, **values: Any) -> Iterator[str]:
    """The page piece by piece, text escaped; iterators are read as it gets to them, so a long one needs no memory."""
    return _ENVIRONMENT.get_template(template).generate(values)
