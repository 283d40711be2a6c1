"""The page of derived figures says what the table of figures says, and its code runs."""

import re
from pathlib import Path

import httpx2
from fastapi import FastAPI

from service.http.errors import use_problem_details
from service.http.security import AdminAttempts, require_admin
from service.http.tokens import HEADER, AdminTokens
from service.tenants.limits import CallLimits
from telemetry.metrics.figures import DISTRIBUTIONS, FIGURES, PERCENTILES
from telemetry.metrics.past import WindowName
from telemetry.setup import start_telemetry
from tests.support.server import TIMEOUT_SECONDS, TLS, serving

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "derived-metrics.md").read_text()


class Everyone:
    """Knows every tenant."""

    async def knows(self, tenant_id: str) -> bool:
        return bool(tenant_id)


def test_every_figure_is_explained_as_it_is_defined() -> None:
    """Whoever adds a figure or changes its meaning says so on the page, in the same words."""
    rows = [
        f"| `{name}` | `{figure.unit}` | {figure.meaning} |"
        for name, figure in FIGURES.items()
        if name.partition(".")[0] not in DISTRIBUTIONS
    ]
    first, *others = PERCENTILES
    rest = ", ".join(f"`.{label}`" for label in others)
    rows += [f"| `{name}.{first}`, {rest} | `{instrument.name}` |" for name, instrument in DISTRIBUTIONS.items()]
    rows += [f"| `{name}` |" for name in WindowName]
    missing = [row for row in rows if row not in PAGE]
    assert missing == []


def test_what_is_shown_for_a_gateway_of_ones_own_runs() -> None:
    """The code, in an app with the parts it names, answers the three paths the page begins with."""
    (snippet,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    app = FastAPI()
    use_problem_details(app)
    with start_telemetry({}) as telemetry:
        parts = {
            "telemetry": telemetry,
            "limits": CallLimits(10),
            "tenants": Everyone(),
            "admin": require_admin(AdminTokens(["secret"]), AdminAttempts()),
            "app": app,
        }
        exec(compile(snippet, "derived-metrics.md", "exec"), parts)  # noqa: S102 -- our own page
        telemetry.tracker.received("call-1", "acme")
        with (
            serving(app) as url,
            httpx2.Client(
                verify=TLS, base_url=url, headers={HEADER: "secret"}, trust_env=False, timeout=TIMEOUT_SECONDS
            ) as client,
        ):
            paths = re.findall(r"http://127.0.0.1:8000([^\s\"]+)", PAGE)
            answers = [client.get(path) for path in paths]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert answers[1].json()["windows"]["1h"]["received"] == 1
