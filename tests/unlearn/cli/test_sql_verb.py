"""The verb `sql`: what it prints, and how it ends."""

import inspect
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lineage.provenance.sql import VIEWS, query
from unlearn.cli.sql import sql

ROOT = Path(__file__).parents[3]


def test_json_has_the_columns_and_every_row(trained):
    answer = trained.ask("sql", "SELECT record, position FROM records ORDER BY position")
    assert answer == {
        "columns": [{"name": "record", "type": "VARCHAR"}, {"name": "position", "type": "BIGINT"}],
        "rows": [[f"c{row}", row] for row in range(60)],
    }


def test_json_of_many_rows_and_of_none_is_one_document(trained):
    rows = trained.ask("sql", "FROM range(25000)")["rows"]
    assert rows == [[row] for row in range(25000)]
    assert trained.ask("sql", "SELECT 1 AS n WHERE false") == {
        "columns": [{"name": "n", "type": "INTEGER"}],
        "rows": [],
    }


def test_json_keeps_what_it_can_of_every_type(trained):
    statement = """
        SELECT 1::HUGEINT << 70, 1.50, 'nan'::DOUBLE, NULL, 'é"', '\\xFF'::BLOB,
            TIMESTAMP '2026-01-02 03:04:05', [1, NULL], {'k': true}, MAP {'m': 2}
    """
    (row,) = trained.ask("sql", statement)["rows"]
    time = "2026-01-02T03:04:05"
    assert row == [
        1 << 70,
        "1.50",
        None,
        None,
        'é"',
        "_w==",
        time,
        [1, None],
        {"k": True},
        {"m": 2},
    ]


def test_a_table_shows_some_rows_and_says_how_many_there_are(trained):
    shown = trained("sql", "FROM range(1234) r(n)")
    assert [line.strip() for line in shown.out.splitlines()] == ["n", *map(str, range(100))]
    assert "100 of 1,234 rows" in shown.err
    shown = trained("sql", "SELECT n, NULL AS nothing FROM range(3) r(n)", "--limit", "2")
    assert [line.split() for line in shown.out.splitlines()] == [
        ["n", "nothing"],
        ["0", "–"],
        ["1", "–"],
    ]
    assert "2 of 3 rows" in shown.err
    assert trained("sql", "FROM range(100)").err == ""


def test_without_a_statement_the_views_are_listed(shell):
    listed = shell.ask("sql")
    assert {each["view"] for each in listed} == {view.name for view in VIEWS}
    assert {"view", "column", "type", "about"} == listed[0].keys()
    assert "exposures" in shell("sql").out


def test_the_command_has_the_limits_of_the_library():
    defaults = inspect.signature(query).parameters
    for option in sql.params:
        if option.name in ("memory", "timeout"):
            assert option.default == defaults[option.name].default


def test_a_statement_is_read_from_standard_input(trained):
    read = trained("sql", "-", "--json", input="SELECT count(*)\nFROM records\n")
    assert read.json["rows"] == [[60]]


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        (("SELECT 1; SELECT 2",), 2, "invalid_statement"),
        (("COPY runs TO 'x'",), 2, "invalid_statement"),
        (("FROM '/etc/passwd'",), 2, "invalid_statement"),
        (("SELECT nope FROM runs",), 2, "invalid_statement"),
        (("SELECT 1", "--limit", "5"), 2, "usage"),
        (("SELECT 1", "--memory", "1"), 2, "usage"),
        (("SELECT 1", "--timeout", "0"), 2, "usage"),
        (("FROM range(99999999999)", "--timeout", "0.2"), 1, "failed"),
        (("FROM range(99999999)", "--memory", "64"), 1, "failed"),
        (("FROM runs", "--store", "elsewhere"), 3, "not_found"),
    ],
)
def test_what_cannot_be_answered_ends_with_a_status_and_a_sentence(trained, words, status, code):
    error = trained.ask("sql", *words, status=status)["error"]
    assert error["code"] == code
    assert error["message"]


def test_nobody_who_is_being_forgotten_is_found(trained, requested):
    found = "SELECT record FROM records WHERE list_contains(subjects, '{}')"
    assert trained.ask("sql", found.format("p4"))["rows"] == [["c4"], ["c34"]]
    assert trained.ask("sql", found.format("p3"))["rows"] == []
    visits = "SELECT count(*) FROM exposures WHERE position IN (3, 33)"
    assert trained.ask("sql", visits)["rows"] == [[0]]


def test_an_interruption_ends_a_statement_at_once(trained):
    script = (
        "import os, signal, threading\n"
        "from unlearn.cli import main\n"
        "import duckdb, lineage.provenance.sql\n"
        # A job in the background of a shell is started deaf to it.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "main(['sql', 'SELECT count(*) FROM range(1000000000000)', '--json'])\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script],
        cwd=trained.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ran.returncode == 130, ran.stderr
    assert json.loads(ran.stdout)["error"]["code"] == "interrupted"


@pytest.mark.parametrize(
    "expression",
    [
        "SELECT length(repeat('x', 3000000000))",
        "SELECT len(range(900000000))",
        "SELECT string_agg(repeat('x', 1000000), '') FROM range(3000)",
        "SELECT a.range FROM range(100000) a, range(100000) b ORDER BY b.range",
        "FROM generate_series(1, 100000000000)",
    ],
)
def test_a_statement_may_not_take_more_memory_whatever_it_makes(trained, expression):
    error = trained.ask("sql", expression, "--memory", "64", status=1)["error"]
    assert error["message"] == "the statement needs more than 64 MiB of memory"
    assert "--memory" in error["hint"]


@pytest.mark.parametrize(
    "expression",
    [
        "SELECT list_sum(list_transform(range(100000000), lambda x: sin(x) * cos(x)))",
        "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range < b.range",
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t",
    ],
)
def test_a_statement_may_not_take_more_time_whatever_it_computes(trained, expression):
    began = time.monotonic()
    error = trained.ask("sql", expression, "--timeout", "0.5", "--memory", "9999", status=1)
    assert error["error"]["message"] == "the statement took longer than 0.5 s"
    assert time.monotonic() - began < 30
