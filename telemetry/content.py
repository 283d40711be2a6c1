"""What is said, pressed and handed to tools, as far as a tenant allows it on its calls' spans, and under which keys."""

from collections.abc import Mapping
from typing import Final

from telemetry import attributes as attr
from telemetry import genai
from telemetry.attributes import TraceKey
from telemetry.events import Content

MAX_CHARACTERS: Final = 4_096
"""Of one piece of content that are kept; a turn's span has room for many."""

CONTENT_KEYS: Final[Mapping[Content, TraceKey]] = {
    Content.CALLER_SAID: attr.TRANSCRIPT,
    Content.AGENT_SAID: attr.TRANSCRIPT,
    Content.KEY_PRESSED: attr.DTMF,
    Content.TOOL_ARGUMENTS: genai.TOOL_ARGUMENTS,
    Content.TOOL_RESULT: genai.TOOL_RESULT,
}
"""The attribute that holds each kind of content."""
