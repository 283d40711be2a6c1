"""One call as it is to happen: who calls whom, what the webhook says and how it is delivered, what goes wrong."""

import hashlib
import json
from dataclasses import dataclass

from service.simulator.faults import NO_FAULTS, CallFaults
from service.simulator.script import CallScript


@dataclass(frozen=True, slots=True)
class Delivery:
    """How the webhook of one call reaches the gateway."""

    twins: int = 0
    """So many more deliveries of the same ``webhook-id`` at the same time as the first."""
    echoes: int = 0
    """So many more deliveries of the same ``webhook-id`` after the call is over."""
    reissues: int = 0
    """So many more deliveries under ids of their own, at the same time as the first."""
    late: bool = False
    """The caller has left before the first delivery."""


ONCE = Delivery()
"""One delivery, in time."""

SipHeader = tuple[str, str]
"""Name and value, as the INVITE had them."""


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

    def webhook_id(self, reissue: int = 0) -> str:
        """The ``webhook-id`` of the call's event, or of one of its reissues."""
        return "wh_" + hashlib.sha256(f"{self.call_id}/{reissue}".encode()).hexdigest()[:32]

    def webhook_body(self, created_at: int) -> bytes:
        """The ``realtime.call.incoming`` event announcing the call."""
        headers = [{"name": name, "value": value} for name, value in self.sip_headers]
        data: dict[str, object] = {"call_id": self.call_id, "sip_headers": headers}
        if self.media_security is not None:
            data["sip_media_security"] = self.media_security
        head = {"object": "event", "id": f"evt_{self.webhook_id()[3:]}", "type": "realtime.call.incoming"}
        return json.dumps(head | {"created_at": created_at, "data": data}).encode()
