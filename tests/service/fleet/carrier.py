"""The limit as the carrier sees it: accepted calls that run at the same time."""

from collections import Counter

import pytest

from service.simulator.record import CallNotes, End


class RunningAtCarrier:
    """Counts the calls between the answer to their accept and their end, and keeps the most there ever were."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.running: set[str] = set()
        self.most = 0
        self.of_tenant: Counter[str] = Counter()
        self.most_of_tenant: Counter[str] = Counter()
        accept_known, finished = CallNotes.accept_known, CallNotes.finished

        def accepted(notes: CallNotes) -> None:
            accept_known(notes)
            self._began(notes)

        def over(notes: CallNotes, end: End) -> None:
            self._ended(notes)
            finished(notes, end)

        monkeypatch.setattr(CallNotes, "accept_known", accepted)
        monkeypatch.setattr(CallNotes, "finished", over)

    def _began(self, notes: CallNotes) -> None:
        call_id, tenant = notes.dialled.call_id, notes.dialled.tenant_id
        if call_id not in self.running:
            self.running.add(call_id)
            self.of_tenant[tenant] += 1
            self.most = max(self.most, len(self.running))
            self.most_of_tenant[tenant] = max(self.most_of_tenant[tenant], self.of_tenant[tenant])

    def _ended(self, notes: CallNotes) -> None:
        if notes.dialled.call_id in self.running:
            self.running.discard(notes.dialled.call_id)
            self.of_tenant[notes.dialled.tenant_id] -= 1
