"""Every setting, from the environment or ``.env``, validated once into a frozen object."""

import os
import re
from pathlib import Path
from typing import Annotated, Literal, Self

from dotenv import dotenv_values
from phonenumbers import SUPPORTED_REGIONS
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

ENV_FILE = ".env"
"""Read from the working directory; the environment wins over it."""

_HEADER = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")

_ADDRESS = re.compile(r"https?://[^\s?#]+")

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


class SettingsError(ValueError):
    """A setting is wrong; the message names each key and its problem, and shows no value that may be secret."""


class Settings(BaseSettings):
    """What the service can be told. Keys are the field names in capitals."""

    model_config = SettingsConfigDict(env_file=ENV_FILE, env_file_encoding="utf-8", frozen=True, extra="ignore")

    app_env: Literal["prod", "dev", "test"] = "dev"
    """``prod`` refuses to start without secrets; ``test`` lets telemetry failures surface."""
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    log_level: LogLevel = "INFO"
    admin_token: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    """Tokens the admin endpoints take; several, separated by commas, while one is being rotated out."""
    database_url: SecretStr = SecretStr("sqlite+aiosqlite:///callscope.db")
    openai_api_key: SecretStr | None = None
    openai_base_url: str = Field("https://api.openai.com/v1", pattern=r"^https?://\S+$")
    openai_webhook_secret: SecretStr | None = None
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
    """For numbers of several processes put together, which this version does not do; said once at the start."""
    hand_over_calls: bool = True
    """On a stop, leave running calls to the process that comes next, instead of hanging up."""
    spill_folder: Path = Path("callscope-spill")
    """Where call records wait while the database is away; shared by the processes of one machine."""
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

    @field_validator("admin_token", mode="before")
    @classmethod
    def _split_tokens(cls, value: object) -> object:
        return [token.strip() for token in value.split(",") if token.strip()] if isinstance(value, str) else value

    @field_validator(
        "openai_api_key",
        "openai_webhook_secret",
        "prometheus_url",
        "prometheus_token",
        "redis_url",
        "fallback_instructions",
        "billing_key",
        "number_hash_key",
        mode="before",
    )
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        return None if value == "" else value

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
        return self

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
    """The settings of this process.

    ``OTEL_*`` keys of ``.env`` are put into the environment, where the OpenTelemetry exporters look for them.

    Raises:
        SettingsError: naming every wrong key.
    """
    _pass_on_otel(Path(ENV_FILE))
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


def _pass_on_otel(env_file: Path) -> None:
    for key, value in dotenv_values(env_file).items():
        if key.startswith("OTEL_") and value is not None:
            os.environ.setdefault(key, value)
