"""What was compared: how many loops and steps, and what the verdicts were."""

import json
import os
from collections import Counter
from pathlib import Path

from tests.lineage.loops.verdict import Judgement, Verdict


class Counts:
    """Counts the judgements of a session."""

    def __init__(self) -> None:
        self.loops = 0
        self.steps: Counter[Verdict] = Counter()

    def add(self, judgement: Judgement) -> None:
        """Count one loop."""
        self.loops += 1
        self.steps += judgement.count()
        if judgement.complaints and not judgement.count()[Verdict.WRONG]:
            self.steps[Verdict.WRONG] += 1

    def document(self) -> dict[str, int]:
        """Return the counts by what they are of."""
        told = {**self.steps}
        refusals = told.pop(Verdict.REFUSED, 0)
        return {
            "loops composed": self.loops,
            "steps compared": sum(told.values()),
            "equal": told.get(Verdict.EQUAL, 0),
            "whole batches": told.get(Verdict.BATCH, 0),
            "bounds": told.get(Verdict.BOUND, 0),
            "incomplete": told.get(Verdict.INCOMPLETE, 0),
            "refusals": refusals,
            "wrong": told.get(Verdict.WRONG, 0),
        }

    def write(self) -> Path:
        """Put the counts into the file that SOAK_JSON names, beside what else is there."""
        path = Path(os.environ.get("SOAK_JSON", "soak.json"))
        known = json.loads(path.read_text("utf-8")) if path.exists() else {}
        path.write_text(json.dumps({**known, **self.document()}, indent=2) + "\n", "utf-8")
        return path
