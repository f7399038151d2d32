"""The verbs about models."""

from pathlib import Path

import click

from unlearn.cli.answer_stream import write_answer
from unlearn.cli.call import Call, Noun, pass_call


@click.group(cls=Noun, example="expunge model list")
def model() -> None:
    """Look at models, say where they are used, and predict with them."""


@model.command("list", example="expunge model list")
@pass_call
def list_(call: Call) -> None:
    """List the models and their newest versions."""
    from lineage.provenance.listing import models

    with call.open() as store:
        call.out.many(models(store))


@model.command(example="expunge model show speech")
@click.argument("name")
@pass_call
def show(call: Call, name: str) -> None:
    """Show a model and every version it had."""
    from lineage.provenance.listing import model as find

    with call.open() as store:
        call.out.one(find(store, name))


@model.command(example="expunge model promote mv-0123456789 production")
@click.argument("version")
@click.argument("alias")
@pass_call
def promote(call: Call, version: str, alias: str) -> None:
    """Let an alias name a version, given by its id or as the newest of a model."""
    from lineage.provenance.listing import version_of_model
    from lineage.training.registry import promote as record

    with call.open() as store:
        promoted = record(store, version, alias)
        call.out.one(version_of_model(store, promoted.id))
    call.then(f"model publish {promoted.id} --to RECIPIENT")


@model.command(example="expunge model choose mv-0123456789 --over mv-9876543210 --by test:loss")
@click.argument("version")
@click.option("--over", metavar="VERSION", multiple=True, help="A version that lost.")
@click.option(
    "--by",
    "grounds",
    metavar="DATASET[:METRIC]",
    multiple=True,
    help="A dataset that was looked at, and the measure that decided.",
)
@pass_call
def choose(call: Call, version: str, over: tuple[str, ...], grounds: tuple[str, ...]) -> None:
    """Write down that a version was preferred to others: whom it was chosen by is told later."""
    from lineage.training.choice import choose as record

    by = {name: metric or None for name, _, metric in (each.partition(":") for each in grounds)}
    if len(by) < len(grounds):
        raise click.UsageError("name each dataset once: --by DATASET[:METRIC]")
    with call.open() as store:
        choice = record(store, version, over, by)
        _show(call, choice.id)
    call.then(f"lineage of {choice.version_id}")


@model.command(example="expunge model publish mv-0123456789 --to 'St. Mary hospital'")
@click.argument("version")
@click.option("--to", "recipient", required=True, help="Who was given the version.")
@pass_call
def publish(call: Call, version: str, recipient: str) -> None:
    """Write down that a version was given to a recipient."""
    from lineage.training.registry import publish as record

    with call.open() as store:
        publication = record(store, version, recipient).id
        _show(call, publication)
    call.then(f"model withdraw {publication}")


@model.command(example="expunge model withdraw pub-0123456789")
@click.argument("publication")
@pass_call
def withdraw(call: Call, publication: str) -> None:
    """Write down that a recipient uses a publication no more."""
    from lineage.training.registry import withdraw as record

    with call.open() as store:
        record(store, publication)
        _show(call, publication)


@model.command(example="expunge model retire speech")
@click.argument("name")
@pass_call
def retire(call: Call, name: str) -> None:
    """Take a model out of use, so that no plan retrains it any more."""
    from lineage.provenance.listing import model as find
    from lineage.training.registry import retire as record

    with call.open() as store:
        record(store, name)
        call.out.one(find(store, name))


@model.command(example="expunge model canary speech --on held-out --label word")
@click.argument("name", metavar="MODEL")
@click.option("--on", required=True, metavar="DATASET", help="The dataset to measure on.")
@click.option("--label", required=True, metavar="COLUMN", help="The column with the right answer.")
@click.option(
    "--drop",
    type=click.FloatRange(0, 1),
    default=0.02,
    show_default=True,
    help="How much less accurate a replacement may be.",
)
@pass_call
def canary(call: Call, name: str, on: str, label: str, drop: float) -> None:
    """Keep aliases from moving to a replacement that is much less accurate than what it replaces.

    The erasure goes on in any case.
    """
    from unlearn.canary import keep_canary

    with call.open() as store:
        call.out.one(keep_canary(store, name, on, label, drop))


@model.command(example="expunge model hold mv-0123456789 --reason 'litigation 12-345'")
@click.argument("artefact", metavar="ID")
@click.option("--reason", required=True, help="Why it must be kept.")
@pass_call
def hold(call: Call, artefact: str, reason: str) -> None:
    """Keep a model version, checkpoint or fitted artefact from purge; it lowers later claims."""
    from lineage.training.registry import hold as record

    with call.open() as store:
        held = record(store, artefact, reason).id
        _show(call, held)
    call.then(f"model release {held}")


@model.command(example="expunge model release hold-0123456789")
@click.argument("hold_id", metavar="HOLD")
@pass_call
def release(call: Call, hold_id: str) -> None:
    """End a hold, and destroy what only the hold kept from a purge that has been."""
    from lineage.training.registry import release as record

    with call.open() as store:
        record(store, hold_id)
        _show(call, hold_id)


@model.command(example="expunge model predict speech new.csv --output predictions.csv")
@click.argument("name", metavar="MODEL")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--output", metavar="FILE.csv", type=click.Path(dir_okay=False, path_type=Path))
@pass_call
def predict(call: Call, name: str, file: Path, output: Path | None) -> None:
    """Print what the members of a model say together of the rows of a file, a row a record."""
    from unlearn.cli.answers import Predicted
    from unlearn.cli.prediction import as_csv, predict_file

    with call.open() as store:
        version, probabilities = predict_file(store, name, file)
    if output is not None:
        output.write_text(as_csv(probabilities), "utf-8")
    elif not call.as_json:
        write_answer(as_csv(probabilities), newline=False)
        return
    rows = None if output else tuple(map(tuple, probabilities.tolist()))
    call.out.one(
        Predicted(
            id=version,
            records=len(probabilities),
            output=None if output is None else str(output),
            probabilities=rows,
        )
    )


def _show(call: Call, identifier: str) -> None:
    from lineage.provenance.listing import thing

    with call.open() as store:
        call.out.one(thing(store, identifier))
