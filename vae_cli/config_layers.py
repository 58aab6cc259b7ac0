"""Where settings come from and how they override one another: defaults, presets, YAML files, `--set`, options."""

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from vae_cli.config import BUDGETS, Layer, RunConfig, from_dict, merge, nearest
from vae_cli.errors import ConfigError
from vae_cli.presets import PRESETS


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads numbers as YAML 1.2 does: `1e-3` is a float (YAML 1.1 made it a string)."""


_FLOAT = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def parse_yaml(text: str) -> Any:
    """YAML as plain data; never runs code. Raises yaml.YAMLError."""
    return yaml.load(text, Loader=_Loader)


def read_layer(path: Path) -> Layer:
    """Settings of a YAML file. Raises ConfigError when it cannot be read or is not a mapping."""
    try:
        layer = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or 'not UTF-8 text'})") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that no calendar has
        where = getattr(error, "problem_mark", None)
        line = f" in line {where.line + 1}" if where else ""
        raise ConfigError(f"{path}: not valid YAML{line}: {getattr(error, 'problem', error)}") from error
    if not isinstance(layer, dict | None):
        found = type(layer).__name__
        raise ConfigError(f"{path}: expected settings such as `training: {{steps: 1000}}`, found {found}")
    return layer or {}


def parse_assignment(text: str) -> Layer:
    """Layer of one `a.b=value`; the value is read as YAML. Raises ConfigError."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {text}: expected key=value, for instance --set training.batch_size=64")
    try:
        parsed = parse_yaml(value)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that no calendar has
        raise ConfigError(f"--set {text}: {value!r} is not valid YAML") from error
    return nested(key.strip(), parsed)


def nested(dotted: str, value: Any) -> Layer:
    """The layer of one setting by its dotted key."""
    for name in reversed(dotted.split(".")):
        value = {name: value}
    return dict(value)


def resolve_config(
    *, preset: str | None = None, file: Path | None = None, sets: Sequence[str] = (), options: Layer | None = None
) -> RunConfig:
    """Built-in defaults < preset < file < `key=value` < named options. Raises ConfigError.

    `preset` None takes the file's `preset` where it names one, else `small`.
    """
    in_file = read_layer(file) if file else {}
    name = preset or in_file.get("preset") or "small"
    if not isinstance(name, str) or name not in PRESETS:
        raise ConfigError(f"--preset {name}: no such preset{nearest(str(name), PRESETS)}; known: {', '.join(PRESETS)}")
    given = [*map(parse_assignment, sets), options or {}]
    if any("preset" in layer for layer in given):
        raise ConfigError("preset: --set cannot choose it, since it comes before all settings; use --preset")
    layers = [PRESETS[name], in_file, *given, {"preset": name}]
    config = from_dict(functools.reduce(merge, layers, RunConfig().as_dict()), RunConfig)
    if all(getattr(config.training, name) is None for name in BUDGETS):
        raise ConfigError("training: no budget; give one of --steps, --epochs or --time")
    return config


def dump_yaml(config: RunConfig) -> str:
    """The configuration as YAML that `--config` reads back to the same object."""
    return yaml.safe_dump(config.as_dict(), sort_keys=False, allow_unicode=True)
