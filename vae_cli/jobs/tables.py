"""Tables as files: lines of cells with commas between them."""

import csv
import io
from collections.abc import Iterable


def as_csv(rows: Iterable[Iterable[object]]) -> bytes:
    """A line for each row; cells hold any text, of file names also bytes that are no UTF-8."""
    text = io.StringIO()
    table = csv.writer(text)  # which quotes a cell with any character of its line ends, so both of them
    for row in rows:
        table.writerow(row)
        text.seek(text.tell() - len("\r\n"))
        text.write("\n")
        text.truncate()
    return text.getvalue().encode("utf-8", "surrogateescape")
