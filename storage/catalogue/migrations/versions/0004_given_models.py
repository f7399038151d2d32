"""given models"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "run_models",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("checkpoint_id", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["checkpoint_id"],
            ["checkpoints.id"],
            name=op.f("fk_run_models_checkpoint_id_checkpoints"),
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_run_models_run_id_runs")),
        sa.PrimaryKeyConstraint("run_id", "alias", "shard", name=op.f("pk_run_models")),
    )
    op.create_index(op.f("ix_run_models_checkpoint_id"), "run_models", ["checkpoint_id"])


def downgrade() -> None:
    op.drop_table("run_models")
