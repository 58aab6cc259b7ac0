"""Tables as other programs read them."""

import csv
import io

from vae_cli.jobs.tables import as_csv


def test_every_cell_comes_back() -> None:
    """A file may be called almost anything."""
    cells = [f"a{chr(code)}b" for code in range(1, 256)] + ["\r", "\n", "\r\n", ",", '"', "", "\u2028", "caf\udce9"]
    content = as_csv([["file", "number"], *([cell, 7] for cell in cells)])
    assert content.startswith(b"file,number\n") and content.endswith(b",7\n")
    text = io.StringIO(content.decode("utf-8", "surrogateescape"), newline="")
    assert list(csv.reader(text)) == [["file", "number"], *([cell, "7"] for cell in cells)]
