import pytest

PAPER = ("forecast", "--records", "60000", "--shards", "20", "--slices", "1")


@pytest.mark.parametrize(("batch", "points"), [("8", 20_187), ("100", 59_545)])
def test_the_paper_s_batches_cost_what_it_says_by_formula_and_by_simulation(shell, batch, points):
    found = shell.ask(*PAPER, "--batch", batch)
    assert found["expected_points"] == pytest.approx(points, rel=0.005)
    assert found["simulated_points"] == pytest.approx(points, rel=0.005)
    assert found["simulation_error"] < 0.002 * points
    assert (found["stream"], found["hours"]) == (None, None)
    assert not (shell.folder / ".expunge").exists()


def test_several_topologies_are_a_list_with_its_front(shell):
    found = shell.ask("forecast", "--records", "60000", "--shards", "1,5,20", "--slices", "1,2,4")
    assert [(each["shards"], each["slices"]) for each in found] == [
        (shards, slices) for shards in (1, 5, 20) for slices in (1, 2, 4)
    ]
    assert [each["front"] for each in found] == [True] * 5 + [False] + [True] * 3
    assert "front" in shell("forecast", "--records", "600", "--shards", "1, 5").out


@pytest.mark.parametrize("policy", ["latest-start", "at-once", "batch"])
def test_a_stream_of_requests_is_served_by_a_policy(shell, policy):
    found = shell.ask(
        *PAPER, "--rate", "2", "--days", "20", "--policy", policy, "--batch", "5",
        "--seconds-per-visit", "0.001", "--seed", "3",
    )  # fmt: skip
    stream = found["stream"]
    assert stream["requests"] == pytest.approx(40, rel=0.2)
    assert stream["hours"] == pytest.approx(stream["visits"] / 3.6e6)
    assert found["hours"] == pytest.approx(found["expected_visits"] / 3.6e6)
    saves = stream["visits"] < stream["one_by_one_visits"]
    assert saves is (policy != "at-once")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give either --records N, or --run ID"),
        (("--records", "9", "--run", "run-1"), "give either --records N, or --run ID"),
        (("--records", "9", "--shards", "1,0"), "'1,0' is not N[,N…] of whole numbers"),
        (("--records", "9", "--slices", "x"), "'x' is not N[,N…] of whole numbers"),
        (("--records", "0"), "0 is not in the range"),
        (("--records", "9", "--rate", "0"), "0.0 is not a number above 0"),
        (("--records", "9", "--rate", "1", "--deadline", "nan"), "nan is not a number above 0"),
        (("--records", "9", "--rate", "1e6"), "60,000,000 requests are too many to draw"),
        (("--records", "9", "--shards", "10"), "9 records do not fill 10 shards"),
        (("--records", "9", "--batch", "10"), "10 requests cannot name 9 records"),
        (("--records", "9", "--slices", "9", "--epochs", "2"), "too few to spread over 9 slices"),
    ],
)
def test_what_cannot_be_forecast_is_a_usage_error(shell, words, said):
    answer = shell.ask("forecast", *words, status=2)
    assert said in answer["error"]["message"]


def test_accuracy_needs_runs_that_measured_it(trained):
    answer = trained.ask("forecast", "--records", "60", "--metric", "accuracy", status=3)
    assert answer["error"]["message"] == "no complete training was evaluated by 'accuracy'"


def test_a_run_is_forecast_and_thinned(trained):
    run = trained.ask("run", "list")[0]["id"]
    before = trained("forecast", "--run", run, "--json")
    assert before.json["id"] == run
    assert before.json["record_visits"] < before.json["full_visits"]
    assert before.json["subject_visits"] < before.json["record_visits"]
    assert f"next: expunge run thin {run}" in before.err
    thinned = trained("run", "thin", run, "--keep", "1", "--json")
    assert (thinned.json["kept"], thinned.json["evicted"]) == (1, 0)
    assert thinned.json["checkpoints"][0]["kept"] == "the newest"
    assert f"next: expunge forecast --run {run}" in thinned.err
    assert trained.ask("run", "thin", run, "--budget", "1", "--dry-run", status=5)["error"]["hint"]
    trained.ask("run", "thin", run, status=2)
    trained.ask("run", "thin", "run-0", "--keep", "1", status=3)
    trained.ask("forecast", "--run", "run-0", status=3)
