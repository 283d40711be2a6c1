"""The release after this one: its sources, with a number more that processes tell each other."""

from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Final

ROOT: Final = Path(__file__).parents[3]

FIELD: Final = "finished_calls"
"""A thirteenth field of the live endpoints, which counts what `ended_calls` does."""

_CHANGES: Final = (
    (
        "service/fleet/live/fields.py",
        '    "inferred_transitions",\n)\n',
        '    "inferred_transitions",\n    FIELD,\n)\n',
    ),
    (
        "telemetry/semconv/catalogue.py",
        '        Live("ended_calls"),\n',
        '        Live("ended_calls"),\n        Live(FIELD),\n',
    ),
    ("telemetry/semconv/catalogue.py", '    "minutes_processed",\n)\n', '    "minutes_processed",\n    FIELD,\n)\n'),
)
# A file, what is in it, and what the next release has in its place.


def next_release(folder: Path) -> Path:
    """Write the sources of the next release; return the folder for `PYTHONPATH`."""
    for package in ("service", "telemetry"):
        copytree(ROOT / package, folder / package, ignore=ignore_patterns("__pycache__"))
    for name, now, then in _CHANGES:
        file = folder / name
        text = file.read_text(encoding="utf-8")
        assert text.count(now) == 1, f"{file.name} has moved on"
        file.write_text(text.replace(now, then.replace("FIELD", repr(FIELD))), encoding="utf-8")
    return folder
