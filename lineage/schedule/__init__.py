"""Which record is trained on at which step, asked forward (to train) and inverse (to answer)."""

from lineage.schedule.contract import Epoch, Forward, Records, Schedule, Selection, Visits
from lineage.schedule.none import NoSteps
from lineage.schedule.placement import (
    Division,
    cells,
    check,
    nominal_cells,
    shards_of,
    slices_of,
)
from lineage.schedule.recorded import RecordedSchedule
from lineage.schedule.risk import Risk
from lineage.schedule.specification import NoStepsSpec, RecordedSpec, ScheduleSpec, schedule_for

__all__ = [
    "Division",
    "Epoch",
    "Forward",
    "NoSteps",
    "NoStepsSpec",
    "RecordedSchedule",
    "RecordedSpec",
    "Records",
    "Risk",
    "Schedule",
    "ScheduleSpec",
    "Selection",
    "Visits",
    "cells",
    "check",
    "nominal_cells",
    "schedule_for",
    "shards_of",
    "slices_of",
]
