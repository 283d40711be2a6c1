"""The GenAI semantic conventions' names: still in development upstream, so they stand here and nowhere else.

Source: OpenTelemetry GenAI semantic conventions, metrics and spans (status: Development). Token metrics come in two
sets: as of semantic conventions v1.41, and as of v0.1.0 of the GenAI conventions' own repository, which splits usage.
"""

from enum import Flag, auto
from functools import lru_cache
from typing import Final

from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as conventions

from telemetry.semconv.attributes import Attribute, Exposure, Label, MetricAttributes, MetricKey, TraceKey

OPERATION_NAME = MetricKey(conventions.GEN_AI_OPERATION_NAME)
PROVIDER_NAME = MetricKey(conventions.GEN_AI_PROVIDER_NAME)
REQUEST_MODEL = MetricKey(conventions.GEN_AI_REQUEST_MODEL)
TOKEN_TYPE = MetricKey(conventions.GEN_AI_TOKEN_TYPE)
TOKEN_MODALITY = MetricKey("gen_ai.token.modality")
CONVERSATION_ID = TraceKey(conventions.GEN_AI_CONVERSATION_ID)
TOOL_NAME = MetricKey(conventions.GEN_AI_TOOL_NAME)
TOOL_TYPE = MetricKey(conventions.GEN_AI_TOOL_TYPE)
TOOL_CALL_ID = TraceKey(conventions.GEN_AI_TOOL_CALL_ID)
TOOL_ARGUMENTS = TraceKey(conventions.GEN_AI_TOOL_CALL_ARGUMENTS)
TOOL_RESULT = TraceKey(conventions.GEN_AI_TOOL_CALL_RESULT)
RESPONSE_ID = TraceKey(conventions.GEN_AI_RESPONSE_ID)
INPUT_TOKENS = TraceKey(conventions.GEN_AI_USAGE_INPUT_TOKENS)
OUTPUT_TOKENS = TraceKey(conventions.GEN_AI_USAGE_OUTPUT_TOKENS)
CACHED_INPUT_TOKENS = TraceKey(conventions.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS)
INPUT_AUDIO_TOKENS = TraceKey("gen_ai.usage.audio.input_tokens")
OUTPUT_AUDIO_TOKENS = TraceKey("gen_ai.usage.audio.output_tokens")

TOKEN_USAGE = "gen_ai.client.token.usage"  # noqa: S105 -- a metric's name
INFERENCE_INPUT = "gen_ai.client.inference.usage.input_tokens"
INFERENCE_OUTPUT = "gen_ai.client.inference.usage.output_tokens"
INFERENCE_CACHED = "gen_ai.client.inference.usage.cache_read.input_tokens"
OPERATION_INPUT = "gen_ai.client.inference.operation.input_tokens"
OPERATION_OUTPUT = "gen_ai.client.inference.operation.output_tokens"
EXECUTE_TOOL_DURATION = "gen_ai.execute_tool.duration"

OPENAI = Label(conventions.GenAiProviderNameValues.OPENAI.value)
CHAT = Label(conventions.GenAiOperationNameValues.CHAT.value)
EXECUTE_TOOL = Label(conventions.GenAiOperationNameValues.EXECUTE_TOOL.value)
FUNCTION = Label("function")
INPUT = Label(conventions.GenAiTokenTypeValues.INPUT.value)
TEXT = Label("text")
AUDIO = Label("audio")
OUTPUT = Label(conventions.GenAiTokenTypeValues.OUTPUT.value)

TOKEN_BOUNDARIES = tuple(float(4**power) for power in range(14))
"""1 … 67 108 864 tokens, as the convention for ``gen_ai.client.token.usage`` lists them."""
TOOL_BOUNDARIES = tuple(round(0.01 * 2**power, 2) for power in range(14))
"""0.01 … 81.92 s, as the convention for ``gen_ai.execute_tool.duration`` lists them."""

OPT_IN: Final = "OTEL_SEMCONV_STABILITY_OPT_IN"
"""The standard variable: a comma-separated list, in which the two names below choose among the sets."""


class GenAiSets(Flag):
    """The sets of token metrics that are recorded."""

    V1_41 = auto()
    """``gen_ai.client.token.usage``, with the direction as an attribute."""
    V0_1 = auto()
    """``gen_ai.client.inference.*``: counters by modality, and histograms by operation."""


def chosen_sets(opt_in: str | None) -> GenAiSets:
    """Return the sets that ``OTEL_SEMCONV_STABILITY_OPT_IN`` chooses: the older one unless it asks for the newer."""
    names = {name.strip() for name in (opt_in or "").split(",")}
    if "gen_ai_latest_experimental/dup" in names:
        return GenAiSets.V1_41 | GenAiSets.V0_1
    return GenAiSets.V0_1 if "gen_ai_latest_experimental" in names else GenAiSets.V1_41


def by_modality(total: int, text: int | None, audio: int | None) -> tuple[tuple[Label | None, int], ...]:
    """Return the tokens by modality; None stands for those whose modality the provider did not tell."""
    rest = total - (text or 0) - (audio or 0)
    parts = ((TEXT, text or 0), (AUDIO, audio or 0), (None, rest))
    return tuple((modality, count) for modality, count in parts if count > 0)


_ATTRIBUTE_SETS_KEPT: Final = 256
# A service has a few models and a few dozen tools.

M, T, P = Exposure.METRIC, Exposure.TRACE, Exposure.PERSONAL

GENAI_ATTRIBUTES: Final[tuple[Attribute, ...]] = (
    Attribute(OPERATION_NAME, M, "The operation.", ("chat", "execute_tool")),
    Attribute(PROVIDER_NAME, M, "Who runs the model."),
    Attribute(REQUEST_MODEL, M, "The model asked for, as configured."),
    Attribute(TOKEN_TYPE, M, "Which way the tokens went.", ("input", "output")),
    Attribute(TOKEN_MODALITY, M, "What the tokens stand for; absent for those of unknown kind.", ("text", "audio")),
    Attribute(CONVERSATION_ID, T, "The call's id."),
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


@lru_cache(_ATTRIBUTE_SETS_KEPT)
def token_attributes(model: str, direction: Label) -> MetricAttributes:
    """Return the attributes of ``gen_ai.client.token.usage``; ``model`` is the configured one."""
    return {OPERATION_NAME: CHAT, PROVIDER_NAME: OPENAI, REQUEST_MODEL: Label(model), TOKEN_TYPE: direction}


@lru_cache(_ATTRIBUTE_SETS_KEPT)
def inference_attributes(model: str, modality: Label | None = None) -> MetricAttributes:
    """Return the attributes of ``gen_ai.client.inference.*``; ``model`` is the configured one."""
    named: MetricAttributes = {OPERATION_NAME: CHAT, PROVIDER_NAME: OPENAI, REQUEST_MODEL: Label(model)}
    return named if modality is None else {**named, TOKEN_MODALITY: modality}


@lru_cache(_ATTRIBUTE_SETS_KEPT)
def tool_attributes(tool: str) -> MetricAttributes:
    """Return the attributes of ``gen_ai.execute_tool.duration``; ``tool`` is a registered name or ``_other``."""
    return {TOOL_NAME: Label(tool), TOOL_TYPE: FUNCTION}
