"""The probe: whether a recorded segment comes out the same here, asked once an environment."""

from pathlib import Path
from typing import Any

from lineage.training.ensemble import train
from lineage.training.program import load_program
from storage.catalogue import tables
from unlearn.dispatch.drive import apply
from unlearn.plan.planner import make_plan
from unlearn.request.lifecycle import accept
from unlearn.tasks.probe import cached


def applied(store: Any, person: str) -> dict[str, Any]:
    request = accept(store, "subject", [person])
    return apply(store, make_plan(store, [request.id])[0])


def runs_of_probes(workshop: Any, store: Any) -> list[Any]:
    return [run for run in workshop.rows_of(store, tables.Run) if "/probe-" in (run.task_id or "")]


def test_a_segment_is_executed_once_more_and_compared(trained: Any, workshop: Any) -> None:
    result = applied(trained, "person-07")["probe-1"]
    assert result["passed"] is True
    (probe,) = workshop.rows_of(trained, tables.Probe)
    assert (probe.environment, probe.segment_id) == (result["environment"], result["segment"])
    (run,) = runs_of_probes(workshop, trained)
    (segment,) = workshop.rows_of(trained, tables.Segment, run_id=run.id)
    (original,) = workshop.rows_of(trained, tables.Segment, id=result["segment"])
    assert (segment.first_step, segment.visits) == (original.first_step, original.visits)


def test_what_is_known_of_a_run_in_an_environment_is_not_measured_again(trained: Any) -> None:
    first = applied(trained, "person-07")["probe-1"]
    environment, segment = first["environment"], first["segment"]
    assert cached(trained, environment, segment) is first["passed"] is True
    assert cached(trained, "another", segment) is None


def test_bits_that_do_not_come_out_the_same_cost_the_claim_its_rung(
    store: Any, tally: Any, workshop: Any, tmp_path: Path
) -> None:
    # Without asking for NumPy's generator, what a step draws depends on the steps before it.
    source = Path(workshop.__file__).with_name("tally.py").read_text()
    (tmp_path / "dice.py").write_text(source.replace('run.randomness("numpy", "random")', "pass"))
    tally.register(store)
    program = load_program("dice.py:train", tmp_path)
    train(store, program, {"people": "people"}, "m", workshop.RECIPE)
    results = applied(store, "person-07")
    assert results["probe-1"]["passed"] is False
    claim = results["check"]["claim"]
    assert claim["claim"] == "exact-by-provenance"
    assert "bits do not come out the same" in claim["reason"]
    assert results["check"]["verdict"] == "passed"


def test_the_run_of_a_probe_belongs_to_no_training_and_no_model(
    trained: Any, workshop: Any
) -> None:
    applied(trained, "person-07")
    (run,) = runs_of_probes(workshop, trained)
    assert (run.training_id, run.replay_of, run.state) == (None, None, "complete")
    made = {each.id for each in workshop.rows_of(trained, tables.Checkpoint, run_id=run.id)}
    members = {each.checkpoint_id for each in workshop.rows_of(trained, tables.ModelMember)}
    assert made
    assert not made & members
