"""A caller picks up the telephone: the ids, numbers and headers of a new call."""

from random import Random

from service.simulator.call import ONCE, Delivery, SimulatedCall
from service.simulator.faults import NO_FAULTS, CallFaults
from service.simulator.script import CallScript
from service.simulator.sip_headers import sip_headers

MEDIA_SECURITY = ("srtp", "srtp", "rtp", None)
"""What an INVITE may say of the media; older trunks say nothing."""


def dial(
    number: str,
    script: CallScript,
    *,
    rng: Random,
    call_id: str | None = None,
    faults: CallFaults = NO_FAULTS,
    delivery: Delivery = ONCE,
) -> SimulatedCall:
    """A call to a number; what is not given is drawn from ``rng``."""
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
