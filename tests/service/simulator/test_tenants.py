"""The simulated tenants fit the import and the numbering plan."""

import phonenumbers
import pytest

from service.simulator.tenants import demo_tenants, number_of, numbers_of, simulated_tenants
from service.tenants.importing import read_entries


def test_tenants_can_be_imported() -> None:
    """The import accepts the tenants as they are, with their ids, numbers, limit and destinations."""
    specs = read_entries([dict(tenant) for tenant in simulated_tenants(12, max_concurrent_calls=4)])
    assert [spec.tenant_id for spec in specs[:2]] == ["tenant-001", "tenant-002"]
    assert specs[0].numbers == ("+18005550000",)
    assert specs[0].max_concurrent_calls == 4
    assert specs[0].transfer_targets["sales"] == "tel:+14155550110"


def test_the_demo_has_names() -> None:
    """The demo's tenants are known by name and can be imported, too."""
    assert [spec.tenant_id for spec in read_entries([dict(tenant) for tenant in demo_tenants()])] == [
        "acme",
        "globex",
        "initech",
    ]


def test_numbers_are_valid_and_nobody_shares_one() -> None:
    """Every number is one the North American plan has, and belongs to one tenant."""
    numbers = [number_of(index) for index in range(0, 70_000, 997)]
    assert all(phonenumbers.is_valid_number(phonenumbers.parse(number)) for number in numbers)
    assert len(numbers_of(simulated_tenants(12_000))) == 12_000


def test_there_is_an_end_to_the_numbers() -> None:
    """More tenants than there are numbers for are refused rather than given somebody's number."""
    with pytest.raises(ValueError, match="only 70000 numbers"):
        number_of(70_000)
