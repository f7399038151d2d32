"""What a plan is: a frozen DAG of tasks with costs and reasons, and what was rejected.

A plan names checkpoints, runs, versions and positions; never a person.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from unlearn.claim import Claim


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Probe(_Frozen):
    """Execute one recorded segment again, and compare digests: are bits reproducible here?"""

    kind: Literal["probe"] = "probe"
    program_id: str
    segment_id: str


class Interim(_Frozen):
    """Publish a model without its affected shards, which is unlearned at once."""

    kind: Literal["interim"] = "interim"
    version_id: str
    members: dict[int, str] = Field(description="shard → clean checkpoint")


class Transform(_Frozen):
    """Execute a transform again on the retained rows."""

    kind: Literal["transform"] = "transform"
    transform_id: str


class Replay(_Frozen):
    """Execute a run again from a restart point to a step, over its inputs as they are retained.

    ``restart`` is the id of a clean checkpoint, the id of the replay task that makes one (then
    ``restart_step`` tells which), or None: from scratch. ``given`` has what stands in for each
    checkpoint of a model that the run was given.
    """

    kind: Literal["replay"] = "replay"
    run_id: str
    restart: str | None
    restart_step: int
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


class Kept(_Frozen):
    """A clean checkpoint that stays a member."""

    checkpoint_id: str


class Made(_Frozen):
    """A checkpoint that a replay task makes, at a step."""

    task: str
    step: int


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
    Probe | Interim | Transform | Replay | External | Aggregate | Check | Publish | Purge,
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
    """A way that was considered and lost."""

    name: str
    visits: int
    why: str


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
    claim_possible: Claim
    notes: tuple[str, ...]
    rejected: tuple[Rejected, ...]

    def task(self, task_id: str) -> Task:
        """The task of this id."""
        return next(task for task in self.tasks if task.id == task_id)
