"""Recordings: what runs were given, where no function can say, and who was only watched."""

from datetime import datetime

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from storage.catalogue.tables.base import Base


class Recording(Base):
    """The visits of a run, in files; ``ordered`` where each batch's order is kept."""

    __tablename__ = "recordings"

    id: Mapped[str] = mapped_column(primary_key=True)
    ordered: Mapped[bool]
    created_at: Mapped[datetime]


class RecordingFile(Base):
    """A file of a recording: ``storage.exposures.File``."""

    __tablename__ = "recording_files"

    recording_id: Mapped[str] = mapped_column(ForeignKey("recordings.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    first: Mapped[int] = mapped_column(primary_key=True)
    last: Mapped[int]
    visits: Mapped[int]
    object: Mapped[str] = mapped_column(index=True)


class RunRecording(Base):
    """The recording that says what a run was given.

    A run that ``draws`` writes it; every other follows what is there. ``unknown`` counts visits of
    records that no dataset holds: with any, nothing about the run is complete. ``bounds`` is a
    bitmap of the steps whose records are an upper bound of those they learned from.
    """

    __tablename__ = "run_recordings"

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    recording_id: Mapped[str] = mapped_column(ForeignKey("recordings.id"), index=True)
    draws: Mapped[bool]
    unknown: Mapped[int]
    bounds: Mapped[bytes | None]


class ObservedRun(Base):
    """A run of somebody's own loop, which only its owner can execute again: by ``command``."""

    __tablename__ = "observed_runs"

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    command: Mapped[list[str]]
    folder: Mapped[str]
