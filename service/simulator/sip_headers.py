"""SIP headers in the forms that real trunks send them (RFC 3261 §20, RFC 3966)."""

from random import Random

from service.simulator.call import SipHeader

_NAMES = ("Ada Lovelace", "SMITH JOHN", "Müller, Jörg", "Front Desk", 'O\\"Neil')
_HOSTS = ("sip.example.com", "pstn.example.net:5061", "203.0.113.7", "[2001:db8::5]:5061")
_ANONYMOUS = (
    '"Anonymous" <sip:anonymous@anonymous.invalid>;tag={tag}',
    "<sip:anonymous@anonymous.invalid>;tag={tag}",
    "sip:restricted@{host}",
)
_DIALLED = (
    "sip:{number}@{host}",
    "<sip:{number}@{host}>",
    "<sip:{number}@{host};user=phone>",
    '"{name}" <sip:{number}@{host};transport=tls>',
    '"{name}" <sips:{number}@{host}>;tag={tag}',
    "<tel:{number}>",
    "tel:{number}",
    "<tel:{grouped}>;tag={tag}",
)
_CALLING = (*_DIALLED, "{bare} <sip:{number}@{host}>;tag={tag}", "<sip:{number};cpc=ordinary@{host}>;tag={tag}")
_NAME_STYLES = (("From", "To", "Call-ID"), ("from", "to", "call-id"), ("FROM", "TO", "CALL-ID"))

ANONYMOUS_SHARE = 0.1
"""Callers who withhold their number."""


def _filled(form: str, number: str, rng: Random) -> str:
    return form.format(
        number=number,
        grouped=f"{number[:2]}-{number[2:5]}-{number[5:8]}-{number[8:]}",
        name=rng.choice(_NAMES),
        bare="Caller",
        host=rng.choice(_HOSTS),
        tag=f"{rng.getrandbits(40):x}",
    )


def sip_headers(caller: str, dialled: str, rng: Random) -> tuple[SipHeader, ...]:
    """The headers of one INVITE; the dialled number is always in the ``To``, the caller's may be withheld."""
    calling = _ANONYMOUS if rng.random() < ANONYMOUS_SHARE else _CALLING
    from_name, to_name, id_name = rng.choice(_NAME_STYLES)
    essential = [
        (from_name, _filled(rng.choice(calling), caller, rng)),
        (to_name, _filled(rng.choice(_DIALLED), dialled, rng)),
        (id_name, f"{rng.getrandbits(128):032x}"),
    ]
    rng.shuffle(essential)
    via = [("Via", f"SIP/2.0/TLS {rng.choice(_HOSTS)};branch=z9hG4bK{rng.getrandbits(32):x}") for _ in range(2)]
    return (*via, ("Max-Forwards", "69"), *essential, ("CSeq", "1 INVITE"), ("X-Trunk", "trunk-7"))
