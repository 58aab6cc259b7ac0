"""Where masks come from, as options say it; this much of `inpaint` is there before numpy is loaded."""

from dataclasses import dataclass
from pathlib import Path

from vae_cli.errors import ConfigError
from vae_cli.jobs.inputs import require
from vae_cli.printable import shell_quoted

NOTHING_FOUND = "no damage found"
"""Why an image is skipped in which a search finds nothing."""


@dataclass(frozen=True)
class MaskSource:
    """Where masks come from: one for all or a folder of them, the colour or the transparency of pixels, or a search
    for scratches and dust; and what is done to them."""

    path: Path | None = None
    color: str | None = None
    alpha: bool = False
    auto: bool = False
    invert: bool = False
    dilate_pixels: int = 0

    def check(self) -> None:
        """Raises ConfigError unless there is exactly one source, and it exists."""
        if sum((self.path is not None, self.color is not None, self.alpha, self.auto)) != 1:
            sources = "--mask FILE|DIR, --mask-color '#ff00ff', --mask-alpha or --mask-auto"
            raise ConfigError(f"inpaint: give exactly one of {sources}")
        if self.auto and self.invert:
            raise ConfigError("--mask-invert: what --mask-auto finds is the hole; leave one of them out")
        if self.path is not None:
            require(self.path)
        if self.color is not None:
            from vae_cli.images.colours import parse_color

            parse_color(self.color)

    def options(self) -> str:
        """The options that ask for this."""
        changed = " --mask-invert" * self.invert + f" --mask-dilate {self.dilate_pixels}" * (self.dilate_pixels > 0)
        if self.path is not None:
            return f"--mask {shell_quoted(self.path)}{changed}"
        if self.color is not None:
            return f"--mask-color {shell_quoted(self.color)}{changed}"
        return f"{'--mask-auto' if self.auto else '--mask-alpha'}{changed}"
