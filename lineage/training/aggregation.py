"""How the members of an ensemble answer as one (Bourtoule et al. 2021, arXiv 1912.03817).

A vote asks each member for its label alone, and keeps a member that is too sure of itself from
drowning the others; a mean asks for all it knows. Either may weigh members by the nominal sizes of
their shards. These are frozen, so no weight tells how many records were forgotten.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sqlalchemy.orm import Session

from lineage.errors import ProgramError
from lineage.training.specification import RunSpec
from storage import ledger
from storage.catalogue import tables

Answers = NDArray[np.float64]
"""Of a batch of n records: (n, classes), or (n,) for one value a record."""


class Aggregation(StrEnum):
    """How members are put together; its value is written down with each model version."""

    MEAN = "mean-probability"
    WEIGHTED_MEAN = "weighted-mean-probability"
    VOTE = "label-vote"
    WEIGHTED_VOTE = "weighted-label-vote"

    @classmethod
    def named(cls, way: Literal["mean", "vote"], *, weighted: bool) -> Self:
        """The aggregation by a ``mean`` or a ``vote``, in which members may be weighted."""
        kinds = {"mean": (cls.MEAN, cls.WEIGHTED_MEAN), "vote": (cls.VOTE, cls.WEIGHTED_VOTE)}
        return kinds[way][weighted]

    @property
    def votes(self) -> bool:
        """Whether members are asked for labels."""
        return self in (Aggregation.VOTE, Aggregation.WEIGHTED_VOTE)

    @property
    def weighted(self) -> bool:
        """Whether members count by the nominal sizes of their shards."""
        return self in (Aggregation.WEIGHTED_MEAN, Aggregation.WEIGHTED_VOTE)


def aggregated(how: Aggregation, answers: Sequence[ArrayLike], weights: Sequence[int]) -> Answers:
    """What members answer together: a mean of probabilities, or the share of votes of each class.

    The label of a record is the class with the most, and of equal ones the one with the lowest
    number, as ``argmax`` has it: for the vote of one member and for what all of them say. Where
    there is one value a record it is the probability of class 1: a member votes for it above 1/2.

    >>> sure, doubtful = [[0.9, 0.1]], [[0.4, 0.6]]
    >>> aggregated(Aggregation.MEAN, [sure, doubtful, doubtful], (1, 1, 1)).round(3).tolist()
    [[0.567, 0.433]]
    >>> aggregated(Aggregation.VOTE, [sure, doubtful, doubtful], (1, 1, 1)).argmax(axis=1).tolist()
    [1]
    >>> aggregated(Aggregation.WEIGHTED_VOTE, [sure, doubtful, doubtful], (6, 1, 1)).tolist()
    [[0.75, 0.25]]

    Raises:
        ProgramError: a vote of values that are no probabilities.
    """
    every = np.stack([np.asarray(each, np.float64) for each in answers])
    if how.votes:
        counts = np.array(weights if how.weighted else [1] * len(every), np.int64)
        votes: Answers = np.tensordot(counts, _ballots(every), 1) / counts.sum()
        return votes
    mean: Answers = np.average(every, axis=0, weights=weights if how.weighted else None)
    return mean


def _ballots(answers: Answers) -> NDArray[np.int64]:
    """A 1 for what each member votes for, and a 0 for what it does not."""
    if answers.ndim > 2 and answers.shape[-1] > 1:
        ballots: NDArray[np.int64] = np.eye(answers.shape[-1], dtype=np.int64)[answers.argmax(-1)]
        return ballots
    if ((answers < 0) | (answers > 1)).any():
        raise ProgramError(
            "a vote needs labels, and the model answers with one value that is no probability",
            hint="train it again with the mean: leave --aggregation vote out",
        )
    return (answers > 0.5).astype(np.int64)


def weights_of(session: Session, members: Iterable[tables.Checkpoint]) -> tuple[int, ...]:
    """The nominal records of each member's shard; at least 1."""
    runs = (session.get_one(tables.Run, member.run_id) for member in members)
    specs = (RunSpec.model_validate(run.specification) for run in runs)
    return tuple(max(1, sum(spec.schedule.nominal)) for spec in specs)


def model_digest(how: Aggregation, members: Sequence[str], weights: Sequence[int]) -> str:
    """The digest of an ensemble: of how it aggregates and its members' digests in shard order."""
    content: dict[str, object] = {"aggregation": how.value, "members": list(members)}
    if how.weighted:
        content["weights"] = list(weights)
    return ledger.json_digest(content)
