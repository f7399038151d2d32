"""deadlines and guards"""

from calendar import monthrange
from datetime import datetime

import sqlalchemy as sa
from alembic import op

from storage.catalogue.tables.base import UtcTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("requests") as batch_op:
        batch_op.add_column(sa.Column("due_at", UtcTime(), nullable=True))
    requests = sa.table(
        "requests",
        sa.column("id", sa.String()),
        sa.column("received_at", UtcTime()),
        sa.column("due_at", UtcTime()),
    )
    bind = op.get_bind()
    for name, received in bind.execute(sa.select(requests.c.id, requests.c.received_at)).all():
        due = sa.update(requests).where(requests.c.id == name).values(due_at=_month_after(received))
        bind.execute(due)
    op.create_table(
        "approvals",
        sa.Column("plan_id", sa.String(), nullable=False),
        sa.Column("objections", sa.JSON(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["plan_id"], ["plans.id"], name=op.f("fk_approvals_plan_id_plans")),
        sa.PrimaryKeyConstraint("plan_id", name=op.f("pk_approvals")),
    )
    op.create_table(
        "policies",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_policies")),
    )
    op.create_table(
        "canaries",
        sa.Column("model_id", sa.String(), nullable=False),
        sa.Column("dataset_id", sa.String(), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("drop", sa.Double(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["datasets.id"], name=op.f("fk_canaries_dataset_id_datasets")
        ),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_canaries_model_id_models")
        ),
        sa.PrimaryKeyConstraint("model_id", name=op.f("pk_canaries")),
    )


def downgrade() -> None:
    op.drop_table("canaries")
    op.drop_table("policies")
    op.drop_table("approvals")
    with op.batch_alter_table("requests") as batch_op:
        batch_op.drop_column("due_at")


def _month_after(received: datetime) -> datetime:
    """What a request made since is due by, unless it says otherwise."""
    year, month = received.year + received.month // 12, received.month % 12 + 1
    day = min(received.day, monthrange(year, month)[1])
    return received.replace(
        year=year, month=month, day=day, hour=23, minute=59, second=59, microsecond=0
    )
