"""The verbs about datasets."""

import shlex
from pathlib import Path

import click

from unlearn.cli.call import Call, Noun, pass_call
from unlearn.cli.options import aliases, columns


@click.group(cls=Noun, example="expunge dataset add voices voices.csv --subject 'subject#'")
def dataset() -> None:
    """Register rows, derive datasets from others, and look at them."""


@dataset.command(example="expunge dataset add voices voices.csv --subject 'subject#'")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--id", "ids", metavar="COL[,COL…]", callback=columns, help="Columns of record ids.")
@click.option(
    "--subject",
    "subjects",
    metavar="COL[,COL…]",
    callback=columns,
    help="Columns that name whom a record is about; the first places it.",
)
@click.option(
    "--text", "texts", metavar="COL[,COL…]", callback=columns, help="Columns to take as text."
)
@click.option("--namespace", metavar="NS", help="Where subject ids are unique (the dataset).")
@click.option("--update", is_flag=True, help="Rows with known ids replace the old ones.")
@pass_call
def add(
    call: Call,
    name: str,
    file: Path,
    ids: tuple[str, ...],
    subjects: tuple[str, ...],
    texts: tuple[str, ...],
    namespace: str | None,
    update: bool,
) -> None:
    """Register the rows of a CSV, Parquet or Arrow file, in a new dataset or a known one."""
    from lineage.data.dataset import add as add_rows
    from storage.intake import inspect
    from unlearn.cli.answers import Registered

    if not call.has_store:  # none is made for a file that cannot be registered
        inspect(file, id_columns=ids, subject_columns=subjects, text_columns=texts)
    with call.open_or_create() as store:
        version = add_rows(
            store,
            name,
            file,
            id_columns=ids,
            subject_columns=subjects,
            text_columns=texts,
            namespace=namespace,
            update=update,
        )
        call.out.one(Registered.of(version))
    call.then(f"train MODULE:PROGRAM --dataset {shlex.quote(name)} --model NAME")


@dataset.command("list", example="expunge dataset list")
@pass_call
def list_(call: Call) -> None:
    """List the datasets and the versions that new runs read."""
    from lineage.provenance.listing import datasets

    with call.open() as store:
        call.out.many(datasets(store))


@dataset.command(example="expunge dataset show voices")
@click.argument("name")
@pass_call
def show(call: Call, name: str) -> None:
    """Show a dataset: its columns, and every version it had."""
    from lineage.provenance.listing import dataset as find

    with call.open() as store:
        call.out.one(find(store, name))


@dataset.command(example="expunge dataset derive scaled transforms:scale --from voices")
@click.argument("name")
@click.argument("function", metavar="MODULE:FUNCTION")
@click.option(
    "--from",
    "sources",
    metavar="INPUT",
    required=True,
    multiple=True,
    help="The dataset to read; once for each argument of the function.",
)
@click.option(
    "--given",
    "models",
    metavar="[ALIAS=]MODEL",
    multiple=True,
    help="A model that the function takes by keyword: the teacher of labels it makes.",
)
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=".",
    help="Where the function is imported from (the working directory).",
)
@pass_call
def derive(
    call: Call,
    name: str,
    function: str,
    sources: tuple[str, ...],
    models: tuple[str, ...],
    root: Path,
) -> None:
    """Make a dataset of what a transform makes of others, and record which row came from which."""
    from lineage.data.transform import TransformFunction
    from lineage.errors import TransformError
    from lineage.source import load
    from lineage.training.lesson import derive as derive_rows
    from unlearn.cli.answers import Registered

    given = aliases("--given", models)
    with call.open() as store:
        found = load(function, root.resolve())
        if not isinstance(found, TransformFunction):
            raise TransformError(
                f"{function} is not a transform", hint="decorate the function with @transform"
            )
        made = derive_rows(store, found, sources, name, given)
        call.out.one(Registered.of(made))
    call.then(f"train MODULE:PROGRAM --dataset {shlex.quote(name)} --model NAME")
