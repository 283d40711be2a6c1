"""Numbers in responses are fit for people: as many decimal places as mean anything."""

import re

import httpx2

from tests.service.api.gateway import Gateway
from tests.support import calls

LONG = re.compile(r"\d\.\d{7,}")


def test_no_number_has_more_decimal_places_than_mean_anything(admin: httpx2.Client, gateway: Gateway) -> None:
    """Thirds of minutes, odd seconds and interpolated percentiles come without noise at their end."""
    for number in range(7):
        call = calls.announced(gateway.kit, f"rtc_{number}")
        gateway.kit.clock.advance(0.1 + 0.2)
        call.accepted()
        gateway.kit.clock.advance(1.1 * 3)
        call.started()
        gateway.kit.clock.advance(100 / 3)
        call.heartbeat()
    for path in (
        "/api/v1/metrics/live",
        "/api/v1/metrics/live/acme",
        "/api/v1/metrics/live/acme/exemplars",
        "/api/v1/metrics/capacity/debug",
        "/api/v1/metrics/summary",
        "/api/v1/metrics/tenants",
        "/api/v1/calls",
        "/api/v1/calls?state=all",
        "/api/v1/calls/rtc_0",
    ):
        body = admin.get(path).text
        assert LONG.findall(body) == [], path
    assert admin.get("/api/v1/metrics/live").json()["minutes_processed"] > 0
