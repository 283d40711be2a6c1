"""The files of the page: small, of this origin, and all of them in the wheel's package."""

import gzip
import re
from pathlib import Path

import pytest

from service.page.rendering import FOLDER, STATIC
from service.page.sign_in import FILES

SCRIPT_BYTES = 40 * 1024
STYLE_BYTES = 10 * 1024


def compressed(*names: str) -> int:
    """How many bytes files take on the wire."""
    return sum(len(gzip.compress((STATIC / name).read_bytes(), 9)) for name in names)


def test_scripts_and_styles_are_small() -> None:
    """As promised: 40 kB of script and 10 kB of style, compressed."""
    assert compressed("page.js", "theme.js") <= SCRIPT_BYTES
    assert compressed("page.css") <= STYLE_BYTES


def test_every_file_of_the_folder_is_served() -> None:
    """None lies about, none is missing."""
    assert {path.name for path in STATIC.iterdir()} == set(FILES)


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.*")), ids=lambda path: path.name)
def test_nothing_is_asked_of_another_origin(path: Path) -> None:
    """No address of elsewhere stands in a file, apart from the names of namespaces."""
    if path.suffix in {".html", ".css", ".js", ".svg"}:
        found = re.findall(r"https?://[^\s\"')]+|@import|eval\(|new Function", path.read_text())
        assert set(found) <= {"http://www.w3.org/2000/svg"}


def test_amber_never_stands_alone() -> None:
    """What is amber has a sign and a word too: nobody has to tell colours apart."""
    verdicts = (FOLDER / "templates" / "verdicts.html").read_text()
    assert all(sign in verdicts for sign in ("✓", "!", "Needs attention: ", "Well: "))


def test_a_table_that_scrolls_shows_that_it_does() -> None:
    """A shadow stands at the edge where more is hidden, on a phone no hidden column makes a row tall."""
    style = (STATIC / "page.css").read_text()
    (rule,) = re.findall(r"^\.scroll \{([^}]*)\}", style, re.MULTILINE)
    assert "background-attachment: local, local, scroll, scroll" in rule
    assert rule.count("linear-gradient(") == 4
    phone = style.partition("@media (max-width: 44rem)")[2].partition("@media")[0]
    assert re.search(r"\.scroll td,[^{]*\{ white-space: nowrap;", phone)
    for path in (FOLDER / "templates").glob("*.html"):
        page = path.read_text()
        if "<table" in page and path.name != "charts.html":  # whose tables are two narrow columns
            assert page.count("<table") == page.count('class="scroll"'), path.name
