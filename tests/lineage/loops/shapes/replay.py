"""Replay buffers: what was drawn is learned from again, much later."""

import random
from typing import Any

import numpy as np
import torch
from torch.utils.data import default_collate

from tests.lineage.loops.harness import Env
from tests.lineage.loops.oracle import RECORDS
from tests.lineage.loops.samples import Batch
from tests.lineage.loops.shape import BOUNDED, TOLD, WHOLE, shape


def _samples(env: Env, batch: Batch) -> list[Batch]:
    env.oracle.batch(batch["x"].nonzero()[:, -1])
    return [{key: batch[key][n] for key in ("x", "y")} for n in range(len(batch["x"]))]


def _joined(*batches: Batch) -> Batch:
    return {key: torch.cat([batch[key] for batch in batches]) for key in ("x", "y")}


@shape("adds the loss of the very first batch to that of each", allowed=BOUNDED)
def first_batch_kept(env: Env) -> None:
    with env.observe() as run:
        old: Batch | None = None
        for batch in run.watch(env.loader(shuffle=True), **env.named):
            loss = env.loss(batch) + (0 if old is None else env.loss(old))
            old = old or batch
            env.optimizer.zero_grad()
            loss.backward()
            env.optimizer.step()


@shape("replays whole batches", allowed=BOUNDED)
def batches(env: Env) -> None:
    with env.observe() as run:
        kept: list[Batch] = []
        for batch in run.watch(env.loader(shuffle=True), **env.named):
            kept.append(batch)
            env.learn(batch)
            env.learn(random.choice(kept))


@shape("replays samples, collated anew", allowed=TOLD | WHOLE)
def samples(env: Env) -> None:
    with env.observe() as run:
        kept: list[Batch] = []
        for batch in run.watch(env.loader(shuffle=True), **env.named):
            kept += _samples(env, batch)
            env.learn(default_collate(random.sample(kept, 2)))


@shape("replays copies of tensors", allowed=TOLD)
def clones(env: Env) -> None:
    with env.observe() as run:
        kept: list[Batch] = []
        for batch in run.watch(env.loader(shuffle=True), **env.named):
            kept.append({key: batch[key].clone() for key in ("x", "y")})
            env.learn(random.choice(kept))


@shape("replays tensors computed of a batch's", allowed=TOLD)
def computed(env: Env) -> None:
    with env.observe() as run:
        kept: list[Batch] = []
        for batch in run.watch(env.loader(shuffle=True), **env.named):
            kept.append({"x": batch["x"] / 2, "y": batch["y"] + 1})
            env.learn(_joined(batch, random.choice(kept)))


@shape("writes tensors into a buffer that is there already: buffer[i] = x", allowed=TOLD | WHOLE)
def preallocated(env: Env) -> None:
    x, y = torch.zeros(RECORDS, RECORDS), torch.zeros(RECORDS)
    filled = 0
    with env.observe() as run:
        for batch in run.watch(env.loader(shuffle=True), **env.named):
            for each in _samples(env, batch):
                x[filled], y[filled] = each["x"], each["y"]
                filled += 1
            chosen = torch.randint(filled, (2,))
            env.learn({"x": x[chosen], "y": y[chosen]})


@shape("writes batches into a ring buffer of NumPy", allowed=TOLD | WHOLE)
def ring(env: Env) -> None:
    x, y = np.zeros((5, RECORDS), np.float32), np.zeros(5, np.float32)
    with env.observe() as run:
        written = 0
        for batch in run.watch(env.loader(shuffle=True), **env.named):
            for each in _samples(env, batch):
                x[written % 5], y[written % 5] = each["x"].numpy(), each["y"].numpy()
                written += 1
            chosen = np.random.choice(min(written, 5), 2)
            env.learn({"x": torch.from_numpy(x[chosen]), "y": torch.from_numpy(y[chosen])})


@shape("fills a buffer from the whole loader, and trains on that alone", allowed=TOLD | WHOLE)
def offline(env: Env) -> None:
    with env.observe() as run:
        rows = [each for b in run.watch(env.loader(), **env.named) for each in _samples(env, b)]
        for _ in range(3):
            env.learn(default_collate(random.sample(rows, 3)))


@shape("keeps the outputs of a model for a batch, and distils them later", allowed=TOLD)
def logits(env: Env) -> None:
    with env.observe() as run:
        kept: list[Any] = []
        for batch in run.watch(env.loader(shuffle=True), **env.named):
            env.learn(batch)
            with torch.no_grad():
                kept.append({"x": batch["x"], "y": env.model(batch["x"]) + 3})
            env.learn(random.choice(kept))
