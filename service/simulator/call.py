"""One call as it is to happen: who calls whom, what the webhook says and how it is delivered, what goes wrong."""

import hashlib
import json
from dataclasses import dataclass
from random import Random

from service.simulator.faults import NO_FAULTS, CallFaults
from service.simulator.script import CallScript

SipHeader = tuple[str, str]
"""Name and value, as the INVITE had them."""
MEDIA_SECURITY = ("srtp", "srtp", "rtp", None)
"""The media security an INVITE may name; older trunks name none."""
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


@dataclass(frozen=True, slots=True)
class Delivery:
    """The way the webhook of one call reaches the gateway."""

    repeats: int = 0
    """So many more deliveries of the same ``webhook-id`` at the same time as the first."""
    repeats_after_end: int = 0
    """So many more deliveries of the same ``webhook-id`` after the call is over."""
    under_new_ids: int = 0
    """So many more deliveries under ids of their own, at the same time as the first."""
    late: bool = False
    """The caller has left before the first delivery."""


ONCE = Delivery()
"""One delivery, in time."""


@dataclass(frozen=True, slots=True)
class SimulatedCall:
    """Everything about one call that is settled before it happens."""

    call_id: str
    number: str
    """The dialled number in E.164."""
    script: CallScript
    sip_headers: tuple[SipHeader, ...]
    media_security: str | None = "srtp"
    faults: CallFaults = NO_FAULTS
    delivery: Delivery = ONCE

    def webhook_id(self, number: int = 0) -> str:
        """Return the ``webhook-id`` of the call's event; from ``number`` 1 on, of a delivery under an id of its own."""
        return "wh_" + hashlib.sha256(f"{self.call_id}/{number}".encode()).hexdigest()[:32]

    def webhook_body(self, created_at: int) -> bytes:
        """Return the ``realtime.call.incoming`` event announcing the call."""
        headers = [{"name": name, "value": value} for name, value in self.sip_headers]
        data: dict[str, object] = {"call_id": self.call_id, "sip_headers": headers}
        if self.media_security is not None:
            data["sip_media_security"] = self.media_security
        head = {"object": "event", "id": f"evt_{self.webhook_id()[3:]}", "type": "realtime.call.incoming"}
        return json.dumps(head | {"created_at": created_at, "data": data}).encode()


def dial(
    number: str,
    script: CallScript,
    *,
    rng: Random,
    call_id: str | None = None,
    faults: CallFaults = NO_FAULTS,
    delivery: Delivery = ONCE,
) -> SimulatedCall:
    """Return a call to a number; what is not given is drawn from ``rng``."""
    caller = f"+1415555{rng.randrange(10_000):04d}"
    drawn_id = f"rtc_u1_{rng.getrandbits(128):032x}"
    return SimulatedCall(
        call_id=drawn_id if call_id is None else call_id,
        number=number,
        script=script,
        sip_headers=sip_headers(caller, number, rng),
        media_security=rng.choice(MEDIA_SECURITY),
        faults=faults,
        delivery=delivery,
    )


def sip_headers(caller: str, dialled: str, rng: Random) -> tuple[SipHeader, ...]:
    """Return the headers of one INVITE; the dialled number is always in the ``To``, the caller's may be withheld."""
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


def _filled(form: str, number: str, rng: Random) -> str:
    return form.format(
        number=number,
        grouped=f"{number[:2]}-{number[2:5]}-{number[5:8]}-{number[8:]}",
        name=rng.choice(_NAMES),
        bare="Caller",
        host=rng.choice(_HOSTS),
        tag=f"{rng.getrandbits(40):x}",
    )
