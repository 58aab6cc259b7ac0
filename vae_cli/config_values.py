"""How the settings of a configuration are written, and what is said of wrong ones."""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from vae_cli.printable import shortened


def flattened(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every single setting by its dotted key; a list is one."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= flattened(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def parse_duration(value: object) -> object:
    """Seconds from `90s`, `10m`, `1.5h` or `1h30m`; numbers are left to pydantic. Raises ValueError for other text."""
    if not isinstance(value, str) or re.fullmatch(r"[-+.\d]+([eE][-+]?\d+)?", value.strip()):
        return value
    parts = re.findall(r"(\d+(?:\.\d+)?)([smh]?)", value.strip())
    if not parts or "".join(number + unit for number, unit in parts) != value.strip():
        raise ValueError("write seconds or a duration like 90s, 10m or 1h30m")
    return sum(float(number) * {"": 1, "s": 1, "m": 60, "h": 3600}[unit] for number, unit in parts)


def parse_image_size(value: object) -> object:
    """(H, W) from `64`, `"64"` or `"48x64"`; all but text is left to pydantic. Raises ValueError for other text."""
    if isinstance(value, str):
        if not re.fullmatch(r"\d+([xX]\d+)?", value.strip()):
            raise ValueError("write H or HxW, like 64 or 48x64")
        sides = [int(side) for side in value.lower().split("x")]
        return (sides[0], sides[-1])
    if isinstance(value, int) and not isinstance(value, bool):
        return (value, value)
    return value


Side = Annotated[int, Field(ge=4, le=4096)]
ImageSize = Annotated[tuple[Side, Side], BeforeValidator(parse_image_size)]
Seconds = Annotated[float, BeforeValidator(parse_duration), Field(gt=0, le=1e9)]
Share = Annotated[float, Field(ge=0, le=1)]
Clusters = Annotated[int, Field(ge=1, le=65536)]
Blocks = Annotated[int, Field(ge=1, le=64)]
LatentNoise = Annotated[float, Field(ge=0)]


class Section(BaseModel):
    """Base of every part of the configuration: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False,
                              use_attribute_docstrings=True)  # fmt: skip

    @field_validator("*")
    @classmethod
    def _can_be_a_name(cls, value: Any) -> Any:
        if isinstance(value, str) and "\0" in value:
            raise ValueError("holds a null character")
        return value

    @field_validator("*")
    @classmethod
    def _fits_into_64_bits(cls, value: Any) -> Any:
        if isinstance(value, int | float) and abs(value) >= 2**63:
            raise ValueError("too large a number")
        return value


def explanations(details: Sequence[Any], keys: Sequence[str]) -> list[str]:
    """A line for each wrong key of those that pydantic tells of: where, what is wrong, what to write instead.

    Where a key has alternatives (a number or `auto`) pydantic reports an error for each; the first one about the
    innermost key is kept, as it is about what was meant.
    """
    names = {name for key in keys for name in key.split(".")}
    lines: dict[str, str] = {}
    for detail in details:
        is_unknown = detail["type"] == "extra_forbidden"
        # pydantic puts names of types between those of settings where a key has alternatives
        parts = [str(part) for part in detail["loc"] if isinstance(part, int) or part in names]
        if is_unknown and detail["loc"][-1] not in names:
            parts.append(str(detail["loc"][-1]))
        dotted = ".".join(parts)
        if is_unknown:
            line = f"{dotted}: unknown setting{nearest(dotted, keys)}"
        else:
            message = detail["msg"].removeprefix("Value error, ")
            given = "" if isinstance(detail["input"], dict) else f" (got {shortened(detail['input'])})"
            line = f"{dotted}: {message[0].lower()}{message[1:]}{given}" if dotted else message
        lines.setdefault(dotted, line)
    return [line for key, line in lines.items() if not any(other.startswith(f"{key}.") for other in lines)]


def nearest(name: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    """The end of a message about an unknown name: which of the known ones was probably meant."""
    (closest,) = difflib.get_close_matches(name[:100], list(known), n=1, cutoff=0.0)  # which is slow on long ones
    return f"; did you mean {closest}?"
