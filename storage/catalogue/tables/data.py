"""Datasets and their versions, transforms between them, and the fence around the erased."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from storage.catalogue.tables.base import Base


class Dataset(Base):
    """A name, the declared columns, and the version new runs read."""

    __tablename__ = "datasets"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    namespace: Mapped[str]
    columns: Mapped[list[dict[str, Any]]]
    id_columns: Mapped[list[str]]
    subject_columns: Mapped[list[str]]
    head_id: Mapped[str | None]
    created_at: Mapped[datetime]


class Part(Base):
    """The rows of one ``dataset add``: positions ``first_position … first_position + rows``."""

    __tablename__ = "parts"

    id: Mapped[str] = mapped_column(primary_key=True)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"), index=True)
    first_position: Mapped[int]
    rows: Mapped[int]
    source: Mapped[str]
    created_at: Mapped[datetime]


class Chunk(Base):
    """A run of positions of a part, kept as one manifest object and one data object."""

    __tablename__ = "chunks"
    __table_args__ = (UniqueConstraint("dataset_id", "first_position"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    part_id: Mapped[str] = mapped_column(ForeignKey("parts.id"), index=True)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"))
    first_position: Mapped[int]
    rows: Mapped[int]
    manifest: Mapped[str]
    data: Mapped[str]


class Redaction(Base):
    """An object replaced by one in which forgotten rows are null."""

    __tablename__ = "redactions"

    id: Mapped[str] = mapped_column(primary_key=True)
    chunk_id: Mapped[str] = mapped_column(ForeignKey("chunks.id"), index=True)
    plan_id: Mapped[str]
    kind: Mapped[str]
    old: Mapped[str]
    new: Mapped[str]
    created_at: Mapped[datetime]


class DatasetVersion(Base):
    """The first ``rows`` positions of a dataset less a deletion vector (a Roaring bitmap)."""

    __tablename__ = "dataset_versions"
    __table_args__ = (UniqueConstraint("dataset_id", "sequence"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"))
    sequence: Mapped[int]
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("dataset_versions.id"))
    rows: Mapped[int]
    live: Mapped[int]
    deleted: Mapped[bytes]
    root: Mapped[str]
    digest: Mapped[str]
    reason: Mapped[str]
    created_at: Mapped[datetime]


class Placement(Base):
    """The nominal records of each shard and slice, frozen at the first train with that topology.

    ``form`` tells divisions of as many shards and slices apart: it is empty for the plain one.
    """

    __tablename__ = "placements"

    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"), primary_key=True)
    shards: Mapped[int] = mapped_column(primary_key=True)
    slices: Mapped[int] = mapped_column(primary_key=True)
    form: Mapped[str] = mapped_column(primary_key=True)
    cells: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class Transform(Base):
    """A function made one dataset version of others: the output is f(inputs).

    It wrote ``rows`` output positions from ``first_position``. ``mapping`` is the object that says
    which came from which. ``by`` names the columns whose equal values make a group.
    """

    __tablename__ = "transforms"

    id: Mapped[str] = mapped_column(primary_key=True)
    ref: Mapped[str]
    root: Mapped[str]
    source: Mapped[str]
    scope: Mapped[str]
    by: Mapped[list[str]]
    output_id: Mapped[str] = mapped_column(ForeignKey("dataset_versions.id"), index=True)
    first_position: Mapped[int]
    rows: Mapped[int]
    mapping: Mapped[str]
    created_at: Mapped[datetime]
    inputs: Mapped[list["TransformInput"]] = relationship(
        order_by="TransformInput.place", lazy="selectin"
    )
    models: Mapped[list["TransformModel"]] = relationship(lazy="selectin")

    @property
    def input_ids(self) -> tuple[str, ...]:
        """The dataset versions it was given, in the order of its arguments."""
        return tuple(each.version_id for each in self.inputs)

    @property
    def given(self) -> dict[str, dict[int, str]]:
        """The models it was given: alias → shard → checkpoint."""
        given: dict[str, dict[int, str]] = {}
        for each in sorted(self.models, key=lambda each: (each.alias, each.shard)):
            given.setdefault(each.alias, {})[each.shard] = each.checkpoint_id
        return given


class TransformInput(Base):
    """A dataset version that a transform was given, in the ``place`` of an argument.

    It was executed over the positions ``seen`` (a Roaring bitmap), which others had not been
    executed over yet.
    """

    __tablename__ = "transform_inputs"

    transform_id: Mapped[str] = mapped_column(ForeignKey("transforms.id"), primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True)
    version_id: Mapped[str] = mapped_column(ForeignKey("dataset_versions.id"), index=True)
    seen: Mapped[bytes]


class TransformModel(Base):
    """A checkpoint of a model that a transform was given, such as the teacher of labels it made.

    ``alias`` is the model's name in the function; an ensemble has a member a ``shard``.
    """

    __tablename__ = "transform_models"

    transform_id: Mapped[str] = mapped_column(ForeignKey("transforms.id"), primary_key=True)
    alias: Mapped[str] = mapped_column(primary_key=True)
    shard: Mapped[int] = mapped_column(primary_key=True)
    checkpoint_id: Mapped[str] = mapped_column(ForeignKey("checkpoints.id"), index=True)


class Secret(Base):
    """A subject's key: pseudonyms are made with it, and destroying it unlinks them."""

    __tablename__ = "secrets"

    fingerprint: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[bytes]


class KeyDigest(Base):
    """The SHA-256 of a file among the store's keys, which is checked whenever it is read."""

    __tablename__ = "key_digests"

    name: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str]


class Suppression(Base):
    """A fence: the subject or record of this fingerprint may not enter the store again."""

    __tablename__ = "suppressions"
    __table_args__ = (UniqueConstraint("fingerprint", "request_id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    scope: Mapped[str]
    fingerprint: Mapped[str] = mapped_column(index=True)
    request_id: Mapped[str]
    created_at: Mapped[datetime]
    lifted_at: Mapped[datetime | None]
