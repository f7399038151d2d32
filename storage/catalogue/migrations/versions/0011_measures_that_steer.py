"""measures that steer"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # What was measured before may have steered anything.
    with op.batch_alter_table("evaluations") as table:
        table.add_column(
            sa.Column("steers", sa.Boolean(), nullable=False, server_default=sa.true())
        )


def downgrade() -> None:
    with op.batch_alter_table("evaluations") as table:
        table.drop_column("steers")
