"""The configuration as a text to read: every setting with its meaning, what it may be, and its default."""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from vae_cli.config import RunConfig
from vae_cli.config_layers import to_yaml

WIDTH = 100
_TYPES = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false", "null": "null"}
_BOUNDS = {"minimum": "from {}", "exclusiveMinimum": "above {}", "gt": "above {}", "maximum": "to {}", "le": "to {}",
           "exclusiveMaximum": "and below {}", "multipleOf": "in steps of {}"}  # fmt: skip

Schema = Mapping[str, Any]


def commented_yaml(config: RunConfig) -> str:
    """YAML that `--config` reads back to the same configuration; the docstrings of `config` become its comments."""
    schema = RunConfig.model_json_schema()
    return "\n".join(_settings(schema, config.as_dict(), schema["$defs"])) + "\n"


def _settings(section: Schema, values: Schema, sections: Schema, indent: str = "") -> Iterator[str]:
    for name, field in section["properties"].items():
        if name == "nets" and values[name] == field["default"]:
            continue  # the others come with the folder that `training.init` names, and are nobody's choice
        inner = [sections[reference] for reference in _references(field)]
        if "$ref" in field:
            yield from ("", *_comment(inner[0]["description"], indent), f"{indent}{name}:")
            yield from _settings(inner[0], values[name], sections, f"{indent}  ")
            continue
        yield from _comment(field["description"], indent)
        for part in inner:  # one of several alternatives, or what a list consists of
            yield from _comment(f"- {part['description']}", indent)
            for key, setting in part["properties"].items():
                yield from _comment(f"{key}: {setting.get('description', '')} ({_range(setting)})", indent, "  ")
        value = values[name]
        first, *rest = _dumped({name: value}, default_flow_style=None if isinstance(value, dict | list) else False)
        is_text = bool(rest) and isinstance(value, str)  # of several lines, of which a comment would become a part
        yield f"{indent}{first}" if is_text else f"{indent}{first}  # {_range(field)}"
        yield from (f"{indent}{line}" if line else "" for line in rest)


def _references(field: Schema) -> list[str]:
    """Names of the sections that a setting, or a part of it, may be."""
    parts = [field, *field.get("anyOf", ()), *field.get("oneOf", ())]
    parts += [part["items"] for part in parts if "items" in part]
    return [part["$ref"].rpartition("/")[2] for part in parts if "$ref" in part]


def _range(field: Schema) -> str:
    """What a setting may be, and its default."""
    default = f"; default {_dumped(field['default'], default_flow_style=True)[0]}" if "default" in field else ""
    return _allowed(field) + default


def _allowed(field: Schema) -> str:
    if parts := field.get("anyOf"):
        return " or ".join(map(_allowed, parts))
    if "enum" in field or "const" in field:
        return " | ".join(map(str, field.get("enum") or [field["const"]]))
    if "oneOf" in field:
        return "one of the above"
    if "items" in field:
        return "a list of the above"
    if "prefixItems" in field:
        return f"[height, width] or HxW, each {_allowed(field['prefixItems'][0])}"
    bounds = [words.format(_number(field[bound])) for bound, words in _BOUNDS.items() if bound in field]
    return " ".join([_TYPES[field["type"]], *bounds])


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else str(value)


def _dumped(value: Any, **style: Any) -> list[str]:
    return to_yaml(value, width=2**20, **style).splitlines()


def _comment(text: str, indent: str, inner: str = "") -> list[str]:
    start = f"{indent}# {inner}"
    return textwrap.wrap(" ".join(text.split()), WIDTH, initial_indent=start, subsequent_indent=f"{start}{inner}")
