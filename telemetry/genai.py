"""The GenAI semantic conventions' names: still in development upstream, so they stand here and nowhere else.

Source: OpenTelemetry GenAI semantic conventions, metrics and spans (status: Development).
"""

from functools import lru_cache

from telemetry.attributes import Attribute, Destination, Label, MetricAttributes, MetricKey, TraceKey

OPERATION_NAME = MetricKey("gen_ai.operation.name")
PROVIDER_NAME = MetricKey("gen_ai.provider.name")
REQUEST_MODEL = MetricKey("gen_ai.request.model")
TOKEN_TYPE = MetricKey("gen_ai.token.type")
TOOL_NAME = MetricKey("gen_ai.tool.name")
TOOL_TYPE = MetricKey("gen_ai.tool.type")

TOOL_CALL_ID = TraceKey("gen_ai.tool.call.id")
TOOL_ARGUMENTS = TraceKey("gen_ai.tool.call.arguments")
TOOL_RESULT = TraceKey("gen_ai.tool.call.result")
RESPONSE_ID = TraceKey("gen_ai.response.id")
INPUT_TOKENS = TraceKey("gen_ai.usage.input_tokens")
OUTPUT_TOKENS = TraceKey("gen_ai.usage.output_tokens")
CACHED_INPUT_TOKENS = TraceKey("gen_ai.usage.cache_read.input_tokens")
INPUT_AUDIO_TOKENS = TraceKey("gen_ai.usage.audio.input_tokens")
OUTPUT_AUDIO_TOKENS = TraceKey("gen_ai.usage.audio.output_tokens")

TOKEN_USAGE = "gen_ai.client.token.usage"  # noqa: S105 -- a metric's name
EXECUTE_TOOL_DURATION = "gen_ai.execute_tool.duration"

OPENAI = Label("openai")
CHAT = Label("chat")
EXECUTE_TOOL = Label("execute_tool")
FUNCTION = Label("function")
INPUT = Label("input")
OUTPUT = Label("output")

TOKEN_BOUNDARIES = tuple(float(4**power) for power in range(14))
"""1 … 67 108 864 tokens, as the convention for ``gen_ai.client.token.usage`` lists them."""
TOOL_BOUNDARIES = tuple(round(0.01 * 2**power, 2) for power in range(14))
"""0.01 … 81.92 s, as the convention for ``gen_ai.execute_tool.duration`` lists them."""

_KEPT = 256
# Sets of labels that are kept: a service has a few models and a few dozen tools.

M, T, P = Destination.METRIC, Destination.TRACE, Destination.PERSONAL

GENAI_ATTRIBUTES: tuple[Attribute, ...] = (
    Attribute(OPERATION_NAME, M, "The operation.", ("chat", "execute_tool")),
    Attribute(PROVIDER_NAME, M, "Who runs the model."),
    Attribute(REQUEST_MODEL, M, "The model asked for, as configured."),
    Attribute(TOKEN_TYPE, M, "Which way the tokens went.", ("input", "output")),
    Attribute(TOOL_NAME, M, "The tool, among those the service registered; `_other` for a name the model made up."),
    Attribute(TOOL_TYPE, M, "The kind of tool.", ("function",)),
    Attribute(TOOL_CALL_ID, T, "The model's id of the tool call."),
    Attribute(TOOL_ARGUMENTS, P, "What the model handed to the tool; only where the tenant switched content on."),
    Attribute(TOOL_RESULT, P, "What the tool answered; only where the tenant switched content on."),
    Attribute(RESPONSE_ID, T, "The model's id of the response."),
    Attribute(INPUT_TOKENS, T, "Tokens read by the model, cached ones included."),
    Attribute(OUTPUT_TOKENS, T, "Tokens written by the model."),
    Attribute(CACHED_INPUT_TOKENS, T, "Of the input tokens, those read from a cache."),
    Attribute(INPUT_AUDIO_TOKENS, T, "Of the input tokens, those that were audio."),
    Attribute(OUTPUT_AUDIO_TOKENS, T, "Of the output tokens, those that were audio."),
)


@lru_cache(_KEPT)
def token_labels(model: str, direction: Label) -> MetricAttributes:
    """What ``gen_ai.client.token.usage`` is measured under. ``model`` is the configured one."""
    return {
        OPERATION_NAME: CHAT,
        PROVIDER_NAME: OPENAI,
        REQUEST_MODEL: Label(model),
        TOKEN_TYPE: direction,
    }


@lru_cache(_KEPT)
def tool_labels(tool: str) -> MetricAttributes:
    """What ``gen_ai.execute_tool.duration`` is measured under; ``tool`` is a registered name or ``_other``."""
    return {TOOL_NAME: Label(tool), TOOL_TYPE: FUNCTION}
