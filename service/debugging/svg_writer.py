"""Writes SVG elements. Everything that comes from outside is escaped; what XML cannot hold is left out."""

import re
from typing import Final
from xml.sax.saxutils import escape, quoteattr

_NOT_XML: Final = re.compile(r"[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# XML 1.0 §2.2: what is not a Char.


def text_of(text: str) -> str:
    """Text as an element's content."""
    return escape(_NOT_XML.sub("", text))


def element(name: str, content: str = "", **attributes: str | float) -> str:
    """One element around content that is markup already; ``_`` in an attribute's name stands for ``-``."""
    written = "".join(f" {key.strip('_').replace('_', '-')}={_quoted(value)}" for key, value in attributes.items())
    return f"<{name}{written}>{content}</{name}>" if content else f"<{name}{written}/>"


def titled(name: str, title: str, **attributes: str | float) -> str:
    """One element that says something when it is pointed at."""
    return element(name, element("title", text_of(title)), **attributes)


def _quoted(value: str | float) -> str:
    text = f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
    return quoteattr(_NOT_XML.sub("", text))
