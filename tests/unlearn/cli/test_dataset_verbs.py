import csv
import sqlite3
from collections.abc import Callable

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

ADD = ("dataset", "add", "voices", "voices.csv", "--id", "clip", "--subject", "who")


def test_adding_rows_makes_the_store_and_says_so_on_standard_error(shell):
    added = shell(*ADD, "--json")
    assert {"id", "name", "version", "records", "subjects"} <= added.json.keys()
    assert (added.json["name"], added.json["records"], added.json["subjects"]) == ("voices", 60, 30)
    assert added.json["id"].startswith("ds-")
    assert added.json["version"].startswith("dsv-")
    assert "made a store at .expunge" in added.err
    assert "next: expunge train MODULE:PROGRAM --dataset voices" in added.err


def test_adding_to_a_store_that_is_there_does_not_claim_to_make_one(shell):
    shell("init")
    assert "made a store" not in shell(*ADD).err


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("nowhere.csv", "--id", "clip"), 2),
        (("voices.csv", "--id", "klip"), 2),
        (("program.py", "--subject", "who"), 2),
    ],
)
def test_no_store_is_made_for_a_file_that_cannot_be_registered(shell, words, status):
    refused = shell("dataset", "add", "voices", *words, status=status)
    assert "made a store" not in refused.err
    assert not (shell.folder / ".expunge").exists()


def test_the_next_command_names_a_dataset_as_it_must_be_typed(shell):
    added = shell("dataset", "add", "all voices", "voices.csv", "--id", "clip")
    assert "--dataset 'all voices' --model NAME" in added.err


@pytest.mark.parametrize("extension", ["parquet", "arrow"])
def test_parquet_and_arrow_give_the_same_rows_as_csv(shell, extension):
    table = pa.csv.read_csv("voices.csv")
    if extension == "parquet":
        pq.write_table(table, "typed.parquet")
    else:
        with pa.ipc.new_file("typed.arrow", table.schema) as writer:
            writer.write_table(table)
    shell("dataset", "add", "typed", f"typed.{extension}", "--id", "clip", "--subject", "who")
    added = shell.ask("dataset", "show", "typed")
    assert (added["records"], added["subjects"]) == (60, 30)


def test_without_a_subject_column_there_are_no_subjects_to_count(shell):
    assert shell.ask("dataset", "add", "clips", "voices.csv")["subjects"] is None


def test_several_columns_name_records_and_subjects(shell):
    made = shell.ask(
        "dataset", "add", "v", "voices.csv", "--id", "clip,who", "--subject", "who,sick"
    )
    shown = shell.ask("dataset", "show", "v")
    assert shown["id_columns"] == ["clip", "who"]
    assert shown["subject_columns"] == ["who", "sick"]
    assert shown["id"] == made["id"]


def test_a_list_is_an_array_in_json_and_a_table_of_the_same_otherwise(shell):
    shell(*ADD)
    shell("dataset", "add", "clips", "voices.csv", "--namespace", "clinic")
    listed = shell.ask("dataset", "list")
    assert [each["name"] for each in listed] == ["clips", "voices"]
    assert [each["namespace"] for each in listed] == ["clinic", "voices"]
    table = shell("dataset", "list").out
    assert all(each["id"] in table and each["name"] in table for each in listed)


def test_an_empty_list_is_empty_on_standard_output(shell):
    shell("init")
    assert shell.ask("dataset", "list") == []
    table = shell("dataset", "list")
    assert table.out == ""
    assert "there is none" in table.err


def test_a_dataset_shows_its_columns_and_versions(shell, rows: Callable[..., str]):
    shell(*ADD)
    (shell.folder / "more.csv").write_text(rows(records=60).replace("c5,", "d5,"))
    shell("dataset", "add", "voices", "more.csv", "--update")
    shown = shell.ask("dataset", "show", "voices")
    assert [column["name"] for column in shown["columns"]] == [
        "clip",
        "who",
        "pitch",
        "tone",
        "sick",
    ]
    tone = shown["columns"][3]
    assert (tone["kind"], tone["categories"]) == ("category", 3)
    assert [version["sequence"] for version in shown["versions"]] == [1, 2]
    assert shown["records"] == 61
    assert shown["version"] == shown["versions"][1]["id"]


def test_known_ids_are_refused_with_the_remedy_and_without_the_ids(shell):
    shell(*ADD)
    refused = shell("dataset", "add", "voices", "voices.csv", status=2)
    assert "60 rows" in refused.err
    assert "--update" in refused.err
    assert "c17" not in refused.err
    assert shell.ask("dataset", "show", "voices")["records"] == 60


def test_duplicate_ids_are_named_by_row_and_nothing_is_written(shell):
    with (shell.folder / "voices.csv").open("a") as file:
        csv.writer(file).writerow(["c7", "p1", 0.5, "low", 1])
    refused = shell(*ADD, status=2)
    assert refused.out == ""
    assert "rows 8 and 61" in refused.err
    assert "c7" not in refused.err
    assert not (shell.folder / ".expunge").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("clip,who,pitch\nc1,p1,0.5\nc2,p2,loud\n", "row 2 is text"),
        ("clip,who,pitch\n,p1,0.5\n", "row 1"),
        ("clip,pitch\nc1,0.5\n", "no column 'who'"),
        ("clip,who,pitch\n", "has no rows"),
        ("", "is empty"),
    ],
)
def test_a_file_that_does_not_fit_is_a_usage_error_in_one_sentence(shell, content, said):
    (shell.folder / "voices.csv").write_text(content)
    refused = shell(*ADD, status=2)
    assert said in refused.err
    assert len(refused.err.strip().splitlines()) <= 3
    assert shell(*ADD, "--json", status=2).json["error"]["code"] == "invalid_input"


def test_a_file_that_is_not_there_is_said_to_be_missing(shell):
    assert (
        "there is no file nowhere.csv"
        in shell("dataset", "add", "voices", "nowhere.csv", status=2).err
    )


def test_an_unknown_dataset_is_not_found_and_a_near_name_offered(shell):
    shell(*ADD)
    missing = shell("dataset", "show", "voice", status=3)
    assert "did you mean 'voices'?" in missing.err
    assert shell.ask("dataset", "show", "voice", status=3)["error"]["code"] == "not_found"


TRANSFORM = """
from lineage import transform

@transform(scope="record")
def louder(rows):
    return rows.select(["pitch", "sick"])

@transform(scope="record")
def peeks(rows):
    return rows.slice(0, 1).select(["pitch"]), [0]

@transform(scope="group", by="who")
def together(left, right):
    return left.select(["pitch"]), range(len(left)), [list(range(len(right)))] * len(left)

plain = 1
"""


SAYING = """
import pyarrow as pa
from lineage import transform

@transform(scope="record")
def said(rows, *, speech):
    return pa.table({"said": speech.predict(rows)[:, 0]})
"""


def test_a_derived_dataset_inherits_its_subjects(shell):
    shell(*ADD)
    (shell.folder / "shaping.py").write_text(TRANSFORM)
    made = shell.ask("dataset", "derive", "loud", "shaping.py:louder", "--from", "voices")
    assert (made["name"], made["records"], made["namespace"]) == ("loud", 60, "voices")
    assert [column["name"] for column in shell.ask("dataset", "show", "loud")["columns"]] == [
        "pitch",
        "sick",
    ]


def test_a_join_is_derived_from_several_datasets_and_shows_them(shell):
    shell(*ADD)
    named = ("--id", "clip", "--subject", "who", "--namespace", "voices")
    shell("dataset", "add", "more", "voices.csv", *named)
    (shell.folder / "shaping.py").write_text(TRANSFORM)
    function = ("both", "shaping.py:together", "--from", "voices", "--from", "more")
    assert shell.ask("dataset", "derive", *function)["records"] == 60
    with sqlite3.connect(".expunge/catalogue.db") as catalogue:
        (transform,) = catalogue.execute("SELECT id FROM transforms").fetchone()
    shown = shell.ask("show", transform)
    versions = [shell.ask("dataset", "show", name)["version"] for name in ("voices", "more")]
    assert (shown["scope"], shown["by"], shown["inputs"]) == ("group", ["who"], versions)


def test_a_dataset_that_a_model_made_names_it(trained):
    (trained.folder / "saying.py").write_text(SAYING)
    said = ("said", "saying.py:said", "--from", "voices")
    asked = trained("dataset", "derive", *said, status=2)
    assert "asks for model 'speech', and is given none of this name" in asked.err
    assert trained.ask("dataset", "derive", *said, "--given", "speech")["records"] == 60
    with sqlite3.connect(".expunge/catalogue.db") as catalogue:
        (transform,) = catalogue.execute("SELECT id FROM transforms").fetchone()
    members = trained.ask("model", "show", "speech")["versions"][0]["members"]
    assert trained.ask("show", transform)["given"] == {"speech": members}


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("shaping.py:plain", "not a transform"),
        ("shaping.py:absent", "has no function 'absent'"),
        ("shaping.py", "module:function"),
        ("shaping.py:peeks", "depends on other rows"),
    ],
)
def test_what_cannot_be_derived_with_is_refused(shell, function, said):
    shell(*ADD)
    (shell.folder / "shaping.py").write_text(TRANSFORM)
    refused = shell("dataset", "derive", "loud", function, "--from", "voices", status=2)
    assert said in refused.err
    assert len(shell.ask("dataset", "list")) == 1
