import pytest

TRAIN = ("train", "program.py:train", "--dataset", "voices", "--model", "speech")
SMALL = ("--epochs", "2", "--batch-size", "8")


@pytest.fixture
def registered(shell):
    shell("dataset", "add", "voices", "voices.csv", "--id", "clip", "--subject", "who")
    return shell


def test_training_answers_with_the_version_and_names_the_next_verb(registered):
    made = registered(*TRAIN, *SMALL, "--shards", "2", "--json")
    assert {"id", "model", "version", "digest", "runs"} <= made.json.keys()
    assert (made.json["model"], made.json["version"]) == ("speech", 1)
    assert made.json["id"].startswith("mv-")
    assert len(made.json["runs"]) == 2
    assert "next: expunge who-saw" in made.err
    assert registered.ask("model", "show", "speech")["digest"] == made.json["digest"]


def test_the_options_are_the_specification_of_every_run(registered):
    made = registered.ask(
        *TRAIN,
        *SMALL,
        "--seed",
        "7",
        "--min-batch",
        "3",
        "--checkpoint-every",
        "4",
        "--threads",
        "2",
    )
    specification = registered.ask("run", "show", made["runs"][0])["specification"]
    schedule = specification["schedule"]
    assert (schedule["epochs"], schedule["batch_size"], schedule["seed"]) == (2, 8, 7)
    assert (specification["min_batch"], specification["threads"]) == (3, 2)
    assert specification["checkpoint_every"] == 4


def test_settings_are_json_or_text_and_go_before_those_of_a_file(registered):
    (registered.folder / "settings.toml").write_text('scale = 9\nname = "file"\n[deep]\nx = 1\n')
    made = registered.ask(
        *TRAIN, *SMALL, "--config", "settings.toml", "--set", "scale=0.5", "--set", "word=NaN",
        "--set", 'list=[1, "a"]', "--set", "equal=a=b",
    )  # fmt: skip
    assert registered.ask("run", "show", made["runs"][0])["specification"]["config"] == {
        "scale": 0.5,
        "name": "file",
        "deep": {"x": 1},
        "word": "NaN",
        "list": [1, "a"],
        "equal": "a=b",
    }


def test_settings_of_a_json_file_are_taken(registered):
    (registered.folder / "settings.json").write_text('{"scale": 2}')
    made = registered.ask(*TRAIN, *SMALL, "--config", "settings.json")
    assert registered.ask("run", "show", made["runs"][0])["specification"]["config"] == {"scale": 2}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--set", "scale"), "KEY=VALUE"),
        (("--set", "big=9007199254740993"), "'big' is no exact JSON value"),
        (("--config", "nowhere.json"), "does not exist"),
        (("--config", "broken.json"), "cannot be read as settings"),
        (("--config", "list.json"), "no table of settings"),
        (("--config", "when.toml"), "'day' is no exact JSON value"),
        (("--dataset", "voices"), "gives alias 'voices' twice"),
        (("--dataset", "other="), "[ALIAS=]NAME"),
        (("--shards", "0"), "not in the range"),
        (("--slices", "3", "--epochs", "1", "--batch-size", "2"), "epochs are too few"),
        (("--root", "nowhere"), "does not exist"),
    ],
)
def test_a_mistake_on_the_command_line_is_a_usage_error(registered, words, said):
    (registered.folder / "broken.json").write_text("{")
    (registered.folder / "list.json").write_text("[1]")
    (registered.folder / "when.toml").write_text("day = 2024-01-01\n")
    assert said in registered(*TRAIN, *words, status=2).err
    assert registered.ask("run", "list") == []


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("program.py:mute", "decorate the function with @lineage.program"),
        ("program.py:not_a_program", "not a training program"),
        ("program.py:absent", "has no function 'absent'"),
        ("nowhere.py:train", "cannot be imported"),
        ("program.py", "is not module:function"),
    ],
)
def test_what_is_no_program_is_refused_with_the_remedy(registered, program, said):
    refused = registered("train", program, *TRAIN[2:], status=2)
    assert said in refused.err
    answer = registered.ask("train", program, *TRAIN[2:], status=2)
    assert answer["error"]["code"] == "invalid_program"
    assert answer["error"]["hint"]


def test_an_alias_names_a_dataset_in_the_program(registered):
    registered("dataset", "add", "clips", "voices.csv")
    made = registered.ask(
        "train", "program.py:train", "--dataset", "voices=clips", "--model", "m", *SMALL
    )
    run = registered.ask("run", "show", made["runs"][0])
    assert run["inputs"] == {"voices": registered.ask("dataset", "show", "clips")["version"]}


def test_an_unknown_dataset_is_not_found(registered):
    missing = registered(
        "train", "program.py:train", "--dataset", "voice", "--model", "m", status=3
    )
    assert "did you mean 'voices'?" in missing.err


def test_a_lumpy_placement_is_refused_and_another_proposed(registered):
    refused = registered.ask(*TRAIN, "--shards", "40", status=5)
    assert refused["error"]["code"] == "placement"
    assert "--shards" in refused["error"]["hint"]


def test_a_program_of_a_module_is_imported_from_another_root(registered):
    folder = registered.folder / "elsewhere"
    folder.mkdir()
    (registered.folder / "program.py").rename(folder / "sums_of_voices.py")
    made = registered.ask(
        "train", "sums_of_voices:train", *TRAIN[2:], *SMALL, "--root", "elsewhere"
    )
    shown = registered.ask("run", "show", made["runs"][0])
    assert shown["program"] == "sums_of_voices:train"


def test_a_fine_tune_starts_from_a_checkpoint(registered):
    first = registered.ask(*TRAIN, *SMALL)
    start = first["checkpoints"]["0"]
    second = registered.ask(*TRAIN, *SMALL, "--from", start)
    run = registered.ask("run", "show", second["runs"][0])
    assert run["start"] == start
    assert run["specification"]["restore"] == ["model"]
    assert second["version"] == 2


def test_an_ensemble_is_divided_and_answers_as_it_is_told(registered):
    made = registered.ask(
        *TRAIN, "--shard-sizes", "2,1", "--slices", "2", "--epochs", "3,1", "--risk", "pitch",
        "--risk-bands", "0.3,0.6", "--aggregation", "vote", "--weighted", "--batch-size", "4",
        status=5,
    )  # fmt: skip
    assert "differs between records of one subject" in made["error"]["message"]
    divided = registered.ask(
        *TRAIN, "--shard-sizes", "2,1", "--slices", "2", "--epochs", "3,1",
        "--aggregation", "vote", "--weighted", "--batch-size", "4",
    )  # fmt: skip
    schedule = registered.ask("run", "show", divided["runs"][1])["specification"]["schedule"]
    assert (schedule["shares"], schedule["shard"], schedule["epochs"]) == ([2, 1], 1, [3, 1])
    shown = registered.ask("show", divided["id"])
    assert shown["aggregation"] == "weighted-label-vote"
    rows = registered.ask("sql", "SELECT shard, epochs FROM runs ORDER BY shard")["rows"]
    assert [list(row) for row in rows] == [[0, 4], [1, 4]]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--epochs", "3,x"), "'x' is not a valid integer"),
        (("--shard-sizes", "0,1"), "0 is not in the range"),
        (("--risk-bands", "0.5,2"), "2.0 is not in the range"),
    ],
)
def test_lists_of_numbers_are_checked(registered, words, said):
    assert said in registered(*TRAIN, *words, status=2).err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--epochs", "3,1"), "2 numbers of epochs were given for 1 slices"),
        (("--shard-sizes", "1,1", "--shards", "3"), "2 sizes were given for 3 shards"),
        (("--risk-bands", "0.5"), "bands of risk were given, and no risk"),
        (("--risk", "pitch", "--risk-bands", "0.5,0.2"), "thresholds of risk ascend"),
        (("--risk", "mood"), "has no column 'mood'"),
    ],
)
def test_divisions_that_do_not_hold_together_are_refused(registered, words, said):
    code = 3 if "mood" in words else 2
    assert said in registered.ask(*TRAIN, *words, status=code)["error"]["message"]


def test_a_model_is_extended_by_what_came_and_resharded_when_it_is_proposed(trained):
    (trained.folder / "more.csv").write_text(
        "clip,who,pitch,tone,sick\n" + "".join(f"d{n},q{n},0.5,low,1\n" for n in range(8))
    )
    trained("dataset", "add", "voices", "more.csv")
    grown = trained.ask(*TRAIN, *SMALL, "--min-batch", "1", "--extend")
    assert list(grown["checkpoints"]) == ["0", "1", "2"]
    assert len(grown["runs"]) == 1
    assert trained.ask("status")["reshard"] == []
    trained("request", "add", "--subject", "p1", "--subject", "p2")
    (proposed,) = trained.ask("status")["reshard"]
    # The eight rows that came later are one shard by their positions: no placement has them.
    assert (proposed["model"], proposed["records"], proposed["deleted"]) == ("speech", 60, 4)
    assert trained("status").err.endswith("expunge reshard speech\n")
    made = trained.ask("reshard", "speech")
    assert len(made["runs"]) == 3
    shown = trained.ask("model", "show", "speech")
    assert shown["placement"]["generation"] == 1
    assert not shown["placement"]["due"]


def test_an_interrupted_training_goes_on_where_it_was(registered, monkeypatch):
    long = ("--epochs", "8", "--batch-size", "30", "--checkpoint-every", "3")
    whole = registered.ask(*TRAIN, *long)
    monkeypatch.setenv("INTERRUPT_AT", "8")
    stopped = registered(*TRAIN, *long, status=130)
    assert stopped.out == ""
    assert "interrupted" in stopped.err
    monkeypatch.delenv("INTERRUPT_AT")
    left = [run for run in registered.ask("run", "list") if run["state"] == "stopped"]
    assert [run["step"] for run in left] == [6]
    assert f"expunge run resume {left[0]['training']}" in stopped.err
    resumed = registered.ask("run", "resume", left[0]["id"])
    assert resumed["digest"] == whole["digest"]
    assert resumed["training"] == left[0]["training"]


def test_an_interruption_is_an_error_document_too(registered, monkeypatch):
    monkeypatch.setenv("INTERRUPT_AT", "1")
    assert registered.ask(*TRAIN, *SMALL, status=130)["error"]["code"] == "interrupted"


def test_a_program_that_fails_is_named_by_its_place_and_not_by_its_words(registered, monkeypatch):
    monkeypatch.setenv("FAIL_AT", "1")
    failed = registered(*TRAIN, *SMALL, "--json", status=1)
    missing = registered.ask("model", "promote", "speech", "live", status=3)["error"]
    assert missing["message"] == "model 'speech' has no version: no training of it has ended"
    assert failed.json["error"]["code"] == "failed"
    assert "ZeroDivisionError" in failed.json["error"]["message"]
    assert "program.py, line" in failed.json["error"]["message"]
    assert "p3" not in failed.out


def test_a_training_that_is_complete_is_not_resumed(trained):
    training = trained.ask("run", "list")[0]["training"]
    assert "is complete" in trained("run", "resume", training, status=1).err


def test_a_list_of_runs_says_how_far_each_came(trained):
    runs = trained.ask("run", "list")
    assert [(run["model"], run["shard"], run["state"]) for run in runs] == [
        ("speech", 0, "complete"),
        ("speech", 1, "complete"),
    ]
    assert all(run["step"] == run["steps"] > 0 for run in runs)


@pytest.mark.parametrize("words", [("show", "run-0"), ("resume", "run-0"), ("resume", "train-0")])
def test_an_unknown_run_or_training_is_not_found(trained, words):
    assert trained.ask("run", *words, status=3)["error"]["code"] == "not_found"


def test_a_replay_is_resumed_by_its_plan(trained, planned):
    trained("apply", planned, "--on", "debug")
    replay = next(run["id"] for run in trained.ask("run", "list") if run["replay_of"])
    assert "go on with expunge apply PLAN" in trained("run", "resume", replay, status=2).err
