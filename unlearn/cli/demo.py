"""The verb ``demo``: the whole story on real data."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from unlearn.cli.answer_stream import write_answer
from unlearn.cli.call import Call, Verb, pass_call

if TYPE_CHECKING:
    from unlearn.demo.story import Figures


@click.command(cls=Verb, example="expunge demo")
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True)
@pass_call
def demo(call: Call, workers: int) -> None:
    """Train on real digits, forget a contributor, and prove it bit for bit, in about a minute.

    Without --store it happens in a folder that is removed afterwards.
    """
    if call.place is not None:
        figures = _told(call, call.place, workers)
    else:
        with tempfile.TemporaryDirectory(prefix="expunge-demo-") as folder:
            figures = _told(call, Path(folder), workers)
    if call.as_json:
        call.out.one(figures)
    elif call.place is not None:
        call.then("who-saw --subject 8")


def _told(call: Call, place: Path, workers: int) -> "Figures":
    from lineage.store import Store
    from unlearn.demo.story import Demo, tell

    _require_packages()
    with Store.create(place) as store:
        return tell(Demo(store, workers, call.progress if call.as_json else write_answer))


def _require_packages() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("sklearn", "torch") if find_spec(name) is None]
    if missing:
        raise click.UsageError(
            f"the demo needs {' and '.join(missing)}: pip install 'expunge[demo]'"
        )
