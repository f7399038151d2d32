"""What a plan is: a frozen DAG of tasks with costs and reasons, and what was rejected.

A plan names checkpoints, runs, versions and positions; never a person.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from unlearn.claim import Claim


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Probe(_Frozen):
    """Execute one recorded segment again, and compare digests: are bits reproducible here?

    It speaks for the replays of these ``runs``.
    """

    kind: Literal["probe"] = "probe"
    program_id: str
    segment_id: str
    runs: tuple[str, ...] = ()


class Interim(_Frozen):
    """Publish a model without its affected shards, which is unlearned at once."""

    kind: Literal["interim"] = "interim"
    version_id: str
    members: dict[int, str] = Field(description="shard → clean checkpoint")


class Transform(_Frozen):
    """Execute a transform again on the retained rows.

    ``given`` has what stands in for each checkpoint of a model that it was given.
    """

    kind: Literal["transform"] = "transform"
    transform_id: str
    given: dict[str, "Made"] = Field(default_factory=dict)


class Replay(_Frozen):
    """Execute a run again from a restart point to a step, over its inputs as they are retained.

    ``restart`` is the id of a clean checkpoint, the id of the task that makes one (then
    ``restart_step`` and ``restart_edition`` tell which), or None: from scratch. ``given`` has what
    stands in for each checkpoint of a model that the run was given.
    """

    kind: Literal["replay"] = "replay"
    run_id: str
    restart: str | None
    restart_step: int
    restart_edition: int = 0
    first_step: int
    until: int
    fallback_from: str | None = None
    given: dict[str, "Made"] = Field(default_factory=dict)


class External(_Frozen):
    """Have the owner of an observed run train it again, by their command, on what is retained.

    ``given`` is as for a replay.
    """

    kind: Literal["external"] = "external"
    run_id: str
    command: tuple[str, ...]
    folder: str
    given: dict[str, "Made"] = Field(default_factory=dict)


class Aggregate(_Frozen):
    """Put the members of a replacement version together.

    Shards that would learn from no record any more are ``left_out``, with what they had learned.
    """

    kind: Literal["aggregate"] = "aggregate"
    version_id: str
    members: dict[int, "Made | Kept"]
    left_out: dict[int, str] = Field(default_factory=dict)


class Canary(_Frozen):
    """Measure what an aggregate task put together beside the version that it is to replace."""

    kind: Literal["canary"] = "canary"
    version_id: str
    aggregate: str


class Kept(_Frozen):
    """A clean checkpoint that stays a member."""

    checkpoint_id: str


class Made(_Frozen):
    """A checkpoint that a task makes, at a step.

    An ``edition`` other than 0 is a state of a watched loop that changed without a step.
    """

    task: str
    step: int
    edition: int = 0

    @property
    def key(self) -> str:
        """The key of the checkpoint in the result of its task."""
        return key_of(self.step, self.edition)


def key_of(step: int, edition: int) -> str:
    """Return the key of a checkpoint in the result of the task that makes it.

    >>> key_of(60, 0), key_of(60, 1)
    ('60', '60.1')
    """
    return f"{step}.{edition}" if edition else str(step)


class Check(_Frozen):
    """Gather the evidence while what it needs still exists, and decide the claim."""

    kind: Literal["check"] = "check"


class Publish(_Frozen):
    """Make the replacement versions the newest, and move aliases to them.

    Of versions that ``ended`` no member is left: nothing replaces them.
    """

    kind: Literal["publish"] = "publish"
    ended: tuple[str, ...] = ()


class Purge(_Frozen):
    """Destroy what descends from the forgotten: checkpoints, fitted artefacts, rows and salts."""

    kind: Literal["purge"] = "purge"
    checkpoints: tuple[str, ...]
    fits: tuple[str, ...]
    versions: tuple[str, ...]


Work = Annotated[
    Probe | Interim | Transform | Replay | External | Aggregate | Canary | Check | Publish | Purge,
    Field(discriminator="kind"),
]


class Task(_Frozen):
    """One unit of work: (record, step) pairs to recompute in ``visits``, expected ``seconds``."""

    id: str
    depends_on: tuple[str, ...]
    work: Work
    visits: int
    seconds: float
    reason: str


class Rejected(_Frozen):
    """A way that was considered and lost; ``task`` is the one that it would have been done by."""

    name: str
    visits: int
    why: str
    task: str | None = None


class Accuracy(_Frozen):
    """The share of a dataset's rows that a version gets right: as it is, and without its
    affected shards (None where none would be left).
    """

    dataset: str
    whole: float
    interim: float | None


class Affected(_Frozen):
    """What descends from the forgotten records, by id."""

    runs: tuple[str, ...]
    segments: tuple[str, ...]
    checkpoints: tuple[str, ...]
    versions: tuple[str, ...]


class Plan(_Frozen):
    """What will be done for some requests, pinned to a revision of the graph.

    ``forget`` holds, per dataset id, a portable Roaring bitmap (base64) of every position that no
    recomputed segment may see: those of these requests and of all earlier ones.

    On so many ``workers`` it is expected to take ``duration`` seconds, of which no more workers
    save those of the ``critical`` tasks. ``latest_start`` leaves the store's policy of safety
    before the ``deadline``, the earliest of its requests. ``adaptive`` requests came after a model
    was published, and may depend on it. ``accuracy`` is by version id, where it
    was asked for. With ``exact_selection`` what measures on the forgotten records may have steered
    is recomputed too.
    """

    requests: tuple[str, ...]
    graph_revision: int
    forget: dict[str, str]
    records: int
    affected: Affected
    total_checkpoints: int
    tasks: tuple[Task, ...]
    visits: int
    seconds: float
    full_retrain_visits: int
    full_retrain_seconds: float
    deadline: datetime | None = None
    workers: int = 1
    duration: float = 0.0
    critical: tuple[str, ...] = ()
    latest_start: datetime | None = None
    adaptive: tuple[str, ...] = ()
    claim_possible: Claim
    notes: tuple[str, ...]
    accuracy: dict[str, Accuracy] = Field(default_factory=dict)
    exact_selection: bool = False
    rejected: tuple[Rejected, ...]

    def task(self, task_id: str) -> Task:
        """The task of this id."""
        return next(task for task in self.tasks if task.id == task_id)

    def taught(self, results: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
        """What was made in place of checkpoints that transforms were given, so far: id → id."""
        return {
            old: results[new.task]["checkpoints"][new.key]
            for task in self.tasks
            if task.work.kind == "transform"
            for old, new in task.work.given.items()
            if new.task in results
        }
