"""Names, texts and values made safe to print, and to copy into a shell."""

import functools
import os
import re
import reprlib
import shlex
import unicodedata
from pathlib import Path

_BIDI_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(path: Path | str) -> str:
    """A file name safe to print: control characters and undecodable bytes escaped, every script left as it is."""

    def escaped(character: str) -> str:
        hidden = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in _BIDI_CONTROLS
        return character.encode("unicode_escape").decode("ascii") if hidden else character

    text = str(path)
    return text if text.isprintable() else "".join(map(escaped, text))


def printable_lines(text: str) -> str:
    """A text of several lines safe to print."""
    return "\n".join(map(printable, text.split("\n")))


def is_text(value: object) -> bool:
    """Whether a value is text, not empty, without half characters, but for bytes that are no UTF-8."""
    try:
        return isinstance(value, str) and value.encode("utf-8", "surrogateescape") != b""
    except UnicodeEncodeError:
        return False


def shell_quoted(word: Path | str) -> str:
    """A file name, or any other text, as a word of a command that can be copied into the shell in use.

    A Path becomes no option there, whatever it begins with.
    """
    text = printable(word)
    if isinstance(word, Path) and text.startswith("-"):
        text = f"./{text}"
    if re.fullmatch(r"[\w./+:=-]+", text, re.ASCII):
        return text
    shell = _shell()
    if shell in ("powershell", "pwsh"):
        return "'" + text.replace("'", "''") + "'"
    if shell == "cmd":
        return text if re.fullmatch(r"[\w./+:\\~-]+", text) else f'"{text}"'
    return shlex.quote(text)


@functools.cache
def _shell() -> str:
    """The name of the shell that this program was started from; where there is none, that of the system."""
    import shellingham

    try:
        return str(shellingham.detect_shell()[0])
    except (shellingham.ShellDetectionFailure, RuntimeError, OSError):
        return "cmd" if os.name == "nt" else "sh"


def duration(seconds: float) -> str:
    """Seconds in words for a sentence."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


def shortened(value: object) -> str:
    """The `repr` of a value from a stranger's file, of at most some hundred characters, however large the value is."""
    return _SHORT.repr(value)


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 3, 80, 80
