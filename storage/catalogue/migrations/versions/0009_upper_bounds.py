"""upper bounds"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("run_recordings") as table:
        table.add_column(sa.Column("bounds", sa.LargeBinary(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("run_recordings") as table:
        table.drop_column("bounds")
