"""Every setting, from the environment or ``.env``, validated once into a frozen object."""

import base64
import binascii
import os
import re
from collections.abc import Mapping
from io import StringIO
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from dotenv import dotenv_values
from phonenumbers import SUPPORTED_REGIONS
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

ENV_FILE = ".env"
"""Read from the working directory; the environment wins over it."""

_HEADER = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
PUBLIC_API: Final = "https://api.openai.com/v1"
MIN_ADMIN_TOKEN: Final = 16
"""Characters of an admin token, in prod; ``openssl rand -hex 24`` makes 48."""
MIN_API_KEY: Final = 20
"""Characters of a key for the public API, in prod; real ones have three times as many."""
MIN_WEBHOOK_SECRET: Final = 24
"""Bytes of a webhook secret, in prod (Standard Webhooks, "Signature scheme": 24 to 64 bytes)."""
MIN_HASH_KEY: Final = 16
"""Characters of the key of hashed numbers, in prod: ten digits are soon tried out under a key that can be guessed."""
_PREFIX: Final = "whsec_"
_MAKE_ONE: Final = "`openssl rand -hex 24` makes one"
_PROXIES: Final = ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY")
_PROXY_SCHEMES: Final = ("http", "https", "socks5", "socks5h")
"""Kinds of proxies that all HTTP and WebSocket clients here go through."""

_ADDRESS = re.compile(r"https?://[^\s?#]+")

_Secrets = SecretStr | tuple[SecretStr, ...] | None

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


class SettingsError(ValueError):
    """A setting is wrong; the message names each key and its problem, and shows no value that may be secret."""


class Settings(BaseSettings):
    """Settings of the service. Keys are the field names in capitals."""

    model_config = SettingsConfigDict(env_file=ENV_FILE, env_file_encoding="utf-8-sig", frozen=True, extra="ignore")

    app_env: Literal["prod", "dev", "test"] = "dev"
    """``prod`` refuses to start without secrets; ``test`` lets telemetry failures surface."""
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    log_level: LogLevel = "INFO"
    admin_token: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    """Tokens the admin endpoints take; several, separated by commas, while one is being rotated out.

    ``SECRET;until=2027-03-31`` is taken up to that day in UTC, ``SECRET;tenants=acme|globex`` opens these tenants
    alone, and ``SECRET;read`` changes nothing; a token may have several such attributes.
    """
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = ()
    """Addresses and networks, separated by commas, whose ``X-Forwarded-For`` says who the client is."""
    database_url: SecretStr = SecretStr("sqlite+aiosqlite:///callscope.db")
    openai_api_key: SecretStr | None = None
    openai_base_url: str = Field("https://api.openai.com/v1", pattern=r"^https?://\S+$")
    openai_webhook_secret: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    """Secrets that deliveries may be signed with; several, separated by commas, while one is being rotated out."""
    realtime_model: str = Field("gpt-realtime-2.1", min_length=1, max_length=100)
    max_concurrent_calls: int = Field(100, ge=1)
    max_concurrent_calls_per_tenant: int | None = Field(None, ge=1)
    """Unless a tenant has a limit of its own; the global limit if not set."""
    fallback_instructions: str | None = Field(None, min_length=1)
    call_heartbeat_seconds: float = Field(5, gt=0, le=300)
    stale_call_seconds: float = Field(120, gt=0)
    max_call_seconds: float | None = Field(None, gt=0)
    """The longest a call may run, in seconds; it is hung up at the heartbeat after. None for no limit."""
    max_silence_seconds: float | None = Field(None, gt=0)
    """The longest nobody may speak on a call, in seconds, likewise."""
    default_region: str | None = None
    """The country that numbers without ``+`` are read in, such as ``US``."""
    dialled_headers: Annotated[tuple[str, ...], NoDecode] = ()
    """The SIP headers that may name the dialled number, the most telling first, in lower case; none for the usual."""
    trace_url_template: str | None = None
    """A link to one trace in a trace backend, with ``{trace_id}`` in its place."""
    prometheus_url: SecretStr | None = None
    """A Prometheus-compatible backend that has this service's metrics, for reconciliation; may hold a password."""
    prometheus_token: SecretStr | None = None
    """Sent to it as a bearer token."""
    redis_url: SecretStr | None = None
    """The store of a fleet: several processes with one limit. None for a process that answers for itself alone."""
    redis_prefix: str = Field("callscope", pattern=r"^[A-Za-z0-9._-]{1,64}$")
    """Begins the store's keys, and keeps fleets that share a store apart."""
    capacity_on_outage: Literal["share", "open", "closed"] = "share"
    """Admission while the store is away: by a share of what was free, by the limits, or none."""
    drain_seconds: float = Field(0, ge=0, le=300)
    """Seconds for which a process told to stop says ``draining`` in ``/readyz`` before it stops taking calls."""
    hand_over_calls: bool = True
    """On a stop, leave running calls to the process that comes next, instead of hanging up."""
    spill_folder: Path = Path("callscope-spill")
    """Folder in which call records wait while the database is away; shared by the processes of one machine."""
    billing_key: SecretStr | None = Field(None, min_length=16)
    """Keys the seals of frozen periods, so that the database alone cannot make one; keep it apart from its backups."""
    number_hash_key: SecretStr | None = None
    """Keys the hashes by which calls of one caller can be joined; without it, a process joins only its own."""

    @field_validator("default_region")
    @classmethod
    def _is_a_region(cls, value: str | None) -> str | None:
        if value and value.upper() not in SUPPORTED_REGIONS:
            raise ValueError("must be a country of two letters (ISO 3166), such as US")
        return value.upper() if value else None

    @field_validator("dialled_headers", mode="before")
    @classmethod
    def _split_headers(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        names = tuple(name.strip().lower() for name in value.split(",") if name.strip())
        if any(not _HEADER.fullmatch(name) for name in names):
            raise ValueError("must be names of SIP headers, separated by commas, such as X-Dialled,To")
        return names

    @model_validator(mode="before")
    @classmethod
    def _stripped(cls, values: object) -> object:
        """Take blanks and line breaks off the ends: a file that was read into a variable brings them along."""
        if not isinstance(values, Mapping):
            return values
        return {key: value.strip() if isinstance(value, str) else value for key, value in values.items()}

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            try:
                ip_network(text)
            except ValueError:
                raise ValueError("must be addresses or networks such as 10.0.0.0/8, separated by commas") from None
        return value

    @field_validator("admin_token", "openai_webhook_secret", "trusted_proxies", mode="before")
    @classmethod
    def _split_tokens(cls, value: object) -> object:
        return [token.strip() for token in value.split(",") if token.strip()] if isinstance(value, str) else value

    @field_validator(
        "openai_api_key",
        "prometheus_url",
        "prometheus_token",
        "redis_url",
        "fallback_instructions",
        "billing_key",
        "number_hash_key",
        "max_concurrent_calls_per_tenant",
        "max_call_seconds",
        "max_silence_seconds",
        "trace_url_template",
        mode="before",
    )
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("host")
    @classmethod
    def _without_brackets(cls, value: str) -> str:
        """Take ``[::1]`` as URLs write it for ``::1``."""
        return value[1:-1] if value.startswith("[") and value.endswith("]") else value

    @field_validator("admin_token", "openai_api_key", "prometheus_token")
    @classmethod
    def _fits_a_header(
        cls, value: SecretStr | tuple[SecretStr, ...] | None
    ) -> SecretStr | tuple[SecretStr, ...] | None:
        for secret in (value,) if isinstance(value, SecretStr) else value or ():
            text = secret.get_secret_value()
            _refuse_quotes(text)
            if not text.isprintable() or " " in text:
                raise ValueError("has a blank or a line break in it; copy it again, in one piece")
        return value

    @field_validator("openai_webhook_secret")
    @classmethod
    def _signs(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for secret in value:
            webhook_key(secret.get_secret_value())
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _any_case(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("prometheus_url")
    @classmethod
    def _is_an_address(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _ADDRESS.fullmatch(value.get_secret_value()):
            raise ValueError("must be an address such as http://127.0.0.1:9090, without a query")
        return value

    @field_validator("trace_url_template")
    @classmethod
    def _has_its_place(cls, value: str | None) -> str | None:
        if value and "{trace_id}" not in value:
            raise ValueError("must contain {trace_id}")
        return value or None

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.stale_call_seconds <= self.call_heartbeat_seconds:
            raise ValueError("STALE_CALL_SECONDS must be longer than CALL_HEARTBEAT_SECONDS")
        if self.app_env == "prod":
            secrets = {
                "ADMIN_TOKEN": self.admin_token,
                "OPENAI_API_KEY": self.openai_api_key,
                "OPENAI_WEBHOOK_SECRET": self.openai_webhook_secret,
            }
            missing = [key for key, value in secrets.items() if not value]
            if missing:
                raise ValueError(f"{', '.join(missing)} must be set when APP_ENV is prod")
            self._refuse_guessable()
        return self

    def _refuse_guessable(self) -> None:
        if any(len(token.partition(";")[0]) < MIN_ADMIN_TOKEN for token in self.admin_tokens):
            raise ValueError(f"ADMIN_TOKEN: needs {MIN_ADMIN_TOKEN} characters when APP_ENV is prod; {_MAKE_ONE}")
        key = self.openai_api_key.get_secret_value() if self.openai_api_key else ""
        if self.openai_base_url == PUBLIC_API and len(key) < MIN_API_KEY:
            raise ValueError("OPENAI_API_KEY: is too short to be a key of the public API; copy it again, whole")
        if any(len(webhook_key(secret)) < MIN_WEBHOOK_SECRET for secret in self.webhook_secrets):
            raise ValueError(
                f"OPENAI_WEBHOOK_SECRET: needs {MIN_WEBHOOK_SECRET} bytes when APP_ENV is prod; copy it again, whole"
            )
        if self.number_hash_key and len(self.number_hash_key.get_secret_value()) < MIN_HASH_KEY:
            raise ValueError(f"NUMBER_HASH_KEY: needs {MIN_HASH_KEY} characters when APP_ENV is prod; {_MAKE_ONE}")

    @property
    def webhook_secrets(self) -> tuple[str, ...]:
        """The webhook secrets in the clear."""
        return tuple(secret.get_secret_value() for secret in self.openai_webhook_secret)

    @property
    def without_secrets(self) -> tuple[str, ...]:
        """The parts that do not work for want of a secret, one sentence each; empty when all are set."""
        no_calls = "no call is taken, and webhooks are answered 503"
        wanting = {
            "ADMIN_TOKEN is not set: the admin endpoints answer 503": not self.admin_token,
            f"OPENAI_WEBHOOK_SECRET is not set: {no_calls}": not self.openai_webhook_secret,
            f"OPENAI_API_KEY is not set: {no_calls}": self.openai_api_key is None,
        }
        return tuple(sentence for sentence, applies in wanting.items() if applies)

    @property
    def admin_tokens(self) -> tuple[str, ...]:
        """The admin tokens in the clear."""
        return tuple(token.get_secret_value() for token in self.admin_token)

    @property
    def seal_key(self) -> bytes | None:
        """Key of the seals of frozen periods."""
        return None if self.billing_key is None else self.billing_key.get_secret_value().encode()

    @property
    def tenant_limit(self) -> int:
        """Calls at once of a tenant without a limit of its own."""
        return self.max_concurrent_calls_per_tenant or self.max_concurrent_calls


def load_settings(**overrides: object) -> Settings:
    """Return the settings of this process.

    ``OTEL_*`` keys of ``.env`` are put into the environment, where the OpenTelemetry exporters look for them.

    Raises:
        SettingsError: naming every wrong key.
    """
    for key, value in env_file_values().items():
        if key.startswith("OTEL_"):
            os.environ.setdefault(key, value)
    _check_surroundings(os.environ)
    try:
        # What the overrides hold is for the model to check.
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError(
            "; ".join(_describe(problem["loc"], problem["msg"]) for problem in error.errors())
        ) from None


def _describe(location: tuple[int | str, ...], message: str) -> str:
    key = str(location[0]).upper() if location else ""
    text = message.removeprefix("Value error, ")
    return f"{key}: {text}" if key else text


def env_file_values(file: Path = Path(ENV_FILE)) -> dict[str, str]:
    """Return what ``.env`` sets; empty if there is none.

    Raises:
        SettingsError: if it cannot be read, or is not UTF-8.
    """
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{file}: is not UTF-8; save it as UTF-8") from None
    if "\0" in text:
        raise SettingsError(f"{file}: is UTF-16 or has null characters in it; save it as UTF-8")
    return {key: value for key, value in dotenv_values(stream=StringIO(text)).items() if value is not None}


def webhook_key(secret: str) -> bytes:
    """Return the bytes a webhook secret stands for (Standard Webhooks, "Signature scheme": ``whsec_`` and base64).

    Raises:
        ValueError: if it is none; the message does not repeat it.
    """
    _refuse_quotes(secret)
    if not secret.startswith(_PREFIX):
        raise ValueError(f"does not begin with {_PREFIX}; copy it again, whole")
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"is not base64 after {_PREFIX}; copy it again, whole") from None
    if not key:
        raise ValueError(f"has nothing after {_PREFIX}, so that anybody could sign; copy it again, whole")
    return key


def _refuse_quotes(secret: str) -> None:
    if secret[:1] in "\"'" or secret[-1:] in "\"'":
        raise ValueError("is in quotation marks, which whatever read it took for a part of it; leave them out")


def _check_surroundings(environment: Mapping[str, Any]) -> None:
    """Refuse what the HTTP clients read from the environment by themselves and would fail over later."""
    for key in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        path = environment.get(key)
        if path and not Path(path).exists():
            raise SettingsError(f"{key}: {path} does not exist; correct it, or unset it to trust the system's issuers")
    for key in _PROXIES:
        for name in (key, key.lower()):
            scheme, separator, _ = str(environment.get(name, "")).partition("://")
            if separator and scheme.lower() not in _PROXY_SCHEMES:
                raise SettingsError(f"{name}: must begin with {', '.join(f'{s}://' for s in _PROXY_SCHEMES)}")
