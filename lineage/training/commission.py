"""A commission: what a plan asks the owner of an observed loop to train again, and the answer.

The owner's command finds the path of the commission, a JSON file, in ``EXPUNGE_TASK``, and the same
JSON on its standard input. A loop that is observed takes it up by itself and answers.
"""

import os
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict

from lineage.errors import RunError
from lineage.store import Store

VARIABLE = "EXPUNGE_TASK"


class Commission(BaseModel):
    """Train the model of run ``run`` again, on dataset version ``version`` and nothing else.

    ``records`` is a Parquet file of that version's rows, in order, for as long as the task runs.
    ``stands_in`` names, for a checkpoint that descends from what is forgotten, the one to begin
    with in its place. ``answer`` is where the answer belongs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    store: Path
    run: str
    model: str
    dataset: str
    version: str
    retained: int
    records: Path
    stands_in: dict[str, str]
    answer: Path

    @classmethod
    def given(cls) -> Self | None:
        """The commission that this process has to carry out; None where it was started freely."""
        place = os.environ.get(VARIABLE)
        if place is None:
            return None
        return cls.model_validate_json(Path(place).read_text("utf-8"))

    def check(self, store: Store, dataset: str, model: str) -> None:
        """Make sure that a loop is the one that was asked for.

        Raises:
            RunError: it is about another store, dataset or model.
        """
        if (self.store, self.dataset, self.model) != (store.path, dataset, model):
            raise RunError(
                f"task {self.task} asks for model {self.model!r} on dataset {self.dataset!r} of "
                f"the store at {self.store}; this loop trains {model!r} on {dataset!r} of "
                f"{store.path}",
                hint="let the command train the model that the task names, and no other",
            )


class Answer(BaseModel):
    """What came of a commission: the run that trained, on which version, to which state."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    dataset_version: str
    model_digest: str
