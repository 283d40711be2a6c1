"""``callscope simulate``: a carrier on a port of its own, calling a gateway.

Exit codes: 0 done, 1 the carrier cannot listen, 2 the command line itself is wrong.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final
from uuid import uuid4

import typer

from service.simulator.ground_truth import summary
from service.simulator.script_writer import USUAL, Shares
from service.simulator.simulator import CarrierOptions, Simulator
from service.simulator.tenants import numbers_of, simulated_tenants
from service.simulator.timing import TimeScale
from service.simulator.traffic import Plan, run
from service.tenants.errors import ImportRefusedError
from service.tenants.importing import read_file

TARGET: Final = "http://127.0.0.1:8000"
"""The gateway that is called unless others are named."""

_SHARES = ", ".join(f"{name}={share:g}" for name, share in asdict(USUAL).items())


def simulate(
    *,
    secret: Annotated[
        str, typer.Option(envvar="OPENAI_WEBHOOK_SECRET", help="Signs the webhooks: whsec_<base64>, as the gateway's.")
    ],
    target: Annotated[
        list[str] | None,
        typer.Option(help="The gateway that is called; repeatable: deliveries go to all in turn.", show_default=TARGET),
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 is every IPv4 address.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Where the gateway reaches the carrier; 0 takes any.")] = 9000,
    calls_per_second: Annotated[float, typer.Option(help="Calls begun a second, on average.")] = 5.0,
    calls: Annotated[int | None, typer.Option(help="End after so many calls.")] = None,
    duration: Annotated[float | None, typer.Option(help="Begin no call after so many seconds.")] = None,
    max_running: Annotated[int, typer.Option(help="Calls at a time; more are not placed.")] = 2000,
    tenants: Annotated[int, typer.Option(help="Call the numbers of so many tenants, tenant-001 and on.")] = 3,
    tenants_file: Annotated[
        Path | None, typer.Option(help="Call the numbers of these tenants: a file `tenants import` reads.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same calls.")] = 1,
    share: Annotated[
        list[str] | None, typer.Option(help=f"How often what happens, NAME=SHARE; repeatable. Usual: {_SHARES}.")
    ] = None,
    time_scale: Annotated[float, typer.Option(help="Real seconds that a second of conversation takes.")] = 1.0,
    linger: Annotated[
        float, typer.Option(min=0, help="Seconds a call goes on for another process once its gateway has left it.")
    ] = 0.0,
    fallback_instructions: Annotated[
        str | None, typer.Option(envvar="FALLBACK_INSTRUCTIONS", help="As the gateway's, to see when it uses them.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write what the carrier saw, as JSON.")] = None,
) -> None:
    """Be the carrier: call a gateway, converse as callers and agents do, and tell what happened as ground truth."""
    try:
        plan = Plan(
            run_id=uuid4().hex,
            seed=seed,
            calls_per_second=calls_per_second,
            calls=calls,
            seconds=duration,
            max_running=max_running,
            shares=_shares(share or []),
        )
        line = CarrierOptions(
            secret=secret,
            numbers=_numbers(tenants, tenants_file),
            time_scale=TimeScale(scale=time_scale),
            fallback_instructions=fallback_instructions,
            linger_seconds=linger,
            host=host,
            port=port,
        )
        carrier = Simulator(line, target=_targets(target or [TARGET]))
    except (ValueError, ImportRefusedError) as error:
        raise typer.BadParameter(str(error)) from error
    try:
        asyncio.run(run(carrier, plan, tell=typer.echo))
    except OSError as error:
        typer.echo(f"the carrier cannot listen on port {port}: {error.strerror}", err=True)
        raise typer.Exit(1) from error
    _report(carrier, plan, report)


def _targets(texts: Sequence[str]) -> Sequence[str]:
    for text in texts:
        if not text.startswith(("http://", "https://")):
            raise ValueError(f"a target must begin with http:// or https://, got {text!r}")
    return [text.rstrip("/") for text in texts]


def _shares(texts: Sequence[str]) -> Shares:
    chosen = asdict(USUAL)
    for text in texts:
        name, _, value = text.partition("=")
        if name not in chosen:
            raise ValueError(f"there is no share {name!r}; there are {', '.join(chosen)}")
        chosen[name] = float(value)
    return Shares(**chosen)


def _numbers(count: int, file: Path | None) -> Mapping[str, str]:
    if file is None:
        return numbers_of(simulated_tenants(count))
    return {number: spec.tenant_id for spec in read_file(file) for number in spec.numbers}


def _report(carrier: Simulator, plan: Plan, file: Path | None) -> None:
    ground_truth = carrier.ground_truth()
    typer.echo(summary(ground_truth))
    if file is not None:
        file.write_text(json.dumps({"seed": plan.seed, "run_id": plan.run_id, **ground_truth}, indent=1))
        typer.echo(f"report in {file}")
