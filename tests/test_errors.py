"""What errors repeat of a stranger's file is short, and safe to print."""

import pickle
from pathlib import Path

import pytest

from vae_cli import printable as printing
from vae_cli.errors import MAX_LINE, ConfigError, first_line
from vae_cli.printable import printable, printable_lines, shell_quoted, shortened


def test_both_ends_of_a_long_line_stay() -> None:
    message = str(ConfigError("photos: " + "x" * 10**6 + ": name too long", "use another"))
    first, second = message.split("\n")
    assert first.startswith("photos: ") and first.endswith(": name too long") and len(first) < MAX_LINE + 10
    assert second == "use another" and str(ConfigError("x" * MAX_LINE)) == "x" * MAX_LINE


def test_a_line_stays_one_line_whatever_it_repeats() -> None:
    error = ConfigError("a\nb\r\x1b[2J\u2028c: no such file", "give another")
    assert str(error) == "a\\nb\\r\\x1b[2J\\u2028c: no such file\ngive another"
    for each in (error, ConfigError("\0" * MAX_LINE)):
        assert str(pickle.loads(pickle.dumps(each))) == str(each)
    assert len(str(each)) < MAX_LINE + 10


@pytest.mark.parametrize(
    "character", ["\x1b", "\0", "\n", "\x9b", "\u202e", "\u2066", "\u200f", "\u061c", "\u2028", "\udcff"]
)
def test_what_moves_the_cursor_or_turns_text_round_is_escaped(character: str) -> None:
    text = printable(f"a{character}b")
    assert character not in text and text.startswith("a\\") and text.endswith("b")


@pytest.mark.parametrize(
    "name", ["käse", "日本", "שלום", "مرحبا", "a b", "می\u200cخواهم", "\U0001f468\u200d\U0001f469"]
)
def test_every_script_is_left_as_it_is(name: str) -> None:
    assert printable(name) == name and printable_lines(f"{name}\n{name}") == f"{name}\n{name}"


def test_a_value_of_any_size_is_told_in_short() -> None:
    big: list[object] = [1] * 9
    for _ in range(30):
        big = [big] * 9
    for value in (big, "x" * 10**7, {"k" * 10**6: "v" * 10**6}, 10**4000, b"x" * 10**6):
        assert len(shortened(value)) < 5000
    assert shortened("wide") == "'wide'" and shortened([1, 2]) == "[1, 2]"


@pytest.mark.parametrize(
    ("shell", "expected"),
    [
        ("bash", ["runs/a", "'it'\"'\"'s $1'", "0,63", "./-x", "'a\\b'"]),
        ("fish", ["runs/a", "'it'\"'\"'s $1'", "0,63", "./-x", "'a\\b'"]),
        ("pwsh", ["runs/a", "'it''s $1'", "'0,63'", "./-x", "'a\\b'"]),
        ("cmd", ["runs/a", '"it\'s $1"', '"0,63"', "./-x", "a\\b"]),
    ],
)
def test_words_are_quoted_for_the_shell_in_use(
    shell: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(printing, "_shell", lambda: shell)
    assert [shell_quoted(word) for word in ("runs/a", "it's $1", "0,63", Path("-x"), "a\\b")] == expected


def test_an_error_has_a_first_line_even_if_it_says_nothing() -> None:
    assert first_line(ConfigError("a", "b")) == "a"
    assert first_line(ValueError()) == "ValueError"
