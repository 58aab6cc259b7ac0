"""What all pages share: the frame around their content, and pictures that lie in the page itself."""

import base64
import html
from collections.abc import Iterable, Iterator

_STYLE = """
:root { color-scheme: light dark; }
body { font: 14px/1.4 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
figure { display: inline-block; margin: 0 .75rem .5rem 0; vertical-align: top; }
figcaption, .note { color: #888; font-size: 12px; }
img { display: block; }
"""


def page(title: str, content: Iterable[str], *, style: str = "") -> Iterator[str]:
    """The whole document, piece by piece, so that thousands of pictures never lie in memory at once.

    content: HTML; title: plain text.
    """
    yield (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}{style}</style></head>\n<body><h1>{html.escape(title)}</h1>\n"
    )
    yield from content
    yield "</body></html>\n"


def img(content: bytes, kind: str, size: tuple[int, int], caption: str) -> str:
    """An `img` of an encoded picture (kind: `png`, `jpeg`) shown with this width and height, pixels."""
    source = base64.b64encode(content).decode()
    return (
        f'<img loading="lazy" width="{size[0]}" height="{size[1]}" alt="{html.escape(caption)}" '
        f'src="data:image/{kind};base64,{source}">'
    )
