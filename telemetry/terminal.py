"""Text from outside, made fit for a terminal: what a server, a caller or a file names can steer nothing there."""

from typing import Final

_BMP: Final = 0x10000


def printable(text: str, *, lines: bool = False) -> str:
    r"""Return ``text`` with every character that is not printable spelled out, such as ``\u202e``.

    That is control characters (an OSC code retitles a window or writes the clipboard), marks of direction (U+202E
    shows what follows backwards), line and paragraph separators, and half surrogate pairs, which no terminal can be
    sent. The escapes are those of JSON, so that a JSON text stays one. All commands print by this function.

    Args:
        text: What is to be printed, before any colour is put to it.
        lines: Keep line feeds, for text that is meant to have several lines.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or (lines and c == "\n") else _escape(ord(c)) for c in text)


def _escape(code: int) -> str:
    if code < _BMP:
        return f"\\u{code:04x}"
    high, low = divmod(code - _BMP, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
