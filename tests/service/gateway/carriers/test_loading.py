"""What the first call finds loaded: a process that says it is ready has no module of the SDK left to load."""

import subprocess
import sys

PROGRAM = """
import asyncio, sys
import httpx2
from openai import AsyncOpenAI
from service.gateway.carriers.carrier import CarrierError
from service.gateway.carriers.openai_realtime import OpenAIRealtimeCarrier
from service.simulator.delivery import signed_headers
from telemetry.semconv.attributes import CallId

SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


async def main():
    http = httpx2.AsyncClient(trust_env=False)
    client = AsyncOpenAI(api_key="simulated", base_url="http://127.0.0.1:9/v1", http_client=http)
    carrier = OpenAIRealtimeCarrier(client, http, "model", webhook_secrets=[SECRET])
    before = set(sys.modules)
    import time
    carrier.verify(b"{}", signed_headers(SECRET, "wh_1", int(time.time()), b"{}"))
    try:
        await carrier.hangup(CallId("rtc_1"))
    except CarrierError:
        pass
    print(sorted(name for name in set(sys.modules) - before if name.startswith("openai")))


asyncio.run(main())
"""


def test_the_first_call_loads_nothing_of_the_sdk() -> None:
    """Neither the check of its announcement nor a request about it does."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=120)  # noqa: S603 -- this very interpreter
    assert done.stdout == "[]\n"
