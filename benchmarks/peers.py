"""Time noting what a step was given: ours, and other tools that note what a run reads.

In turns of 20 steps; ML Metadata in an environment of its own, which is made here. Ours holds the
256 records of the step, what the others are given only names the batch. A tool that is not here
says so.

python benchmarks/peers.py [--json out.json]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import numpy as np
from report import Figure, finish

from storage.exposures import Log
from storage.objects import Objects

STEPS, TURN, BATCH, SEALED = 200, 20, 256, 4_000
ROOT = Path(__file__).parents[1]
ENVIRONMENT = ROOT / ".venv-peers"
PINNED = (
    "absl-py==1.4.0",
    "attrs==23.2.0",
    "grpcio==1.85.3",
    "ml-metadata==1.17.1",
    "protobuf==4.25.9",
    "six==1.17.0",
    "typing-extensions==4.16.0",
)
"""Of that environment: all that ML Metadata brings."""

Note = Callable[[int], object]
Turn = Callable[[int, int], list[int]]
"""From the first step and the one past the last to nanoseconds each."""


def timed(note: Note) -> Turn:
    def turn(first: int, last: int) -> list[int]:
        laps = []
        for step in range(first, last):
            began = time.perf_counter_ns()
            note(step)
            laps.append(time.perf_counter_ns() - began)
        return laps

    return turn


@contextmanager
def expunge(folder: Path) -> Iterator[Turn]:
    log = Log(Objects(folder / "objects"))
    records = np.random.default_rng(0).permutation(STEPS * BATCH).reshape(STEPS, BATCH)
    yield timed(lambda step: log.append(step, records[step]))
    log.close()


@contextmanager
def mlflow(folder: Path) -> Iterator[Turn]:
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    import mlflow
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.data.meta_dataset import MetaDataset

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    experiment = mlflow.create_experiment("loop", artifact_location=folder.as_uri())
    source = CodeDatasetSource({})

    def note(step: int) -> None:
        batch = MetaDataset(source, name="batch", digest=f"{step:032x}")
        mlflow.log_input(batch, context="training")

    with mlflow.start_run(experiment_id=experiment):
        yield timed(note)


@contextmanager
def openlineage(folder: Path) -> Iterator[Turn]:
    from openlineage.client import OpenLineageClient
    from openlineage.client.event_v2 import InputDataset, Job, Run, RunEvent, RunState
    from openlineage.client.transport.file import FileConfig, FileTransport
    from openlineage.client.uuid import generate_new_uuid

    path = str(folder / "events.jsonl")
    client = OpenLineageClient(transport=FileTransport(FileConfig(path, append=True)))
    run, job = Run(str(generate_new_uuid())), Job("benchmarks", "loop")

    def note(step: int) -> None:
        client.emit(
            RunEvent(
                eventType=RunState.RUNNING,
                eventTime=datetime.now(UTC).isoformat(),
                run=run,
                job=job,
                producer="https://example.org/loop",
                inputs=[InputDataset("batches", f"batch-{step}")],
            )
        )

    yield timed(note)
    client.close()


@contextmanager
def prov(_folder: Path) -> Iterator[Turn]:
    from prov.model import ProvDocument

    document = ProvDocument()
    document.add_namespace("loop", "urn:loop:")

    def note(step: int) -> None:
        batch = document.entity(f"loop:batch-{step}")
        document.used(document.activity(f"loop:step-{step}"), batch)

    yield timed(note)


@contextmanager
def ml_metadata(folder: Path) -> Iterator[Turn]:
    script = Path(__file__).with_name("_ml_metadata.py")
    child = subprocess.Popen(
        [installed(), script, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin is not None
    assert child.stdout is not None
    with child:
        asked, answers = child.stdin, child.stdout

        def turn(first: int, last: int) -> list[int]:
            print(last - first, file=asked, flush=True)
            return [int(lap) for lap in json.loads(answers.readline())]

        yield turn
        asked.close()


def installed() -> Path:
    """The Python of ML Metadata's environment; ImportError where it does not install."""
    python = ENVIRONMENT / "bin" / "python"
    if not (ENVIRONMENT / ".installed").is_file():
        # What constrains pip for the project must not constrain it here.
        outside = {name: text for name, text in os.environ.items() if "CONSTRAINT" not in name}
        pip = [python, "-m", "pip", "install", "-q", "--only-binary", ":all:", *PINNED]
        for command in ([sys.executable, "-m", "venv", ENVIRONMENT], pip):
            done = subprocess.run(command, env=outside, capture_output=True, text=True)
            if done.returncode:
                raise ImportError(f"it does not install: {done.stderr.strip().splitlines()[-1]}")
        (ENVIRONMENT / ".installed").touch()
    return python


PEERS = {
    "expunge, Log.append of 256 records": expunge,
    "prov, a triple in memory": prov,
    "openlineage-python, an event to a file": openlineage,
    "ml-metadata, an execution in SQLite": ml_metadata,
    "mlflow, an input in SQLite": mlflow,
}


def sealed(folder: Path) -> float:
    """Microseconds a step until all of many steps is durable, by whichever thread."""
    log = Log(Objects(folder / "sealed"))
    records = np.random.default_rng(0).permutation(SEALED * BATCH).reshape(SEALED, BATCH)
    began = time.perf_counter()
    for step in range(SEALED):
        log.append(step, records[step])
    log.seal()
    taken = time.perf_counter() - began
    log.close()
    return 1e6 * taken / SEALED


def measure(folder: Path) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Microseconds of each step by tool, and what kept others from being measured."""
    turns: dict[str, Turn] = {}
    absent = {}
    with ExitStack() as opened:
        for name, peer in PEERS.items():
            try:
                turns[name] = opened.enter_context(peer(folder))
            except ImportError as error:
                absent[name] = str(error)
        laps: dict[str, list[float]] = {name: [] for name in turns}
        for first in range(0, STEPS, TURN):
            for name, turn in turns.items():
                laps[name] += [lap / 1e3 for lap in turn(first, first + TURN)]
    return laps, absent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the result to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        laps, absent = measure(Path(folder))
        durable = sealed(Path(folder))
    figures = [
        *(Figure(f"{name}, a step", median(each), "µs") for name, each in laps.items()),
        *(Figure(f"{name}: {why}", None, "µs") for name, why in absent.items()),
        Figure("expunge, until 4,000 steps are durable, a step", durable, "µs"),
    ]
    finish("peers", figures, {"laps_us": laps, "absent": absent}, options.json, batch=BATCH)


if __name__ == "__main__":
    main()
