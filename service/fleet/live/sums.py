"""The sums of the fleet as reconciliation reads them."""

from collections.abc import Mapping

from service.fleet.live.counts import FleetUnansweredError
from service.fleet.live.fields import amounts
from service.fleet.live.reading import FleetNumbers
from service.reconciliation.fleet_sums import FleetSumsUnreadError


class StoredSums:
    """Every tenant's sum, in names."""

    def __init__(self, numbers: FleetNumbers) -> None:
        self._numbers = numbers

    @property
    def since_ms(self) -> int:
        """Since when the fleet counts, in Unix milliseconds."""
        return self._numbers.since_ms

    async def read(self) -> Mapping[str, Mapping[str, float]]:
        """Return every tenant's fields of the live view; raise :class:`FleetSumsUnreadError`."""
        try:
            return {tenant_id: amounts(row) for tenant_id, row in (await self._numbers.every()).items()}
        except FleetUnansweredError as error:
            raise FleetSumsUnreadError(str(error)) from error
