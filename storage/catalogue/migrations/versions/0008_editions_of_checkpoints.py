"""editions of checkpoints: states that changed without a step"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

UNIQUE = "uq_checkpoints_run_id"


def upgrade() -> None:
    with op.batch_alter_table("checkpoints") as batch_op:
        batch_op.add_column(sa.Column("edition", sa.Integer(), nullable=False, server_default="0"))
        batch_op.drop_constraint(UNIQUE, type_="unique")
        batch_op.create_unique_constraint(UNIQUE, ["run_id", "step", "edition"])
    with op.batch_alter_table("checkpoints") as batch_op:
        batch_op.alter_column("edition", server_default=None)


def downgrade() -> None:
    _refuse_editions()
    with op.batch_alter_table("checkpoints") as batch_op:
        batch_op.drop_constraint(UNIQUE, type_="unique")
        batch_op.create_unique_constraint(UNIQUE, ["run_id", "step"])
        batch_op.drop_column("edition")


def _refuse_editions() -> None:
    """Raise if a state would be lost: models and runs may descend from it."""
    changed = (
        sa.select(sa.func.count())
        .select_from(sa.table("checkpoints"))
        .where(sa.column("edition") > 0)
    )
    found = op.get_bind().scalar(changed)
    if found:
        raise RuntimeError(f"{found} checkpoints changed without a step: 0007 cannot hold them")
