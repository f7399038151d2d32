"""Models: names, versions made of checkpoints, and who was given them."""

from datetime import datetime

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from storage.catalogue.tables.base import Base


class Model(Base):
    """A name under which versions are published."""

    __tablename__ = "models"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime]
    retired_at: Mapped[datetime | None]


class ModelVersion(Base):
    """Checkpoints and how they are aggregated; ``interim`` while affected shards are retrained.

    The newest version of a model is the last by ``place``, then by ``sequence``: a replacement
    takes the place of what it replaces, so that one of an older version is not the newest.
    """

    __tablename__ = "model_versions"
    __table_args__ = (UniqueConstraint("model_id", "sequence"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"))
    sequence: Mapped[int]
    place: Mapped[int]
    aggregation: Mapped[str]
    digest: Mapped[str]
    interim: Mapped[bool]
    plan_id: Mapped[str | None]
    replaces_id: Mapped[str | None] = mapped_column(ForeignKey("model_versions.id"))
    created_at: Mapped[datetime]
    purged_at: Mapped[datetime | None]


class ModelMember(Base):
    """The checkpoint that a version takes from one shard."""

    __tablename__ = "model_members"

    version_id: Mapped[str] = mapped_column(ForeignKey("model_versions.id"), primary_key=True)
    shard: Mapped[int] = mapped_column(primary_key=True)
    checkpoint_id: Mapped[str] = mapped_column(ForeignKey("checkpoints.id"), index=True)


class Canary(Base):
    """A dataset, by name, on which versions of a model must not get worse than by ``drop``."""

    __tablename__ = "canaries"

    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"), primary_key=True)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"))
    label: Mapped[str]
    drop: Mapped[float]
    created_at: Mapped[datetime]


class Choice(Base):
    """A version was preferred to others, by people or by a search: it moved no weight of any."""

    __tablename__ = "choices"

    id: Mapped[str] = mapped_column(primary_key=True)
    version_id: Mapped[str] = mapped_column(ForeignKey("model_versions.id"), index=True)
    created_at: Mapped[datetime]
    rivals: Mapped[list["ChoiceRival"]] = relationship(
        order_by="ChoiceRival.version_id", lazy="selectin"
    )
    grounds: Mapped[list["ChoiceGround"]] = relationship(
        order_by="ChoiceGround.version_id", lazy="selectin"
    )

    @property
    def over(self) -> tuple[str, ...]:
        """The versions it was preferred to."""
        return tuple(each.version_id for each in self.rivals)

    @property
    def by(self) -> dict[str, str | None]:
        """The dataset versions that were looked at, and the measure of each that decided."""
        return {each.version_id: each.metric for each in self.grounds}


class ChoiceRival(Base):
    """A version that lost a choice."""

    __tablename__ = "choice_rivals"

    choice_id: Mapped[str] = mapped_column(ForeignKey("choices.id"), primary_key=True)
    version_id: Mapped[str] = mapped_column(
        ForeignKey("model_versions.id"), primary_key=True, index=True
    )


class ChoiceGround(Base):
    """A dataset version that a choice was made by, and the ``metric`` on it, where one is known."""

    __tablename__ = "choice_grounds"

    choice_id: Mapped[str] = mapped_column(ForeignKey("choices.id"), primary_key=True)
    version_id: Mapped[str] = mapped_column(
        ForeignKey("dataset_versions.id"), primary_key=True, index=True
    )
    metric: Mapped[str | None]


class Alias(Base):
    """A name that follows a promoted version, such as ``production``."""

    __tablename__ = "aliases"

    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"), primary_key=True)
    alias: Mapped[str] = mapped_column(primary_key=True)
    version_id: Mapped[str] = mapped_column(ForeignKey("model_versions.id"))
    created_at: Mapped[datetime]


class Publication(Base):
    """A version was put in use or given to a recipient, and not withdrawn since."""

    __tablename__ = "publications"

    id: Mapped[str] = mapped_column(primary_key=True)
    version_id: Mapped[str] = mapped_column(ForeignKey("model_versions.id"), index=True)
    recipient: Mapped[str]
    created_at: Mapped[datetime]
    withdrawn_at: Mapped[datetime | None]


class Hold(Base):
    """An artefact that purge must leave: quarantined, a residual, and it lowers the claim."""

    __tablename__ = "holds"

    id: Mapped[str] = mapped_column(primary_key=True)
    artefact_id: Mapped[str] = mapped_column(index=True)
    reason: Mapped[str]
    created_at: Mapped[datetime]
    released_at: Mapped[datetime | None]
