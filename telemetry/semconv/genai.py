"""The GenAI semantic conventions' names: still in development upstream, so they stand here and nowhere else.

Source: OpenTelemetry GenAI semantic conventions, metrics and spans (status: Development).
"""

from functools import lru_cache
from typing import Final

from telemetry.semconv.attributes import Attribute, Exposure, Label, MetricAttributes, MetricKey, TraceKey

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
M, T, P = Exposure.METRIC, Exposure.TRACE, Exposure.PERSONAL
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


URL_FULL = TraceKey("url.full")
URL_PATH = TraceKey("url.path")
URL_QUERY = TraceKey("url.query")
URL_SCHEME = TraceKey("url.scheme")
HTTP_METHOD = TraceKey("http.request.method")
HTTP_METHOD_ORIGINAL = TraceKey("http.request.method_original")
HTTP_RESEND_COUNT = TraceKey("http.request.resend_count")
HTTP_ROUTE = TraceKey("http.route")
SERVER_ADDRESS = TraceKey("server.address")
SERVER_PORT = TraceKey("server.port")
CLIENT_ADDRESS = TraceKey("client.address")
CLIENT_PORT = TraceKey("client.port")
PEER_ADDRESS = TraceKey("network.peer.address")
PEER_PORT = TraceKey("network.peer.port")
PROTOCOL_NAME = TraceKey("network.protocol.name")
PROTOCOL_VERSION = TraceKey("network.protocol.version")
USER_AGENT = TraceKey("user_agent.original")
DB_SYSTEM = TraceKey("db.system.name")
DB_NAMESPACE = TraceKey("db.namespace")
DB_OPERATION = TraceKey("db.operation.name")
DB_COLLECTION = TraceKey("db.collection.name")
DB_BATCH_SIZE = TraceKey("db.operation.batch.size")
DB_STATUS = TraceKey("db.response.status_code")
DB_QUERY_TEXT = TraceKey("db.query.text")
DB_STATEMENT = TraceKey("db.statement")
EXCEPTION_TYPE = TraceKey("exception.type")
EXCEPTION_MESSAGE = TraceKey("exception.message")
EXCEPTION_STACKTRACE = TraceKey("exception.stacktrace")
EXCEPTION_ESCAPED = TraceKey("exception.escaped")
CONVENTION_ATTRIBUTES: tuple[Attribute, ...] = (
    Attribute(URL_FULL, T, "The address called, without user, query and fragment."),
    Attribute(URL_PATH, T, "The path that was asked for."),
    Attribute(URL_QUERY, P, "Withheld: a query may name a caller or carry a token."),
    Attribute(URL_SCHEME, M, "The protocol.", ("http", "https", "ws", "wss")),
    Attribute(HTTP_METHOD, M, "The request's method."),
    Attribute(HTTP_METHOD_ORIGINAL, T, "The method as it was sent, where it is not one that is known."),
    Attribute(HTTP_RESEND_COUNT, T, "How often the request had been sent before."),
    Attribute(HTTP_ROUTE, M, "The route's template."),
    Attribute(SERVER_ADDRESS, M, "The host called, or the one that answers."),
    Attribute(SERVER_PORT, M, "Its port."),
    Attribute(CLIENT_ADDRESS, P, "Withheld: the address of whoever asks."),
    Attribute(CLIENT_PORT, P, "Withheld with the address."),
    Attribute(PEER_ADDRESS, P, "Withheld: on a server's span it is the client's address."),
    Attribute(PEER_PORT, P, "Withheld with the address."),
    Attribute(PROTOCOL_NAME, T, "The application protocol."),
    Attribute(PROTOCOL_VERSION, M, "Its version."),
    Attribute(USER_AGENT, P, "Withheld: free text of whoever asks."),
    Attribute(DB_SYSTEM, T, "The database's product."),
    Attribute(DB_NAMESPACE, T, "The database's name."),
    Attribute(DB_OPERATION, T, "The kind of statement, such as SELECT."),
    Attribute(DB_COLLECTION, T, "The table."),
    Attribute(DB_BATCH_SIZE, T, "Statements run in one go."),
    Attribute(DB_STATUS, T, "The database's error code."),
    Attribute(DB_QUERY_TEXT, P, "Withheld: a statement may have values in it."),
    Attribute(DB_STATEMENT, P, "Withheld: the older name of the statement."),
    Attribute(EXCEPTION_TYPE, T, "The exception's class."),
    Attribute(EXCEPTION_MESSAGE, P, "Withheld: a message quotes what it failed on."),
    Attribute(EXCEPTION_STACKTRACE, T, "The places in the code the exception passed, without messages."),
    Attribute(EXCEPTION_ESCAPED, T, "Whether the exception left the span."),
)
"""What contrib instrumentations record here; :mod:`telemetry.semconv.attributes` has this project's own."""
WITHHELD: Final = frozenset(str(a.key) for a in CONVENTION_ATTRIBUTES if a.exposure is Exposure.PERSONAL)
"""Keys that never leave the process, on spans, events and log lines alike."""
