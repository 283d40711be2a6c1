"""The dialled number and the caller, out of SIP headers as networks write them and as strangers forge them."""

from collections.abc import Mapping
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.e164 import E164
from service.gateway.carriers.sip import (
    DIALLED_HEADERS,
    MAX_HEADERS,
    MAX_VALUE,
    Missing,
    NoSipNumber,
    SipHeader,
    SipNumber,
    caller_number,
    dialled_number,
    sip_headers,
)
from service.gateway.carriers.sip import dialled as dialled_address

NUMBER = E164("+18005551212")


def invite(*headers: tuple[str, str]) -> tuple[SipHeader, ...]:
    return sip_headers([{"name": name, "value": value} for name, value in headers])


def dialled(value: str, *, region: str | None = None) -> SipNumber | NoSipNumber:
    return dialled_number(invite(("To", value)), region=region)


def caller(value: str) -> SipNumber | NoSipNumber:
    return caller_number(invite(("From", value)))


@pytest.mark.parametrize(
    "value",
    [
        "sip:+18005551212@sip.example.com",
        "sip:+18005551212@sip.example.com:5061;transport=tls",
        "sips:+18005551212@sip.example.com",
        "SIP:+18005551212@SIP.EXAMPLE.COM",
        "<sip:+18005551212@sip.example.com>",
        "<sip:+18005551212@sip.example.com;user=phone>;tag=1928301774",
        '"Front Desk" <sip:+18005551212@sip.example.com;user=phone>;tag=a6c85cf',
        "Front Desk <sip:+18005551212@sip.example.com>;tag=a6c85cf",
        '"Smith, John" <sip:+18005551212@sip.example.com>',
        '"a <sip:+4930123456@evil> \\" b" <sip:+18005551212@sip.example.com>',
        "<sip:+18005551212;npdi;rn=+18005550000@gw.example.com>",
        "<sip:+18005551212:secret@gw.example.com>",
        "<sip:+1-800-555-1212@gw.example.com>",
        "<sip:+1(800)555.1212@gw.example.com>",
        "<sip:%2B18005551212@gw.example.com>",
        "<sip:+1%20800%20555%201212@gw.example.com>",
        "<sip:8005551212;phone-context=+1@gw.example.com;user=phone>",
        "<sip:+18005551212@gw.example.com?Subject=a%40b>",
        "<sip:+18005551212@[2001:db8::1]:5060>",
        "<sip:+18005551212>",
        "tel:+18005551212",
        "tel:+1-800-555-1212;ext=5",
        "<tel:+1-800-555-1212>;tag=12",
        "<tel:8005551212;phone-context=+1>",
        "<TEL:800-555-1212;Phone-Context=%2B1>",
        "  <  sip:+18005551212@gw.example.com >  ",
        "<sip:+18005551212@gw.example.com",
        "+18005551212",
        "+18005551212@gw.example.com",
        "<sip:alice@example.com>, <tel:+18005551212>",
        '"unclosed <sip:+18005551212@example.com>',
        r'"Ada\" <sip:+18005551212@example.com>;tag=1',
        '"12" pipe shop" <sip:+18005551212@example.com>',
        '"Ada" <sip:+14255550123@evil> <sip:+18005551212@example.com>',
        "<x> <sip:+18005551212@example.com>",
    ],
)
def test_forms_of_an_address_give_its_number(value: str) -> None:
    """Every form of address that trunks send for one number gives that number."""
    assert dialled(value) == SipNumber(NUMBER, "to")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", Missing.NOT_A_NUMBER),
        ("sip:alice@example.com", Missing.NOT_A_NUMBER),
        ("<sip:proj_abc123@sip.example.com;transport=tls>", Missing.NOT_A_NUMBER),
        ("sip:8005551212", Missing.NOT_A_NUMBER),
        ("sip:10.0.0.1", Missing.NOT_A_NUMBER),
        ("<sip:@example.com>", Missing.NOT_A_NUMBER),
        ("<sip:*67@example.com>", Missing.NOT_A_NUMBER),
        ('"+18005551212" <sip:alice@example.com>', Missing.NOT_A_NUMBER),
        ("mailto:+18005551212", Missing.NOT_A_NUMBER),
        ("<sip:+1800555\x001212@example.com>", Missing.NOT_A_NUMBER),
        ("<sip:+1800\r\nTo:5551212@example.com>", Missing.NOT_A_NUMBER),
        ("<sip:+١٨٠٠٥٥٥١٢١٢@example.com>", Missing.NOT_A_NUMBER),
        ("<sip:%FF%FE@example.com>", Missing.NOT_A_NUMBER),
        ("<sip:8005551212@example.com>", Missing.NO_COUNTRY),
        ("<tel:7042;phone-context=example.com>", Missing.NO_COUNTRY),
        ("<sip:+12@example.com>", Missing.IMPOSSIBLE),
        ("<sip:+999123456789@example.com>", Missing.IMPOSSIBLE),
    ],
)
def test_addresses_without_a_number_say_why(value: str, reason: Missing) -> None:
    """An address that names no telephone number is answered with the reason."""
    assert dialled(value) == NoSipNumber(reason, "to")


@pytest.mark.parametrize(
    ("value", "region", "number"),
    [
        ("<sip:8005551212@gw.example.com>", "US", "+18005551212"),
        ("<sip:18005551212@gw.example.com>", "US", "+18005551212"),
        ("<sip:030123456@gw.example.com;user=phone>", "DE", "+4930123456"),
        ("<tel:030-123456;phone-context=example.com>", "DE", "+4930123456"),
    ],
)
def test_national_numbers_take_the_region(value: str, region: str, number: str) -> None:
    """A number without + is read in the region given."""
    assert dialled(value, region=region) == SipNumber(E164(number), "to")


@pytest.mark.parametrize("name", ["To", "to", "TO", "t", "T", " To "])
def test_header_names_are_read_in_any_form(name: str) -> None:
    """A header is recognised in any case, in its compact form and with white space around."""
    assert dialled_number(invite((name, "tel:+18005551212"))) == SipNumber(NUMBER, "to")


@pytest.mark.parametrize("name", ["From", "f", "F"])
def test_the_caller_is_who_the_from_header_shows(name: str) -> None:
    """The caller's number comes from the From header, in its compact form too."""
    headers = invite((name, '"Ada" <sip:+14255550123@pstn.example.com>;tag=1'), ("To", "tel:+18005551212"))
    assert caller_number(headers) == SipNumber(E164("+14255550123"), "from")


def test_the_documented_sample_is_read() -> None:
    """The sample delivery of the carrier's guide gives both numbers, though its caller is a digit too long."""
    headers = invite(
        ("From", "sip:+142555512112@sip.example.com"),
        ("To", "sip:+18005551212@sip.example.com"),
        ("Call-ID", "03782086-4ce9-44bf-8b0d-4e303d2cc590"),
    )
    assert dialled_number(headers) == SipNumber(NUMBER, "to")
    assert caller_number(headers) == SipNumber(E164("+142555512112"), "from")


def test_missing_headers_are_said_to_be_missing() -> None:
    """Without any header of interest the answer says so and names none."""
    headers = invite(("Via", "SIP/2.0/TLS host"), ("X-Trunk", "+18005551212"))
    assert dialled_number(headers) == caller_number(headers) == NoSipNumber(Missing.NO_HEADER, None)


def test_headers_are_tried_in_the_documented_order() -> None:
    """Where several headers carry a number the most telling one decides, wherever it stands."""
    values = {name: f"<sip:+1800555010{digit}@example.com>" for digit, name in enumerate(DIALLED_HEADERS)}
    present = list(reversed(values.items()))
    for digit, name in enumerate(DIALLED_HEADERS):
        assert dialled_number(invite(*present)) == SipNumber(E164(f"+1800555010{digit}"), name)
        present.remove((name, values[name]))


def test_a_header_without_a_number_gives_way_to_the_next() -> None:
    """Where the trunk addresses an account, the number that was diverted is the one that was dialled."""
    headers = invite(
        ("To", "<sip:proj_abc@sip.example.com;transport=tls>"),
        ("Diversion", "<sip:+18005551212@pstn.example.com>;reason=unconditional"),
    )
    assert dialled_number(headers) == SipNumber(NUMBER, "diversion")


def test_without_a_number_the_most_telling_header_says_why() -> None:
    """Of several headers without a number the one tried first gives the reason."""
    headers = invite(("Diversion", "sip:alice@example.com"), ("To", "sip:8005551212@example.com"))
    assert dialled_number(headers) == NoSipNumber(Missing.NO_COUNTRY, "to")


def test_a_trunk_can_have_a_header_of_its_own() -> None:
    """An order given by the operator replaces the usual one."""
    headers = invite(("To", "tel:+14255550123"), ("X-Dialled", "+18005551212"))
    assert dialled_number(headers, order=("x-dialled", *DIALLED_HEADERS)) == SipNumber(NUMBER, "x-dialled")


def test_of_repeated_headers_the_first_with_a_number_counts() -> None:
    """Repeats keep their order: the first that carries a number decides."""
    headers = invite(("To", "sip:alice@example.com"), ("t", "tel:+18005551212"), ("To", "tel:+14255550123"))
    assert dialled_number(headers) == SipNumber(NUMBER, "to")


@pytest.mark.parametrize(
    "value",
    [
        '"Anonymous" <sip:anonymous@anonymous.invalid>;tag=1',
        "sip:anonymous@anonymous.invalid",
        "<sip:c8oqz84zk7z@anonymous.invalid>",
        "<sip:Restricted@pstn.example.com>",
        "<sip:unavailable@203.0.113.7:5060>;tag=2",
        "<tel:anonymous>",
    ],
)
def test_withheld_callers_stay_withheld(value: str) -> None:
    """A caller who is shown as anonymous is not looked up in what the network vouches for."""
    headers = invite(("P-Asserted-Identity", "<tel:+14255550123>"), ("From", value))
    assert caller_number(headers) == NoSipNumber(Missing.WITHHELD, "from")


@pytest.mark.parametrize(("privacy", "withheld"), [("id", True), ("header; USER", True), ("none", False), ("", False)])
def test_the_privacy_header_is_obeyed(privacy: str, withheld: bool) -> None:
    """A caller who asks for privacy is withheld even where the number is written in the From header."""
    headers = invite(("From", "<tel:+14255550123>"), ("Privacy", privacy))
    expected = NoSipNumber(Missing.WITHHELD, "privacy") if withheld else SipNumber(E164("+14255550123"), "from")
    assert caller_number(headers) == expected


def test_the_network_vouches_for_a_caller_shown_by_name() -> None:
    """Where the From header has a name instead of a number, the network's assertion gives the number."""
    headers = invite(("From", "sip:alice@example.com"), ("P-Asserted-Identity", "<tel:+14255550123>"))
    assert caller_number(headers) == SipNumber(E164("+14255550123"), "p-asserted-identity")


def test_headers_are_taken_from_mappings_and_objects() -> None:
    """Decoded JSON and a client library's objects give the same headers, in order, repeats kept."""
    raw = [{"name": "To", "value": "a"}, SimpleNamespace(name="T", value="b"), {"name": "From", "value": "c"}]
    assert sip_headers(raw) == (("to", "a"), ("to", "b"), ("from", "c"))


@pytest.mark.parametrize("raw", [None, 5, "To: x", {"name": "To", "value": "x"}, [None, 5, [], {}, {"name": "To"}]])
def test_what_are_no_headers_gives_none(raw: object) -> None:
    """Anything else than a list of names and values is no header, and no error."""
    assert sip_headers(raw) == ()


def test_values_that_are_no_text_are_left_out() -> None:
    """A header whose value is no text is skipped; the others stay."""
    assert sip_headers([{"name": "To", "value": 5}, {"name": "From", "value": "x"}]) == (("from", "x"),)


def test_halves_of_surrogate_pairs_are_replaced() -> None:
    """JSON can spell them out; whatever reads a value after that can encode it. Whole pairs stay."""
    raw = [{"name": "To", "value": "sip:a\ud800b@x"}, {"name": "From", "value": "\ud83d\ude00"}]
    assert sip_headers(raw) == (("to", "sip:a\ufffdb@x"), ("from", "\U0001f600"))


def test_the_number_of_headers_is_bounded() -> None:
    """Of absurdly many headers only the first are kept."""
    assert len(sip_headers([{"name": "To", "value": "x"}] * (MAX_HEADERS + 1))) == MAX_HEADERS


def test_an_absurdly_long_value_is_refused() -> None:
    """A value beyond the limit gives its own reason, also with a number at its end."""
    assert dialled("x" * MAX_VALUE + "<tel:+18005551212>") == NoSipNumber(Missing.TOO_LONG, "to")


def test_a_long_list_of_addresses_is_given_up() -> None:
    """Only some addresses are tried, so that one INVITE cannot keep the process busy."""
    assert dialled("<sip:a@b>," * 100 + "<tel:+18005551212>") == NoSipNumber(Missing.NOT_A_NUMBER, "to")


PATTERNS = (
    '"',
    '\\"',
    '"\\',
    "<",
    ">",
    "<<>",
    ",",
    ";",
    "sip:",
    "@",
    "%",
    "%2B",
    "+1",
    "(",
    "\x00",
    "é",
    "\ud800",
    " ",
)
"""Pieces whose repetition makes careless parsers go back over what they have read."""


@pytest.mark.parametrize("piece", PATTERNS)
@pytest.mark.parametrize("size", [MAX_VALUE, 10_000, 1_000_000])
def test_long_hostile_values_are_answered(piece: str, size: int) -> None:
    """Values of any length made of any troublesome piece are answered, as name and as value."""
    value = piece * (size // len(piece))
    headers = invite(("To", value), ("From", value), ("Privacy", value), (value, "x"))
    assert isinstance(dialled_number(headers, region="US"), NoSipNumber)
    assert isinstance(caller_number(headers, region="US"), NoSipNumber)


HEADERS = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["To", "f", "From", "Privacy", "Diversion", "P-Asserted-Identity"]) | st.text(),
        "value": st.text() | st.text(alphabet='<>"\\,;:@+%= 0123456789absiptel', max_size=60),
    }
)
JSON = st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@given(st.lists(HEADERS | JSON), st.sampled_from([None, "US", "DE", "?"]))
def test_no_input_makes_the_reader_raise(raw: list[object], region: str | None) -> None:
    """Whatever a webhook carries is answered: a well-formed number, or a reason."""
    headers = sip_headers(raw)
    assert all(header.value.encode() is not None for header in headers)  # hashed, stored and exported as UTF-8
    for found in (dialled_number(headers, region=region), caller_number(headers, region=region)):
        if isinstance(found, SipNumber):
            assert found.number[0] == "+"
            assert found.number[1:].isdigit()
        else:
            assert found.reason in Missing


WRAPPINGS: Mapping[str, str] = {
    "bare": "sip:{user}@{host}",
    "angle": "<sip:{user}@{host};user=phone>;tag={tag}",
    "named": '"{name}" <sips:{user}@{host}:5061>;tag={tag}',
    "tel": "<tel:{user}>;tag={tag}",
}
TOKENS = st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=12)
QUOTED = st.text(alphabet="abc <>,;:@+ü'.", max_size=20)


@given(
    st.integers(min_value=2_000_000_000, max_value=9_999_999_999),
    st.sampled_from(sorted(WRAPPINGS)),
    st.sampled_from(["", "-", ".", "%20", " "]),
    TOKENS,
    QUOTED,
)
def test_a_number_survives_every_wrapping(national: int, form: str, separator: str, tag: str, name: str) -> None:
    """Whatever address wraps a number, with whatever separators, display name and tag, it comes out the same."""
    digits = str(national)
    user = f"+1{separator}{digits[:3]}{separator}{digits[3:6]}{separator}{digits[6:]}"
    value = WRAPPINGS[form].format(user=user, host=f"{tag}.example.com", tag=tag, name=name)
    assert dialled(value) == SipNumber(E164(f"+1{digits}"), "to")
    assert caller(value) == SipNumber(E164(f"+1{digits}"), "from")


@pytest.mark.parametrize(
    ("value", "region", "readings"),
    [
        ("sip:18005550100@gw.example.com;user=phone", None, ["+18005550100"]),
        ("<sip:18005550100@gw.example.com;user=phone>", "US", ["+18005550100"]),
        ("<sip:8005550100@gw.example.com>", "US", ["+18005550100"]),
        ("<sip:0018005550100@gw.example.com>", None, ["+18005550100"]),
        ("<sip:0018005550100@gw.example.com>", "DE", ["+18005550100"]),
        ("<sip:01118005550100@gw.example.com>", None, ["+18005550100"]),
        ("<sip:011498912345678@gw.example.com>", "US", ["+498912345678"]),
        ("<sip:070042@gw.example.com>", "DE", ["070042"]),
        ("<sip:70042@gw.example.com>", None, ["70042"]),
        ("<sip:+70042@gw.example.com>", None, ["70042"]),
        ("<tel:70042;phone-context=example.com>", None, ["70042"]),
        ("<sip:Front-Desk@example.com>", None, ["sip:front-desk"]),
        ("<sip:@example.com>", None, []),
        ("<sip:*67@example.com>", None, []),
    ],
)
def test_what_was_dialled_is_read_as_trunks_send_it(value: str, region: str | None, readings: list[str]) -> None:
    """Without plus, with the prefix of another country, national, short, or a name: in a form a tenant can own."""
    found = dialled_address(invite(("To", value)), region=region).readings
    assert set(readings) <= set(found)
    assert bool(readings) is bool(found)


def test_the_first_header_with_a_number_ends_the_search() -> None:
    """A name before it is looked up first; what stands in later headers was dialled by somebody else."""
    headers = invite(
        ("To", "<sip:proj_abc@sip.example.com>"),
        ("Diversion", "<sip:+18005551212@pstn.example.com>"),
        ("History-Info", "<sip:+14255550123@pstn.example.com>;index=1"),
    )
    found = dialled_address(headers)
    assert (found.readings, found.written) == (("sip:proj_abc", NUMBER), "proj_abc")
    assert found.problem is None


def test_history_tells_whom_the_caller_wanted() -> None:
    """Of a call forwarded more than once, the first entry is the number that was dialled."""
    history = (
        "<sip:+18005551212@a.example.com?Reason=SIP%3Bcause%3D302>;index=1, <sip:+14255550123@b.example.com>;index=1.1"
    )
    headers = invite(("To", "<sip:proj_abc@sip.example.com>"), ("History-Info", history))
    assert dialled_number(headers) == SipNumber(NUMBER, "history-info")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('"Ada" <sip:+14255550123@gw>;party=calling;privacy=off', SipNumber(E164("+14255550123"), "remote-party-id")),
        ("<sip:+14255550123@gw>;party=calling", SipNumber(E164("+14255550123"), "remote-party-id")),
        ("<sip:+14255550123@gw>;privacy=full;screen=yes", NoSipNumber(Missing.WITHHELD, "remote-party-id")),
        ('<sip:+14255550123@gw>; Privacy = "uri"', NoSipNumber(Missing.WITHHELD, "remote-party-id")),
    ],
)
def test_the_remote_party_is_the_caller_unless_withheld(value: str, expected: SipNumber | NoSipNumber) -> None:
    """Older trunks vouch for the caller in Remote-Party-ID, whose privacy parameter is obeyed."""
    headers = invite(("From", "sip:trunk@gw.example.com"), ("Remote-Party-ID", value))
    assert caller_number(headers) == expected


def test_nothing_dialled_says_why() -> None:
    """No header, a value too long, a national number without a region: each is told as itself."""
    assert dialled_address(()).problem is Missing.NO_HEADER
    assert dialled_address(invite(("To", "x" * (MAX_VALUE + 1)))).problem is Missing.TOO_LONG
    assert dialled_address(invite(("To", "sip:8005551212@gw"))).problem is Missing.NO_COUNTRY
