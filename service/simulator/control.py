"""The four control requests: what each asks for, does, and tells the gateway; and how each can go wrong."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service.simulator.faults import DropConnection, Fault, NeverAnswer, Operation, Refuse
from service.simulator.leg import CallLeg, CarrierError, call_not_found
from service.simulator.listener import abort

DECLINE = 603
"""The SIP status of a reject that names none."""

SIP_ERRORS = range(300, 700)
"""SIP statuses a caller can be turned away with."""

DESTINATIONS = ("tel:", "sip:", "sips:")
"""What a refer's ``target_uri`` may begin with."""

Body = Mapping[str, Any]
"""The JSON object of a request; empty where there was none."""


def invalid(param: str, problem: str) -> CarrierError:
    """A request whose body cannot be served."""
    return CarrierError(400, "invalid_value", f"Invalid value for '{param}': {problem}.")


@dataclass(frozen=True, slots=True)
class Control:
    """One operation, in the order its parts happen."""

    asked: Callable[[CallLeg, Body], None]
    """The request arrived, whatever comes of it; raises for a body that cannot be served."""
    carry_out: Callable[[CallLeg, Body], None]
    """Do it; raises :class:`CarrierError` where the call's state forbids it."""
    known: Callable[[CallLeg], None]
    """The gateway is told that it succeeded."""
    lost: Callable[[CallLeg], None]
    """It was done and the gateway is not told."""


def _nothing(_: CallLeg) -> None:
    """Such a request leaves nothing to note."""


def _accept_asked(leg: CallLeg, body: Body) -> None:
    if body.get("type") != "realtime":
        raise invalid("type", "expected 'realtime'")
    leg.record.accept_asked(body.get("instructions"))


def _reject_asked(leg: CallLeg, body: Body) -> None:
    status = body.get("status_code", DECLINE)
    if status not in SIP_ERRORS:
        raise invalid("status_code", "expected a SIP status from 300 to 699")
    leg.record.rejected(status)


def _refer_asked(_: CallLeg, body: Body) -> None:
    if not str(body.get("target_uri", "")).startswith(DESTINATIONS):
        raise invalid("target_uri", "expected a tel: or sip: URI")


CONTROLS: Mapping[Operation, Control] = {
    Operation.ACCEPT: Control(
        asked=_accept_asked,
        carry_out=lambda leg, body: leg.accept(body),
        known=lambda leg: leg.record.accept_known(),
        lost=lambda leg: leg.record.count("accepts_lost"),
    ),
    Operation.REJECT: Control(
        asked=_reject_asked, carry_out=lambda leg, _: leg.reject(), known=_nothing, lost=_nothing
    ),
    Operation.REFER: Control(
        asked=_refer_asked,
        carry_out=lambda leg, _: leg.refer(),
        known=lambda leg: leg.record.refer_known(),
        lost=_nothing,
    ),
    Operation.HANGUP: Control(
        asked=lambda leg, _: _nothing(leg), carry_out=lambda leg, _: leg.hang_up(), known=_nothing, lost=_nothing
    ),
}
"""Every control request a gateway can make."""


def error_response(error: CarrierError) -> JSONResponse:
    """An error as the carrier words it."""
    what = {"message": error.message, "type": error.kind, "param": None, "code": error.code}
    return JSONResponse({"error": what}, status_code=error.status)


async def serve(request: Request, leg: CallLeg, operation: Operation, body: Body) -> Response:
    """Answer a control request, or leave it unanswered as the call's faults say; raises :class:`CarrierError`."""
    control, fault = CONTROLS[operation], leg.ask(operation)
    control.asked(leg, body)
    if fault is None:
        control.carry_out(leg, body)
        control.known(leg)
        return Response()
    if fault.processed:
        control.carry_out(leg, body)
        control.lost(leg)
    return await _go_wrong(request, fault)


async def _go_wrong(request: Request, fault: Fault) -> Response:
    match fault:
        case Refuse():
            return error_response(_refusal(fault.status))
        case NeverAnswer():
            while (await request.receive())["type"] != "http.disconnect":
                pass
        case DropConnection():
            await abort(request)
    return Response()


def _refusal(status: int) -> CarrierError:
    not_found = call_not_found()
    if status == not_found.status:
        return not_found
    kind = "server_error" if status >= 500 else "invalid_request_error"  # noqa: PLR2004 - RFC 9110's server errors
    return CarrierError(status, None, f"The simulated carrier answers {status}", kind=kind)
