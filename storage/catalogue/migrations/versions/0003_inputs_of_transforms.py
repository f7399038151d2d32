"""inputs of transforms"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    given = op.get_bind().execute(sa.text("SELECT id, input_id, seen FROM transforms")).all()
    with op.batch_alter_table("transforms") as batch_op:
        batch_op.drop_index(batch_op.f("ix_transforms_input_id"))
        batch_op.drop_constraint("fk_transforms_input_id_dataset_versions", type_="foreignkey")
        batch_op.drop_column("input_id")
        batch_op.drop_column("seen")
        batch_op.add_column(sa.Column("by", sa.JSON(), nullable=False, server_default="[]"))
    with op.batch_alter_table("transforms") as batch_op:
        batch_op.alter_column("by", server_default=None)
    inputs = op.create_table(
        "transform_inputs",
        sa.Column("transform_id", sa.String(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("version_id", sa.String(), nullable=False),
        sa.Column("seen", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["transform_id"],
            ["transforms.id"],
            name=op.f("fk_transform_inputs_transform_id_transforms"),
        ),
        sa.ForeignKeyConstraint(
            ["version_id"],
            ["dataset_versions.id"],
            name=op.f("fk_transform_inputs_version_id_dataset_versions"),
        ),
        sa.PrimaryKeyConstraint("transform_id", "place", name=op.f("pk_transform_inputs")),
    )
    op.create_index(op.f("ix_transform_inputs_version_id"), "transform_inputs", ["version_id"])
    op.bulk_insert(
        inputs,
        [
            {"transform_id": transform, "place": 0, "version_id": version, "seen": seen}
            for transform, version, seen in given
        ],
    )


def downgrade() -> None:
    first = sa.text("SELECT transform_id, version_id, seen FROM transform_inputs WHERE place = 0")
    given = op.get_bind().execute(first).all()
    op.drop_table("transform_inputs")
    with op.batch_alter_table("transforms") as batch_op:
        batch_op.drop_column("by")
        batch_op.add_column(sa.Column("input_id", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("seen", sa.LargeBinary(), nullable=True))
    fill = sa.text("UPDATE transforms SET input_id = :version, seen = :seen WHERE id = :id")
    for transform, version, seen in given:
        op.get_bind().execute(fill, {"version": version, "seen": seen, "id": transform})
    with op.batch_alter_table("transforms") as batch_op:
        batch_op.alter_column("input_id", nullable=False)
        batch_op.alter_column("seen", nullable=False)
        batch_op.create_foreign_key(
            "fk_transforms_input_id_dataset_versions", "dataset_versions", ["input_id"], ["id"]
        )
        batch_op.create_index(batch_op.f("ix_transforms_input_id"), ["input_id"])
