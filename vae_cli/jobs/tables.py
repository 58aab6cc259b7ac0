"""Tables as files: lines of cells with commas between them."""

import csv
from collections.abc import Iterable


def as_csv(rows: Iterable[Iterable[object]]) -> bytes:
    """A line for each row; cells hold any text, of file names also bytes that are no UTF-8."""
    lines = _Lines()
    csv.writer(lines).writerows(rows)
    return "".join(lines).encode("utf-8", "surrogateescape")


class _Lines(list[str]):
    """Rows as they are written, each with \\n at its end.

    The writer itself ends them with \\r\\n: it quotes a cell with any character of that, and has to quote both.
    """

    def write(self, row: str) -> None:
        self.append(row.removesuffix("\r\n") + "\n")
