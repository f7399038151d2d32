"""The verb ``train``."""

from pathlib import Path
from typing import Any, Literal

import click

from unlearn.cli.call import Call, Verb, pass_call
from unlearn.cli.options import Several, aliases, settings

AT_LEAST_ONE = click.IntRange(min=1, max=2**31)
SEED = click.IntRange(min=0, max=2**53 - 1)


@click.command(
    cls=Verb, example="expunge train train.py:train --dataset voices --model speech --shards 5"
)
@click.argument("program", metavar="MODULE:PROGRAM")
@click.option(
    "--dataset",
    "datasets",
    metavar="[ALIAS=]NAME",
    multiple=True,
    help="A dataset and its name in the program; the first is trained on.",
)
@click.option(
    "--given",
    "models",
    metavar="[ALIAS=]MODEL",
    multiple=True,
    help="A model that the program reads: a frozen base, a teacher, a part of a soup.",
)
@click.option("--model", metavar="NAME", required=True, help="The model to make a version of.")
@click.option("--shards", type=AT_LEAST_ONE, default=1, show_default=True)
@click.option(
    "--shard-sizes",
    metavar="N,N…",
    type=Several(AT_LEAST_ONE),
    help="Shares of the records, one a shard, in place of equal ones.",
)
@click.option("--slices", type=AT_LEAST_ONE, default=1, show_default=True)
@click.option(
    "--risk",
    metavar="COLUMN",
    help="Each record's probability of deletion: the likely ones go to the last shards and slices.",
)
@click.option(
    "--risk-bands",
    metavar="P,P…",
    type=Several(click.FloatRange(0, 1, min_open=True)),
    help="Where bands of risk begin; without, at quantiles.",
)
@click.option(
    "--epochs",
    metavar="N[,N…]",
    type=Several(click.IntRange(min=0, max=2**31), alone=True),
    default="10",
    show_default=True,
    help="For the whole run, or one number a slice; 0: the program takes no step, and makes its "
    "model of those it is given.",
)
@click.option("--batch-size", type=AT_LEAST_ONE, default=64, show_default=True)
@click.option(
    "--schedule",
    type=click.Choice(["stable", "recorded"]),
    default="stable",
    show_default=True,
    help="Recorded: the program draws an order of its own.",
)
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option(
    "--min-batch",
    type=AT_LEAST_ONE,
    default=2,
    show_default=True,
    help="Steps with fewer records are passed over.",
)
@click.option("--checkpoint-every", metavar="STEPS", type=AT_LEAST_ONE, help="Besides slice ends.")
@click.option(
    "--processes",
    "world_size",
    type=AT_LEAST_ONE,
    default=1,
    show_default=True,
    help="Processes that train together (torch, gloo), each on its share of a batch.",
)
@click.option(
    "--aggregation",
    type=click.Choice(["mean", "vote"]),
    default="mean",
    show_default=True,
    help="How shards answer together: by mean probability, or by a vote on labels.",
)
@click.option("--weighted", is_flag=True, help="Shards count by their nominal sizes.")
@click.option("--threads", type=AT_LEAST_ONE, default=1, show_default=True)
@click.option(
    "--extend",
    is_flag=True,
    help="Rows that came since the newest version become new shards beside those that it has.",
)
@click.option("--refreeze", is_flag=True, help="Take the present sizes for nominal ones.")
@click.option(
    "--set", "pairs", metavar="KEY=VALUE", multiple=True, help="A setting: JSON, else text."
)
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Settings in a .json or .toml file; --set goes before it.",
)
@click.option("--from", "start", metavar="CHECKPOINT", help="Fine-tune from this checkpoint.")
@click.option(
    "--restore",
    metavar="NAME",
    multiple=True,
    default=("model",),
    show_default=True,
    help="A tracked object that --from fills.",
)
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=".",
    help="Where the program is imported from (the working directory).",
)
@pass_call
def train(
    call: Call,
    /,
    program: str,
    datasets: tuple[str, ...],
    models: tuple[str, ...],
    model: str,
    pairs: tuple[str, ...],
    config: Path | None,
    root: Path,
    aggregation: Literal["mean", "vote"],
    weighted: bool,
    **recipe: Any,
) -> None:
    """Train a version of a model, a shard after the other, and remember who was seen when."""
    from lineage.training.aggregation import Aggregation
    from lineage.training.ensemble import Recipe, prepare
    from lineage.training.program import load_program

    inputs, chosen = aliases("--dataset", datasets), settings(config, pairs)
    given = aliases("--given", models)
    how = Aggregation.named(aggregation, weighted=weighted)
    if not inputs and not given and recipe["start"] is None:
        raise click.UsageError("name what to make the model of: --dataset, --given or --from")
    with call.open() as store:
        loaded = load_program(program, root.resolve())
        training = prepare(
            store,
            loaded,
            inputs,
            model,
            Recipe(**recipe, config=chosen, given=given, aggregation=how),
        )
        finish_training(call, store, training)


@click.command(cls=Verb, example="expunge reshard speech")
@click.argument("model")
@pass_call
def reshard(call: Call, model: str) -> None:
    """Train a model again as it was, with records placed anew, as nobody can foresee."""
    from lineage.training.reshard import reshard as prepare

    with call.open() as store:
        finish_training(call, store, prepare(store, model))


def finish_training(call: Call, store: Any, training: str) -> None:
    """Execute what is left of a training, and answer with the version it made."""
    from lineage.counted import counted
    from lineage.provenance.listing import training as find
    from lineage.provenance.listing import version_of_model
    from lineage.training.ensemble import resume
    from unlearn.cli.answers import Trained

    call.resumption = f"run resume {training}"
    call.progress(f"training {training}: {counted(len(find(store, training).runs), 'run')}")
    version = resume(store, training)
    call.out.one(Trained.of(version_of_model(store, version.id), find(store, training)))
    call.then("who-saw --subject ID")
