"""The semantic conventions' attributes that instrumentations of others put on spans, and which of them are withheld.

Source: OpenTelemetry semantic conventions, stable parts: HTTP, URL, client, server, network, database, exceptions.
"""

from typing import Final

from telemetry.attributes import Attribute, Destination, TraceKey

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

M, T, P = Destination.METRIC, Destination.TRACE, Destination.PERSONAL

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
"""What contrib instrumentations record here; :mod:`telemetry.attributes` has this project's own."""

WITHHELD: Final = frozenset(str(a.key) for a in CONVENTION_ATTRIBUTES if a.destination is Destination.PERSONAL)
"""Keys that never leave the process, on spans, events and log lines alike."""
