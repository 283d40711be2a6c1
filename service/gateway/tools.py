"""The tools that the model may ask the gateway to run during a call."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from service.gateway.carriers.carrier import Tool
from telemetry.calls.timing import TypedError

TRANSFER: Final = "transfer_call"
END: Final = "end_call"
CURRENT_TIME: Final = "current_time"

MAX_ARGUMENT_CHARACTERS: Final = 16_384
"""Arguments longer than this are refused unread."""

Arguments = Mapping[str, Any]


class ToolError(TypedError):
    """The tool cannot do what was asked; the message is told to the model, so it holds nothing secret.

    ``error_type`` tells a tool that there is none of from arguments that are none, and both from too many at once.
    """

    def __init__(self, message: str, error_type: str = "invalid_arguments") -> None:
        super().__init__(message)
        self.error_type = error_type


class CallControl(Protocol):
    """A tool's control over its call."""

    @property
    def transfer_targets(self) -> Mapping[str, str]:
        """The tenant's transfer destinations: name to URI."""
        ...

    async def transfer(self, target: str) -> None:
        """Hand the caller to one of them."""
        ...

    async def end(self) -> None:
        """Hang up."""
        ...


Handler = Callable[[CallControl, Arguments], Awaitable[str | None]]


@dataclass(frozen=True, slots=True)
class CallTool:
    """A tool and what it does: the handler answers what the model is told, or ``None`` where nothing is left to say."""

    spec: Tool
    handle: Handler


def tools_for(targets: Mapping[str, str]) -> dict[str, CallTool]:
    """Return the tools of a call of a tenant with these transfer destinations; without any, no transfer is offered."""
    offered = [_END_TOOL, _CURRENT_TIME_TOOL]
    if targets:
        offered.append(_transfer_tool(sorted(targets)))
    return {tool.spec.name: tool for tool in offered}


def read_arguments(written: str) -> Arguments:
    """Return the model's arguments.

    Raises:
        ToolError: if they are too long or not a JSON object.
    """
    if len(written) > MAX_ARGUMENT_CHARACTERS:
        raise ToolError(f"arguments are longer than {MAX_ARGUMENT_CHARACTERS} characters")
    try:
        arguments = json.loads(written or "{}")
    except ValueError:
        raise ToolError("arguments are not JSON") from None
    if not isinstance(arguments, dict):
        raise ToolError("arguments must be a JSON object")
    return arguments


async def _transfer(control: CallControl, arguments: Arguments) -> str:
    target = arguments.get("target")
    if not isinstance(target, str) or target not in control.transfer_targets:
        raise ToolError(f"target must be one of {', '.join(sorted(control.transfer_targets))}")
    await control.transfer(target)
    return json.dumps({"ok": True})


async def _end(control: CallControl, _arguments: Arguments) -> None:
    await control.end()


async def _current_time(_control: CallControl, _arguments: Arguments) -> str:
    return json.dumps({"utc": datetime.now(UTC).isoformat(timespec="seconds")})


_NO_ARGUMENTS: Final[Mapping[str, Any]] = {"type": "object", "properties": {}}

_END_TOOL = CallTool(Tool(END, "End the call. Say goodbye first.", _NO_ARGUMENTS), _end)
_CURRENT_TIME_TOOL = CallTool(Tool(CURRENT_TIME, "The present date and time in UTC.", _NO_ARGUMENTS), _current_time)


def _transfer_tool(names: list[str]) -> CallTool:
    parameters = {
        "type": "object",
        "properties": {"target": {"type": "string", "enum": names}},
        "required": ["target"],
    }
    return CallTool(Tool(TRANSFER, "Hand the caller over to a person or another line.", parameters), _transfer)
