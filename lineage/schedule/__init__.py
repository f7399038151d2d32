"""Which record is trained on at which step, asked forward (to train) and inverse (to answer)."""

from lineage.schedule.contract import Epoch, Records, Schedule, Visits
from lineage.schedule.placement import cells, check, nominal_cells, shards_of, slices_of
from lineage.schedule.specification import ScheduleSpec, schedule_for

__all__ = [
    "Epoch",
    "Records",
    "Schedule",
    "ScheduleSpec",
    "Visits",
    "cells",
    "check",
    "nominal_cells",
    "schedule_for",
    "shards_of",
    "slices_of",
]
