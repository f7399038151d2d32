"""ensembles: how they aggregate, what they extend, and divisions of other forms"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

PLAIN = "mean-probability"


def upgrade() -> None:
    with op.batch_alter_table("trainings") as batch_op:
        batch_op.add_column(
            sa.Column("aggregation", sa.String(), nullable=False, server_default=PLAIN)
        )
        batch_op.add_column(sa.Column("extends_id", sa.String(), nullable=True))
        batch_op.create_foreign_key(
            "fk_trainings_extends_id_model_versions", "model_versions", ["extends_id"], ["id"]
        )
    with op.batch_alter_table("trainings") as batch_op:
        batch_op.alter_column("aggregation", server_default=None)
    with op.batch_alter_table("placements") as batch_op:
        batch_op.add_column(sa.Column("form", sa.String(), nullable=False, server_default=""))
        batch_op.drop_constraint("pk_placements", type_="primary")
        batch_op.create_primary_key("pk_placements", ["dataset_id", "shards", "slices", "form"])
    with op.batch_alter_table("placements") as batch_op:
        batch_op.alter_column("form", server_default=None)


def downgrade() -> None:
    op.execute("DELETE FROM placements WHERE form <> ''")
    with op.batch_alter_table("placements") as batch_op:
        batch_op.drop_constraint("pk_placements", type_="primary")
        batch_op.create_primary_key("pk_placements", ["dataset_id", "shards", "slices"])
        batch_op.drop_column("form")
    with op.batch_alter_table("trainings") as batch_op:
        batch_op.drop_constraint("fk_trainings_extends_id_model_versions", type_="foreignkey")
        batch_op.drop_column("extends_id")
        batch_op.drop_column("aggregation")
