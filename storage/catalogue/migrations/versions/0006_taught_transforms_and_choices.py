"""taught transforms and choices"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "transform_models",
        sa.Column("transform_id", sa.String(), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("checkpoint_id", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["checkpoint_id"],
            ["checkpoints.id"],
            name=op.f("fk_transform_models_checkpoint_id_checkpoints"),
        ),
        sa.ForeignKeyConstraint(
            ["transform_id"],
            ["transforms.id"],
            name=op.f("fk_transform_models_transform_id_transforms"),
        ),
        sa.PrimaryKeyConstraint("transform_id", "alias", "shard", name=op.f("pk_transform_models")),
    )
    op.create_index(
        op.f("ix_transform_models_checkpoint_id"), "transform_models", ["checkpoint_id"]
    )
    op.create_table(
        "choices",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("version_id", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["version_id"],
            ["model_versions.id"],
            name=op.f("fk_choices_version_id_model_versions"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_choices")),
    )
    op.create_index(op.f("ix_choices_version_id"), "choices", ["version_id"])
    op.create_table(
        "choice_rivals",
        sa.Column("choice_id", sa.String(), nullable=False),
        sa.Column("version_id", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["choice_id"], ["choices.id"], name=op.f("fk_choice_rivals_choice_id_choices")
        ),
        sa.ForeignKeyConstraint(
            ["version_id"],
            ["model_versions.id"],
            name=op.f("fk_choice_rivals_version_id_model_versions"),
        ),
        sa.PrimaryKeyConstraint("choice_id", "version_id", name=op.f("pk_choice_rivals")),
    )
    op.create_index(op.f("ix_choice_rivals_version_id"), "choice_rivals", ["version_id"])
    op.create_table(
        "choice_grounds",
        sa.Column("choice_id", sa.String(), nullable=False),
        sa.Column("version_id", sa.String(), nullable=False),
        sa.Column("metric", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["choice_id"], ["choices.id"], name=op.f("fk_choice_grounds_choice_id_choices")
        ),
        sa.ForeignKeyConstraint(
            ["version_id"],
            ["dataset_versions.id"],
            name=op.f("fk_choice_grounds_version_id_dataset_versions"),
        ),
        sa.PrimaryKeyConstraint("choice_id", "version_id", name=op.f("pk_choice_grounds")),
    )
    op.create_index(op.f("ix_choice_grounds_version_id"), "choice_grounds", ["version_id"])


def downgrade() -> None:
    for table in ("choice_grounds", "choice_rivals", "choices", "transform_models"):
        op.drop_table(table)
