"""What a statement may be, and what becomes of every other."""

from pathlib import Path
from typing import Any

import pytest

from lineage.errors import StatementError
from lineage.provenance.sql import engine
from lineage.provenance.sql.statement import Statement

FILE = "/etc/passwd"
OTHER_THAN_SELECT = [
    f"COPY (SELECT 1) TO '{FILE}.copy'",
    "COPY runs TO 'runs.csv'",
    "ATTACH 'other.db'",
    "ATTACH ':memory:' AS other",
    "DETACH memory",
    "SET threads = 1",
    "RESET threads",
    "SET enable_external_access = true",
    "PRAGMA database_list",
    "INSTALL httpfs",
    "LOAD httpfs",
    "CREATE TABLE t (i INTEGER)",
    "CREATE MACRO f() AS 1",
    "CREATE SECRET s (TYPE s3)",
    "EXPORT DATABASE 'folder'",
    "IMPORT DATABASE 'folder'",
    "INSERT INTO runs VALUES (1)",
    "UPDATE runs SET run = 'x'",
    "DELETE FROM runs",
    "DROP VIEW runs",
    "CALL duckdb_settings()",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "EXPLAIN ANALYZE SELECT 1",
    "BEGIN",
    "USE memory",
    "CHECKPOINT",
    "VACUUM",
    "PIVOT runs ON state",
]
BEYOND_THE_VIEWS = [
    f"FROM '{FILE}'",
    f'SELECT * FROM "{FILE}"',
    f"FROM read_csv('{FILE}')",
    f"FROM read_text('{FILE}')",
    f"FROM read_blob('{FILE}')",
    f"FROM parquet_metadata('{FILE}')",
    f"SELECT (SELECT content FROM read_text('{FILE}'))",
    f"SELECT 1 FROM runs WHERE EXISTS (FROM '{FILE}')",
    f"WITH a AS (FROM '{FILE}') FROM a",
    f"FROM runs, LATERAL (FROM read_csv('{FILE}'))",
    f"SELECT * FROM runs UNION ALL FROM '{FILE}'",
    f"FROM range((SELECT count(*) FROM read_csv('{FILE}')))",
    f"FROM (PIVOT '{FILE}' ON a IN (1) USING sum(b))",
    "FROM 'https://example.org/a.parquet'",
    "FROM read_parquet('s3://bucket/a.parquet')",
    "FROM glob('/*')",
    "FROM query('SELECT 1')",
    "FROM query_table('runs')",
    "FROM json_execute_serialized_sql('{}')",
    "FROM arrow_scan(1, 2, 3)",
    "FROM duckdb_settings()",
    "FROM system.main.duckdb_secrets()",
    "FROM duckdb_tables",
    "FROM sqlite_master",
    "FROM information_schema.tables",
    "FROM memory.main.runs",
    'FROM "exposures/0"',
    "FROM answer",
    "WITH duckdb_tables AS (FROM duckdb_tables) FROM duckdb_tables",
    "WITH a AS (FROM sqlite_master), sqlite_master AS (SELECT 1) FROM a",
    "SELECT (WITH sqlite_master AS (SELECT 1) FROM sqlite_master) FROM sqlite_master",
    "WITH t AS (INSERT INTO runs VALUES (1) RETURNING *) FROM t",
    "DESCRIBE runs",
    "SHOW TABLES",
    "SUMMARIZE records",
    "SELECT getenv('HOME')",
    "SELECT current_setting('memory_limit')",
    "SELECT main.current_setting('memory_limit')",
    "SELECT getvariable('x')",
    "SELECT json_serialize_plan('SELECT 1')",
    "SELECT error('x')",
    "SELECT pg_sleep(9)",
    "SELECT nextval('x') OVER ()",
    "SELECT ?",
    "SELECT $1",
    "SELECT $name",
]
NOT_ONE = ["", " ; ", "-- nothing", "SELECT 1; SELECT 2", "SELECT 1; DROP VIEW runs"]


@pytest.mark.parametrize("statement", [*OTHER_THAN_SELECT, *NOT_ONE])
def test_only_one_select_is_taken(bare: Any, ask: Any, statement: str) -> None:
    with pytest.raises(StatementError, match="one SELECT is taken, and this is") as refused:
        ask(bare, statement)
    assert refused.value.hint


@pytest.mark.parametrize("statement", BEYOND_THE_VIEWS)
def test_a_select_reaches_only_views_and_what_computes(bare: Any, ask: Any, statement: str) -> None:
    with pytest.raises(StatementError, match=r"no view|cannot call|cannot hold") as refused:
        ask(bare, statement)
    assert "lists the views" in refused.value.hint


@pytest.mark.parametrize("statement", ["FROM '{}'", "FROM read_text('{}')", "COPY runs TO '{}.2'"])
def test_the_engine_reads_and_writes_no_file_even_if_it_is_told_to(
    bare: Any, ask: Any, statement: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "checked", lambda _con, text, _views: Statement(text, frozenset()))
    monkeypatch.setattr(engine, "_ANSWER", "")
    file = tmp_path / "file.csv"
    file.write_text("a\n1\n")
    with pytest.raises(StatementError):
        ask(bare, statement.format(file))
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == ["file.csv"]


def test_the_engine_keeps_its_settings_even_if_it_is_told_to_change_them(
    bare: Any, ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "checked", lambda _con, text, _views: Statement(text, frozenset()))
    monkeypatch.setattr(engine, "_ANSWER", "")
    secret = {"a": 1}
    for statement in ("SET memory_limit = '9GB'", "LOAD httpfs", "FROM secret"):
        with pytest.raises(StatementError):
            ask(bare, statement)
    assert secret


@pytest.mark.parametrize(
    ("statement", "rows"),
    [
        ("SELECT 1", [(1,)]),
        ("VALUES (1, 'a'), (2, NULL);", [(1, "a"), (2, None)]),
        ("(SELECT 2 AS n) UNION ALL (SELECT 1) ORDER BY n -- done", [(1,), (2,)]),
        ("WITH a AS (SELECT 1 AS n), b AS (SELECT n + 1 FROM a) FROM b", [(2,)]),
        ("WITH Runs AS (SELECT 7) FROM rUNS", [(7,)]),
        (
            "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t WHERE n < 4)"
            " SELECT sum(n) FROM t",
            [(10,)],
        ),
        ("SELECT n, row_number() OVER (ORDER BY n DESC) FROM range(2) r(n)", [(1, 1), (0, 2)]),
        ("SELECT count(*) FROM generate_series(1, 3), unnest([1, 2])", [(6,)]),
        ("FROM (PIVOT (SELECT 1 AS a, 2 AS b) ON a IN (1, 3) USING sum(b))", [(2, None)]),
        ("SELECT list_transform([1, 2], lambda x: x * 2), {'k': 1}, 'abc'[2:3]",
         [([2, 4], {"k": 1}, "bc")]),
        ("SELECT random() < 2, now() > TIMESTAMP '2020-01-01', CAST(1 AS HUGEINT) << 70",
         [(True, True, 1 << 70)]),
        ("SELECT count(*) FROM records, runs, exposures", [(0,)]),
        ("SELECT 1 WHERE false", []),
    ],
)  # fmt: skip
def test_a_select_computes_what_it_likes(
    bare: Any, ask: Any, statement: str, rows: list[Any]
) -> None:
    assert ask(bare, statement) == rows


def test_every_column_has_the_name_and_the_type_that_the_statement_gives_it(bare: Any) -> None:
    with engine.query(bare, "SELECT 1::BIGINT AS n, 'x' AS \"a b\", now() AS w") as answer:
        assert [(column.name, column.type) for column in answer.columns] == [
            ("n", "BIGINT"),
            ("a b", "VARCHAR"),
            ("w", "TIMESTAMP WITH TIME ZONE"),
        ]


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("SELEC 'p-77'", "character 1: syntax error"),
        ("SELECT 1 'p-77' 2", "syntax error"),
        ("SELECT 'p-77", "unterminated"),
        ('SELECT * FROM records WHERE record = "p-77"', "character 38: there is no such column"),
        ("SELECT 'p-77'::INTEGER", "character 14: a value cannot be converted"),
        ("SELECT x::INTEGER FROM (VALUES ('p-77')) t(x)", "a value cannot be converted"),
        ("SELECT {'a': 1}['p-77']", "Could not find key"),
        ("SELECT strptime('p-77', '%Y')", "it cannot be carried out"),
        ("SELECT assert_true(false, 'p-77')", "it cannot be carried out"),
        ("SELECT sum('p-77'::DATE)", "No function matches"),
        ("SELECT 1 LIMIT 'p-77'", "cannot be converted"),
        (f"SELECT {'abs(' * 900}1{')' * 900}, 'p-77'", "nested too deeply"),
        ("SELECT [now()], 'p-77'", "it cannot be carried out (invalid input)"),
    ],
)
def test_a_statement_that_fails_says_where_and_repeats_no_value(
    bare: Any, ask: Any, statement: str, said: str
) -> None:
    with pytest.raises(StatementError) as failed:
        ask(bare, statement)
    assert said in failed.value.message
    assert "p-77" not in failed.value.message + failed.value.hint
    assert failed.value.__cause__ is None
