"""The bill of materials and the licences: exactly what the lock holds, and no licence that has to be looked at."""

import json
from pathlib import Path

import pytest

from tests.packaging.bill_of_materials import LOCK, Component, bill, components, main, problems, report


def test_every_package_of_the_lock_is_listed_once_with_its_licence(tmp_path: Path) -> None:
    """Names and versions are the lock's, each installed one has a licence that is allowed, and the command says so."""
    locked = {line.split(" ")[0] for line in LOCK.read_text().splitlines() if line[:1].isalnum()}
    assert main(tmp_path) == 0
    made = json.loads((tmp_path / "callscope.cdx.json").read_text())
    listed = [f"{component['name']}=={component['version']}" for component in made["components"]]
    assert sorted(listed) == sorted(line.partition("[")[0] if "[" in line else line for line in locked)
    assert list(problems(components())) == []
    assert all(f"| {component.name} |" in (tmp_path / "licences.md").read_text() for component in components())


def test_the_bill_is_well_formed_and_always_the_same() -> None:
    """It names format and version, each reference is a component's, and the same lock makes the same document."""
    found = components()
    made = bill(found, "1.2.3")
    assert (made["bomFormat"], made["specVersion"], made["version"]) == ("CycloneDX", "1.6", 1)
    known = {made["metadata"]["component"]["bom-ref"], *(each["bom-ref"] for each in made["components"])}
    assert {entry["ref"] for entry in made["dependencies"]} == known
    assert all(set(entry["dependsOn"]) <= known for entry in made["dependencies"])
    assert "pkg:pypi/opentelemetry-api@" in str(
        next(e for e in made["dependencies"] if "sdk@" in e["ref"])["dependsOn"]
    )
    assert bill(reversed(found), "1.2.3") == made
    assert bill(found, "1.2.4")["serialNumber"] != made["serialNumber"]


@pytest.mark.parametrize(
    ("licence", "said"),
    [
        (None, "x 1 declares no licence that is understood"),
        ("GPL-3.0-or-later", "x 1 is under GPL-3.0-or-later"),
        ("MIT AND AGPL-3.0-only", "x 1 is under MIT AND AGPL-3.0-only"),
        ("MIT OR GPL-2.0-only", ""),
        ("Apache-2.0 AND MIT", ""),
    ],
)
def test_a_licence_to_look_at_is_named(licence: str | None, said: str) -> None:
    """An unknown one and one that binds are named; of alternatives one that is allowed is enough."""
    component = Component("x", "1", licence, installed=True)
    assert "".join(problems([component])) == said
    assert f"| x | 1 | {licence}" in report([component]) or licence is None
