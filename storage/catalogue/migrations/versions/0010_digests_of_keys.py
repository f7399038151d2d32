"""digests of keys"""

import sqlalchemy as sa
from alembic import context, op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    table = op.create_table(
        "key_digests",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_key_digests")),
    )
    # Taken for sound as they are: an older store says nothing of what they were.
    keys = context.config.attributes.get("keys", {})
    op.bulk_insert(table, [{"name": name, "digest": digest} for name, digest in keys.items()])


def downgrade() -> None:
    op.drop_table("key_digests")
