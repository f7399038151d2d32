"""The catalogue's schema: what a new one has, what an old one gets, and the way back."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Inspector, inspect, select, text
from sqlalchemy.exc import IntegrityError

from storage import catalogue as catalogue_package
from storage.catalogue import Catalogue, migrate
from storage.catalogue.engine import HEAD, VERSION
from storage.catalogue.tables import Base


def differences(connection: Connection) -> list[object]:
    """What Alembic would change to get from the schema that is there to the declared one."""
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, Base.metadata))


def test_a_new_catalogue_has_the_declared_schema(catalogue: Catalogue) -> None:
    with catalogue.engine.connect() as connection:
        assert differences(connection) == []


def test_all_migrations_together_make_the_schema_of_a_new_catalogue(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    made = inspect(catalogue.engine)
    (tmp_path / "old").mkdir()
    with migrating(tmp_path / "old") as (connection, config):
        command.upgrade(config, "head")
        assert differences(connection) == []
        came = inspect(connection)
        assert came.get_table_names() == made.get_table_names()
        for table in made.get_table_names():
            assert shape(came, table) == shape(made, table)
        assert connection.execute(select(VERSION)).all() == [(HEAD,)]
    with catalogue.engine.connect() as connection:
        assert connection.execute(select(VERSION)).all() == [(HEAD,)]


def shape(schema: Inspector, table: str) -> list[object]:
    """Columns, keys, indexes and constraints of a table, in any order."""
    columns = [each | {"type": str(each["type"])} for each in schema.get_columns(table)]
    return [
        schema.get_pk_constraint(table),
        *(
            sorted(map(repr, found))
            for found in (
                columns,
                schema.get_foreign_keys(table),
                schema.get_unique_constraints(table),
                schema.get_indexes(table),
                schema.get_check_constraints(table),
            )
        ),
    ]


def test_a_catalogue_whose_rows_refer_to_each_other_is_brought_up_to_date(tmp_path: Path) -> None:
    with migrating(tmp_path) as (connection, config):
        command.upgrade(config, "0004")
        for statement in (*OF_0004, *RUNS_OF_0004):
            connection.exec_driver_sql(statement)
    opened = Catalogue(f"sqlite:///{tmp_path / 'catalogue.db'}")
    migrate(opened.engine)
    with opened.engine.connect() as connection:
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1
        assert rows(connection, "PRAGMA foreign_key_check") == []
        assert rows(connection, "SELECT id, step, edition FROM checkpoints") == [
            {"id": "ckpt-1", "step": 4, "edition": 0}
        ]
        assert rows(connection, "SELECT training_id FROM runs") == [{"training_id": "train-1"}]
        assert rows(connection, "SELECT request_id FROM forget_sets") == [{"request_id": "req-1"}]
    opened.close()


def test_a_step_has_an_edition_of_its_checkpoint_once(tmp_path: Path) -> None:
    with migrating(tmp_path) as (connection, config):
        command.upgrade(config, "0004")
        for statement in (*OF_0004, *RUNS_OF_0004):
            connection.exec_driver_sql(statement)
    opened = Catalogue(f"sqlite:///{tmp_path / 'catalogue.db'}")
    migrate(opened.engine)
    again = "INSERT INTO checkpoints SELECT '{}', run_id, step, object, digest, size, consumed,"
    again += " created_at, purged_at, {} FROM checkpoints WHERE id = 'ckpt-1'"
    with opened.engine.begin() as connection:
        connection.exec_driver_sql(again.format("ckpt-2", 1))
        with pytest.raises(IntegrityError):
            connection.exec_driver_sql(again.format("ckpt-3", 1))
    opened.close()


@pytest.mark.parametrize("revision", ["0001", "0004", "0006", "0007", "0008", "0009"])
def test_an_older_catalogue_is_brought_up_to_date(tmp_path: Path, revision: str) -> None:
    with migrating(tmp_path) as (_, config):
        command.upgrade(config, revision)
    opened = Catalogue(f"sqlite:///{tmp_path / 'catalogue.db'}")
    migrate(opened.engine)
    with opened.engine.connect() as connection:
        assert differences(connection) == []
        assert connection.execute(select(VERSION)).all() == [(HEAD,)]
    opened.close()


@contextmanager
def migrating(folder: Path) -> Iterator[tuple[Connection, Config]]:
    """A connection to an empty catalogue, and what to migrate it with."""
    opened = Catalogue(f"sqlite:///{folder / 'catalogue.db'}")
    with opened.engine.execution_options(expunge_write=True).begin() as connection:
        config = Config()
        config.set_main_option(
            "script_location", str(Path(catalogue_package.__path__[0], "migrations"))
        )
        config.attributes["connection"] = connection
        yield connection, config
    opened.close()


def rows(connection: Connection, query: str) -> list[dict[str, object]]:
    return [dict(row) for row in connection.execute(text(query)).mappings()]


def test_inputs_of_transforms_move_to_their_own_table_and_back(tmp_path: Path) -> None:
    with migrating(tmp_path) as (connection, config):
        command.upgrade(config, "0002")
        for statement in OF_0002:
            connection.exec_driver_sql(statement)
        before = rows(connection, "SELECT * FROM transforms")
        command.upgrade(config, "0003")
        inputs = connection.execute(text("SELECT * FROM transform_inputs")).all()
        assert inputs == [("tf-1", 0, "dsv-1", b"seen")]
        assert connection.execute(text('SELECT id, "by", mapping FROM transforms')).all() == [
            ("tf-1", "[]", "mapping")
        ]
        command.downgrade(config, "0002")
        assert rows(connection, "SELECT * FROM transforms") == before


def test_trainings_and_placements_of_before_are_plain_and_go_back_as_they_were(
    tmp_path: Path,
) -> None:
    tables = ("placements", "trainings")
    with migrating(tmp_path) as (connection, config):
        command.upgrade(config, "0004")
        for statement in OF_0004:
            connection.exec_driver_sql(statement)
        before = [rows(connection, f"SELECT * FROM {table}") for table in tables]
        command.upgrade(config, "0005")
        assert rows(connection, "SELECT aggregation, extends_id FROM trainings") == [
            {"aggregation": "mean-probability", "extends_id": None}
        ]
        connection.exec_driver_sql(
            "INSERT INTO placements SELECT dataset_id, shards, slices, cells, created_at, 'by risk'"
            " FROM placements"
        )
        forms = rows(connection, "SELECT form FROM placements ORDER BY form")
        assert forms == [{"form": ""}, {"form": "by risk"}]
        command.downgrade(config, "0004")
        assert [rows(connection, f"SELECT * FROM {table}") for table in tables] == before


def test_recordings_of_before_have_no_bounds_and_go_back_as_they_were(tmp_path: Path) -> None:
    with migrating(tmp_path) as (connection, config):
        command.upgrade(config, "0008")
        connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        connection.exec_driver_sql("INSERT INTO run_recordings VALUES ('run-1', 'rec-1', 1, 2)")
        before = rows(connection, "SELECT * FROM run_recordings")
        command.upgrade(config, "0009")
        assert rows(connection, "SELECT * FROM run_recordings") == [{**before[0], "bounds": None}]
        connection.exec_driver_sql("UPDATE run_recordings SET bounds = x'00'")
        command.downgrade(config, "0008")
        assert rows(connection, "SELECT * FROM run_recordings") == before
        connection.exec_driver_sql("DELETE FROM run_recordings")


OF_0004 = (
    "INSERT INTO datasets (id, name, namespace, columns, id_columns, subject_columns, created_at)"
    " VALUES ('ds-1', 'a', 'a', '[]', '[]', '[]', '2026-11-02')",
    "INSERT INTO placements VALUES ('ds-1', 2, 1, '{}', '2026-11-02')",
    "INSERT INTO models (id, name, created_at) VALUES ('model-1', 'm', '2026-11-02')",
    "INSERT INTO trainings (id, model_id, state, created_at)"
    " VALUES ('train-1', 'model-1', 'complete', '2026-11-02')",
)

RUNS_OF_0004 = (
    "INSERT INTO programs VALUES ('prog-1', 'm:f', '/', 'digest', '{}', '2026-11-02')",
    "INSERT INTO runs (id, training_id, program_id, first_step, specification, state, created_at)"
    " VALUES ('run-1', 'train-1', 'prog-1', 0, '{}', 'complete', '2026-11-02')",
    "INSERT INTO environments VALUES ('env-1', '{}')",
    "INSERT INTO checkpoints (id, run_id, step, object, digest, size, consumed, created_at)"
    " VALUES ('ckpt-1', 'run-1', 4, 'object', 'digest', 9, '', '2026-11-02')",
    "INSERT INTO segments (id, run_id, checkpoint_id, first_step, visits, seconds, skipped,"
    " environment) VALUES ('seg-1', 'run-1', 'ckpt-1', 0, 8, 0.5, 0, 'env-1')",
    "INSERT INTO requests (id, state, identity, received_at)"
    " VALUES ('req-1', 'done', 'identity', '2026-11-02 00:00:00')",
    "INSERT INTO forget_sets VALUES ('req-1', 'ds-1', x'00')",
)

OF_0002 = (
    "INSERT INTO datasets (id, name, namespace, columns, id_columns, subject_columns, created_at)"
    " VALUES ('ds-1', 'a', 'a', '[]', '[]', '[]', '2026-11-02')",
    "INSERT INTO dataset_versions VALUES"
    " ('dsv-1', 'ds-1', 1, NULL, 2, 2, x'00', 'root', 'digest', 'add', '2026-11-02')",
    "INSERT INTO transforms (id, ref, root, source, scope, input_id, output_id, seen,"
    " first_position, rows, mapping, created_at) VALUES ('tf-1', 'm:f', '/', 'digest', 'record',"
    " 'dsv-1', 'dsv-1', CAST('seen' AS BLOB), 0, 2, 'mapping', '2026-11-02')",
)
