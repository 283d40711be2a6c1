"""The headers of simulated calls, read by the gateway's own parser."""

from random import Random

from service.gateway.carriers.sip import SipNumber, caller_number, dialled_number
from service.gateway.carriers.sip import sip_headers as parsed
from service.simulator.call import SipHeader, sip_headers

CALLER, DIALLED = "+14155550123", "+18005550000"


def _headers(seed: int) -> tuple[SipHeader, ...]:
    return sip_headers(CALLER, DIALLED, Random(seed))  # noqa: S311 - reproducible, not secret


def _read(headers: tuple[SipHeader, ...]) -> tuple[object, object]:
    given = parsed([{"name": name, "value": value} for name, value in headers])
    return dialled_number(given), caller_number(given)


def test_the_dialled_number_is_found_in_every_form() -> None:
    """Whatever form the seed picks, the dialled number can be read from the headers."""
    for seed in range(300):
        dialled, _ = _read(_headers(seed))
        assert isinstance(dialled, SipNumber), _headers(seed)
        assert dialled.number == DIALLED


def test_callers_are_themselves_or_withheld() -> None:
    """The caller's number is read where it is given; some callers withhold it."""
    callers = [_read(_headers(seed))[1] for seed in range(300)]
    shown = [caller.number for caller in callers if isinstance(caller, SipNumber)]
    assert set(shown) == {CALLER}
    assert 0 < len(callers) - len(shown) < 90


def test_forms_vary() -> None:
    """Names in several spellings, addresses in many forms, and headers that come twice."""
    drawn = [_headers(seed) for seed in range(100)]
    names = {name for headers in drawn for name, _ in headers}
    assert {"From", "from", "FROM", "To", "to", "TO"} <= names
    assert len({value.split("+1")[0] for headers in drawn for name, value in headers if name.lower() == "to"}) > 5
    assert all(sum(name == "Via" for name, _ in headers) == 2 for headers in drawn)
