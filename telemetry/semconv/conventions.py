"""The general semantic conventions' attributes that instrumentations record here, and where each may go."""

from typing import Final

from opentelemetry.semconv._incubating.attributes.db_attributes import DB_STATEMENT as _DB_STATEMENT
from opentelemetry.semconv.attributes import (
    client_attributes,
    db_attributes,
    exception_attributes,
    http_attributes,
    network_attributes,
    server_attributes,
    url_attributes,
    user_agent_attributes,
)

from telemetry.semconv.attributes import Attribute, Exposure, TraceKey

URL_FULL = TraceKey(url_attributes.URL_FULL)
URL_PATH = TraceKey(url_attributes.URL_PATH)
URL_QUERY = TraceKey(url_attributes.URL_QUERY)
URL_SCHEME = TraceKey(url_attributes.URL_SCHEME)
HTTP_METHOD = TraceKey(http_attributes.HTTP_REQUEST_METHOD)
HTTP_METHOD_ORIGINAL = TraceKey(http_attributes.HTTP_REQUEST_METHOD_ORIGINAL)
HTTP_RESEND_COUNT = TraceKey(http_attributes.HTTP_REQUEST_RESEND_COUNT)
HTTP_ROUTE = TraceKey(http_attributes.HTTP_ROUTE)
SERVER_ADDRESS = TraceKey(server_attributes.SERVER_ADDRESS)
SERVER_PORT = TraceKey(server_attributes.SERVER_PORT)
CLIENT_ADDRESS = TraceKey(client_attributes.CLIENT_ADDRESS)
CLIENT_PORT = TraceKey(client_attributes.CLIENT_PORT)
PEER_ADDRESS = TraceKey(network_attributes.NETWORK_PEER_ADDRESS)
PEER_PORT = TraceKey(network_attributes.NETWORK_PEER_PORT)
PROTOCOL_NAME = TraceKey(network_attributes.NETWORK_PROTOCOL_NAME)
PROTOCOL_VERSION = TraceKey(network_attributes.NETWORK_PROTOCOL_VERSION)
USER_AGENT = TraceKey(user_agent_attributes.USER_AGENT_ORIGINAL)
DB_SYSTEM = TraceKey(db_attributes.DB_SYSTEM_NAME)
DB_NAMESPACE = TraceKey(db_attributes.DB_NAMESPACE)
DB_OPERATION = TraceKey(db_attributes.DB_OPERATION_NAME)
DB_COLLECTION = TraceKey(db_attributes.DB_COLLECTION_NAME)
DB_BATCH_SIZE = TraceKey(db_attributes.DB_OPERATION_BATCH_SIZE)
DB_STATUS = TraceKey(db_attributes.DB_RESPONSE_STATUS_CODE)
DB_QUERY_TEXT = TraceKey(db_attributes.DB_QUERY_TEXT)
DB_STATEMENT = TraceKey(_DB_STATEMENT)
EXCEPTION_TYPE = TraceKey(exception_attributes.EXCEPTION_TYPE)
EXCEPTION_MESSAGE = TraceKey(exception_attributes.EXCEPTION_MESSAGE)
EXCEPTION_STACKTRACE = TraceKey(exception_attributes.EXCEPTION_STACKTRACE)
EXCEPTION_ESCAPED = TraceKey(exception_attributes.EXCEPTION_ESCAPED)

M, T, P = Exposure.METRIC, Exposure.TRACE, Exposure.PERSONAL

CONVENTION_ATTRIBUTES: Final[tuple[Attribute, ...]] = (
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
"""Attributes that contrib instrumentations record; :mod:`telemetry.semconv.attributes` declares the project's own."""

WITHHELD: Final = frozenset(str(a.key) for a in CONVENTION_ATTRIBUTES if a.exposure is Exposure.PERSONAL)
"""Keys that never leave the process, on spans, events and log lines alike."""
