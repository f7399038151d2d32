"""recordings"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "recordings",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("ordered", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recordings")),
    )
    op.create_table(
        "recording_files",
        sa.Column("recording_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("first", sa.Integer(), nullable=False),
        sa.Column("last", sa.Integer(), nullable=False),
        sa.Column("visits", sa.Integer(), nullable=False),
        sa.Column("object", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["recording_id"],
            ["recordings.id"],
            name=op.f("fk_recording_files_recording_id_recordings"),
        ),
        sa.PrimaryKeyConstraint("recording_id", "kind", "first", name=op.f("pk_recording_files")),
    )
    op.create_index(op.f("ix_recording_files_object"), "recording_files", ["object"])
    op.create_table(
        "run_recordings",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("recording_id", sa.String(), nullable=False),
        sa.Column("draws", sa.Boolean(), nullable=False),
        sa.Column("unknown", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["recording_id"],
            ["recordings.id"],
            name=op.f("fk_run_recordings_recording_id_recordings"),
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name=op.f("fk_run_recordings_run_id_runs")
        ),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_run_recordings")),
    )
    op.create_index(op.f("ix_run_recordings_recording_id"), "run_recordings", ["recording_id"])
    op.create_table(
        "observed_runs",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("command", sa.JSON(), nullable=False),
        sa.Column("folder", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_observed_runs_run_id_runs")),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_observed_runs")),
    )


def downgrade() -> None:
    op.drop_table("observed_runs")
    op.drop_table("run_recordings")
    op.drop_table("recording_files")
    op.drop_table("recordings")
