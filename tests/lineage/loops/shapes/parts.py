"""Parts of batches: what is selected, written over or only looked at for its shape."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from tests.lineage.loops.harness import Env, error
from tests.lineage.loops.oracle import RECORDS
from tests.lineage.loops.samples import Batch
from tests.lineage.loops.shape import BOUNDED, EXACT, shape


def _each(env: Env, of: Callable[[Any], Iterable[Tensor]], **options: Any) -> None:
    """Do a step on each of the inputs that are made of a batch."""
    with env.observe() as run:
        for _ in range(2):
            for batch in run.watch(env.loader(**options), **env.named):
                for x in of(batch):
                    env.optimizer.zero_grad()
                    error(env.model(x), torch.tensor(20.0)).backward()
                    env.optimizer.step()


@shape("learns from one sample of an uncollated batch at a time", allowed=BOUNDED)
def one_sample(env: Env) -> None:
    _each(env, lambda batch: [each["x"][None] for each in batch], collate_fn=list)


@shape("learns from parts of a batch that has as many records as features", allowed=BOUNDED)
def square(env: Env) -> None:
    _each(env, lambda batch: batch["x"].split(4), batch_size=RECORDS)


@shape("learns from columns of a batch that is turned", allowed=BOUNDED)
def turned(env: Env) -> None:
    _each(env, lambda batch: [batch["x"].T[:, n : n + 1].T for n in range(3)])


@shape("learns from some records twice, and not from others", allowed=BOUNDED)
def bootstrap(env: Env) -> None:
    _each(env, lambda batch: [batch["x"][torch.tensor([0, 0, 1])]])


@shape("repeats some records, and others not at all", allowed=BOUNDED)
def repeated(env: Env) -> None:
    _each(env, lambda batch: [batch["x"].repeat_interleave(torch.tensor([0, 2, 1]), 0)])


@shape("makes a copy of a batch shorter in place", allowed=BOUNDED)
def resized(env: Env) -> None:
    _each(env, lambda batch: [batch["x"].clone().resize_(2, RECORDS)])


@shape("leaves records out by functions for images, of a batch that is turned", allowed=BOUNDED)
def interpolated(env: Env) -> None:
    _each(env, lambda batch: [nn.functional.interpolate(batch["x"].T[None], size=2)[0].T])


@shape("takes parts by functions of many names", allowed=BOUNDED)
def functions(env: Env) -> None:
    row = torch.tensor([0])
    _each(
        env,
        lambda batch: [
            *torch.vsplit(batch["x"], 3),
            *torch.split_with_sizes(batch["x"], [1, 2]),
            nn.functional.embedding(row, batch["x"]),
            batch["x"].as_strided((1, RECORDS), (RECORDS, 1)),
            torch.roll(batch["x"], 1, 0)[:2],
        ],
    )


def _of_two(env: Env, of: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Do a step on what is made of every two batches."""
    with env.observe() as run:
        for _ in range(2):
            batches = [batch["x"] for batch in run.watch(env.loader(), **env.named)]
            for one, other in zip(batches[::2], batches[1::2], strict=True):
                env.optimizer.zero_grad()
                error(env.model(of(one, other)), torch.tensor(20.0)).backward()
                env.optimizer.step()


@shape("puts two batches side by side, and takes one of them", allowed=BOUNDED)
def one_of_two(env: Env) -> None:
    _of_two(env, lambda one, other: torch.stack([one, other])[0])


@shape("puts two batches behind one another, and takes one of them", allowed=BOUNDED)
def one_of_two_wide(env: Env) -> None:
    _of_two(env, lambda one, other: torch.cat([one, other], 1).chunk(2, 1)[1])


@shape("scales two batches in one call, and takes one of them", allowed=BOUNDED)
def one_of_two_scaled(env: Env) -> None:
    _of_two(env, lambda one, other: torch._foreach_mul([one, other], 2.0)[0])


@shape("puts samples behind one another, and takes a column of one", allowed=BOUNDED)
def one_of_the_samples(env: Env) -> None:
    def of(batch: Any) -> list[Tensor]:
        return [torch.stack([each["x"] for each in batch], 1)[:, :1].T]

    _each(env, of, collate_fn=list)


def _halves(samples: list[Any]) -> dict[str, Tensor]:
    half = len(samples) // 2
    return {
        "one": torch.stack([each["x"] for each in samples[:half]]),
        "other": torch.stack([each["x"] for each in samples[half:]]),
        "number": torch.tensor([each["number"] for each in samples]),
    }


@shape("collates the halves of a batch apart, and learns from one", allowed=BOUNDED)
def halves(env: Env) -> None:
    _each(env, lambda batch: [batch["one"]], batch_size=4, collate_fn=_halves)


@shape("shuffles the records of a batch, and cuts nothing off", allowed=EXACT)
def shuffled(env: Env) -> None:
    _each(env, lambda batch: [batch["x"][torch.randperm(3)][:, :RECORDS], batch["x"][:3]])


def _buffered(env: Env, write: Callable[[Tensor, Tensor, int], None], rows: int = 3) -> None:
    buffer = torch.zeros(rows, RECORDS)
    step = iter(range(RECORDS))

    def of(batch: Batch) -> list[Tensor]:
        write(buffer, batch["x"], next(step))
        return [buffer]

    _each(env, of)


def _zero(buffer: Tensor, x: Tensor, _: int) -> None:
    buffer.zero_()
    buffer[: len(x)] = x


def _out(buffer: Tensor, x: Tensor, _: int) -> None:
    torch.mul(x, 2.0, out=buffer)


def _all(buffer: Tensor, x: Tensor, _: int) -> None:
    buffer[:] = x


def _ring(buffer: Tensor, x: Tensor, step: int) -> None:
    buffer[step % 2 * 3 :][:3] = x


@shape("sets its input buffer to zero, and fills it")
def refilled(env: Env) -> None:
    _buffered(env, _zero)


@shape("computes into its input buffer")
def computed_into(env: Env) -> None:
    _buffered(env, _out)


@shape("writes over the whole of its input buffer")
def written_over(env: Env) -> None:
    _buffered(env, _all)


@shape("learns from a ring of the last two batches", allowed=BOUNDED)
def ring(env: Env) -> None:
    _buffered(env, _ring, 6)


@shape("keeps a mask that has the shape or type of its first batch")
def only_its_shape(env: Env) -> None:
    made: list[Tensor] = []

    def of(batch: Batch) -> list[Tensor]:
        x = batch["x"]
        if not made:
            noise = torch.randn_like(x).mean() * 0 + 1
            wide = torch.ones(1, RECORDS, dtype=torch.float64).type_as(x)
            made.append(x.new_ones(1, RECORDS) * wide.expand_as(x)[:1] * noise)
        return [x * made[0]]

    _each(env, of)
