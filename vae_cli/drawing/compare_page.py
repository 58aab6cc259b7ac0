"""Runs side by side on one HTML page."""

from collections.abc import Iterator, Mapping, Sequence

from vae_cli.drawing.page import page
from vae_cli.drawing.run_page import PICTURES, preview
from vae_cli.training.run_record import RunRecord


def compare_page(
    records: Sequence[RunRecord], names: Sequence[str], figures: Mapping[str, Sequence[str]],
    settings: Mapping[str, Sequence[str]],
) -> Iterator[str]:  # fmt: skip
    """The page piece by piece. names: of the runs. figures, settings: a text for each run under a title or key."""

    def pictures(kind: str) -> list[tuple[str, bytes, tuple[int, int]]]:
        """Those of one kind, with the names of the runs that have them."""
        found = zip(names, (preview(record.folder / "previews", kind) for record in records), strict=True)
        return [(name, *picture) for name, picture in found if picture]

    return page("compare.html.j2", title=f"{len(names)} runs side by side", names=names, figures=figures,
                settings=settings, kinds=PICTURES, pictures=pictures)  # fmt: skip
