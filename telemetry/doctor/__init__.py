"""Does what is exported arrive? Sends one test item a signal the way the service would, and says what became of it."""

from telemetry.doctor.diagnosis import ExportFinding, Verdict, diagnose

__all__ = ["ExportFinding", "Verdict", "diagnose"]
