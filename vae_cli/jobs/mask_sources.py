"""Where masks come from, as options say it; this much of `inpaint` is there before numpy is loaded."""

import re
from dataclasses import dataclass
from pathlib import Path

from vae_cli.errors import ConfigError
from vae_cli.files.mask_pairs import PLACEHOLDERS
from vae_cli.images.image_ref import ARCHIVE_SUFFIXES
from vae_cli.jobs.inputs import require
from vae_cli.printable import shell_quoted

NOTHING_FOUND = "no damage found"
"""Why an image is skipped in which a search finds nothing."""


@dataclass(frozen=True)
class MaskSource:
    """Where masks come from: one for all or a folder of them, the colour or the transparency of pixels, or a search
    for scratches and dust; and what is done to them. pattern: of the names in a folder, as for `pair_masks`. value:
    what the hole is stored as in a mask file; None = white."""

    path: Path | None = None
    color: str | None = None
    alpha: bool = False
    auto: bool = False
    invert: bool = False
    dilate_pixels: int = 0
    pattern: str | None = None
    value: int | None = None

    @property
    def is_given(self) -> bool:
        """Whether there is any source."""
        return self._num_sources > 0

    @property
    def _num_sources(self) -> int:
        return sum((self.path is not None, self.color is not None, self.alpha, self.auto))

    @property
    def has_several(self) -> bool:
        """Whether the path is a folder or an archive, in which each image has a mask of its own."""
        return self.path is not None and (self.path.is_dir() or self.path.suffix.lower() in ARCHIVE_SUFFIXES)

    def check(self, *, is_needed: bool = True) -> None:
        """Raises ConfigError unless there is exactly one source, it exists, and all else belongs to it.

        is_needed: else there may be none.
        """
        if self._num_sources > 1 or (is_needed and not self.is_given):
            sources = "--mask FILE|DIR, --mask-color '#ff00ff', --mask-alpha or --mask-auto"
            raise ConfigError(f"masks: give {'exactly' if is_needed else 'at most'} one of {sources}")
        if self.auto and self.invert:
            raise ConfigError("--mask-invert: what --mask-auto finds is the hole; leave one of them out")
        if self.path is not None:
            require(self.path)
        elif self.value is not None:
            raise ConfigError(
                f"--mask-value {self.value}: is what --mask FILE|DIR holds where the hole is; give that, too"
            )
        if self.pattern is not None:
            self._check_pattern(self.pattern)
        if self.color is not None:
            from vae_cli.images.colours import parse_color

            parse_color(self.color)

    def _check_pattern(self, pattern: str) -> None:
        if not self.has_several:
            raise ConfigError(f"--mask-pattern {pattern}: is for a folder or archive of masks; give that with --mask")
        fields = re.findall("{[^{}]*}", pattern)
        if not fields or not set(fields) <= set(PLACEHOLDERS):
            example = "{stem} is its image's name without suffix, {name} with it, as in '{stem}_damage.png'"
            raise ConfigError(f"--mask-pattern {pattern}: names no image's mask; {example}")

    def options(self) -> str:
        """The options that ask for this."""
        changed = " --mask-invert" * self.invert + f" --mask-dilate {self.dilate_pixels}" * (self.dilate_pixels > 0)
        if self.pattern is not None:
            changed += f" --mask-pattern {shell_quoted(self.pattern)}"
        if self.value is not None:
            changed += f" --mask-value {self.value}"
        if self.path is not None:
            return f"--mask {shell_quoted(self.path)}{changed}"
        if self.color is not None:
            return f"--mask-color {shell_quoted(self.color)}{changed}"
        return f"{'--mask-auto' if self.auto else '--mask-alpha'}{changed}"
