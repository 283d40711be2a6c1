"""Writes what a released image holds: a bill of materials (CycloneDX 1.6, JSON) and a report of licences.

`make sbom` runs it in the development environment. What counts is `requirements.lock`, which the image is built from;
names and licences are those that the installed packages declare. Its output is the same for the same lock, so that two
can be compared.
"""

import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.message import Message
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Final, cast
from uuid import NAMESPACE_URL, uuid5

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).resolve().parents[2]
LOCK: Final = ROOT / "requirements.lock"
ALLOWED: Final = frozenset(
    {
        *("Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "ISC", "PSF-2.0", "0BSD", "Unlicense"),
        *("MPL-2.0", "CNRI-Python", "MIT-0", "MIT-CMU", "Zlib"),
    }
)
"""Licences that leave whoever runs or changes the service free to; MPL-2.0 asks for its own files only."""

DECLARED: Final = {
    "Apache Software License": "Apache-2.0",
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
}
"""The classifiers of older packages, as SPDX calls them."""

WRITTEN: Final = {
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache-2.0": "Apache-2.0",
    "bsd": "BSD-3-Clause",
    "bsd-3-clause": "BSD-3-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "isc": "ISC",
    "mit": "MIT",
    "mit license": "MIT",
    "mpl-2.0": "MPL-2.0",
}
"""What packages write into the free field, likewise."""


@dataclass(frozen=True, slots=True)
class Component:
    """One package of the lock."""

    name: str
    version: str
    licence: str | None
    """An SPDX expression; None where nothing that is understood is declared, or it is not for this platform."""
    installed: bool
    needs: tuple[str, ...] = ()
    """Names of the packages it asks for."""

    @property
    def purl(self) -> str:
        """The package URL."""
        return f"pkg:pypi/{self.name}@{self.version}"

    @property
    def identifiers(self) -> frozenset[str]:
        """The licences in its expression."""
        words = re.findall(r"[A-Za-z0-9.+-]+", self.licence or "")
        return frozenset(words) - {"AND", "OR", "WITH"}


def components(lock: Path = LOCK) -> list[Component]:
    """Return every package of the lock, in its order."""
    return [_component(requirement) for requirement in _pinned(lock.read_text())]


def bill(found: Iterable[Component], version: str) -> dict[str, Any]:
    """Return the bill of materials of this version."""
    listed = sorted(found, key=lambda component: component.name)
    known = {component.name: component.purl for component in listed}
    own = f"pkg:pypi/callscope@{version}"
    content = "\n".join(component.purl for component in listed)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, own + content)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": own,
                "name": "callscope",
                "version": version,
                "purl": own,
                "licenses": [{"expression": "Apache-2.0"}],
            }
        },
        "components": [_listed(component) for component in listed],
        "dependencies": [
            {"ref": own, "dependsOn": sorted(known.values())},
            *(
                {"ref": component.purl, "dependsOn": sorted(known[name] for name in component.needs if name in known)}
                for component in listed
            ),
        ],
    }


def report(found: Iterable[Component]) -> str:
    """Return the licences as a table in Markdown."""
    rows = [
        f"| {component.name} | {component.version} | {component.licence or 'not installed on this platform'} |"
        for component in sorted(found, key=lambda component: component.name)
    ]
    return "\n".join(["| package | version | licence (SPDX) |", "|---|---|---|", *rows, ""])


def problems(found: Iterable[Component]) -> Iterator[str]:
    """Yield what is to be looked at: a licence that is unknown, or not among those that are allowed."""
    for component in found:
        if component.installed and component.licence is None:
            yield f"{component.name} {component.version} declares no licence that is understood"
        elif not _allowed(component):
            yield f"{component.name} {component.version} is under {component.licence}"


def main(folder: Path) -> int:
    """Write both files; return the exit code, 1 if a licence is to be looked at."""
    found = components()
    folder.mkdir(parents=True, exist_ok=True)
    made = bill(found, distribution("callscope").version)
    (folder / "callscope.cdx.json").write_text(json.dumps(made, indent=2) + "\n")
    (folder / "licences.md").write_text(report(found))
    wrong = list(problems(found))
    for problem in wrong:
        print(problem, file=sys.stderr)  # noqa: T201 -- a command
    print(f"{len(found)} packages: {folder / 'callscope.cdx.json'}, {folder / 'licences.md'}")  # noqa: T201 -- likewise
    return 1 if wrong else 0


def _pinned(lock: str) -> Iterator[Requirement]:
    for line in lock.splitlines():
        if line and not line.startswith((" ", "#", "-")):
            yield Requirement(line.removesuffix("\\").strip())


def _component(requirement: Requirement) -> Component:
    (pin,) = requirement.specifier
    name = canonicalize_name(requirement.name)
    try:
        found = distribution(requirement.name)
    except PackageNotFoundError:
        return Component(name, pin.version, None, installed=False)
    return Component(name, pin.version, _licence(found), installed=True, needs=tuple(_needs(found)))


def _needs(found: Distribution) -> Iterator[str]:
    for text in found.requires or ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield canonicalize_name(requirement.name)


def _licence(found: Distribution) -> str | None:
    metadata = cast("Message", found.metadata)  # of which its type shows less than there is
    if expression := metadata.get("License-Expression"):
        return str(expression)
    classifiers = [text.rpartition(" :: ")[2] for text in metadata.get_all("Classifier") or () if "License ::" in text]
    known = sorted({DECLARED[text] for text in classifiers if text in DECLARED})
    if known:
        return " AND ".join(known)
    return WRITTEN.get(str(metadata.get("License", "")).strip().lower())


def _allowed(component: Component) -> bool:
    if component.licence is None:
        return True
    chosen = re.split(r"\s+OR\s+", component.licence)
    return any(frozenset(re.findall(r"[A-Za-z0-9.+-]+", text)) - {"AND"} <= ALLOWED for text in chosen)


def _listed(component: Component) -> dict[str, Any]:
    listed: dict[str, Any] = {
        "type": "library",
        "bom-ref": component.purl,
        "name": component.name,
        "version": component.version,
        "purl": component.purl,
    }
    return listed if component.licence is None else {**listed, "licenses": [{"expression": component.licence}]}


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
