"""Loaders that other libraries make: torchdata, accelerate, Lightning's Fabric."""

from typing import Any

from tests.lineage.loops.harness import Env
from tests.lineage.loops.shape import EXACT_OR_REFUSED, TOLD, shape

BOTH = (0, 2)
ZERO = (0,)


def _stateful(env: Env, **options: Any) -> Any:
    from torchdata.stateful_dataloader import StatefulDataLoader

    return StatefulDataLoader(
        env.items, batch_size=3, shuffle=True, num_workers=env.workers, **options
    )


@shape(
    "has a loader of torchdata that keeps its state",
    needs="torchdata",
    allowed=EXACT_OR_REFUSED,
    quick=BOTH,
)
def stateful(env: Env) -> None:
    with env.observe() as run:
        env.train(run.watch(_stateful(env), **env.named))


@shape(
    "goes on in the middle of an epoch of a loader of torchdata",
    needs="torchdata",
    allowed=EXACT_OR_REFUSED,
    quick=BOTH,
)
def stateful_resumed(env: Env) -> None:
    first = _stateful(env)
    begun = iter(first)
    next(begun)
    next(begun)
    state = first.state_dict()
    del begun
    loader = _stateful(env)
    loader.load_state_dict(state)
    with env.observe() as run:
        env.train(run.watch(loader, **env.named))


@shape(
    "takes the state of a watched loader of torchdata, and goes on from it",
    needs="torchdata",
    allowed=EXACT_OR_REFUSED,
)
def stateful_watched(env: Env) -> None:
    with env.observe() as run:
        loader = run.watch(_stateful(env), **env.named)
        state: Any = None
        for number, batch in enumerate(loader):
            env.learn(batch)
            if number == 1:
                state = loader.state_dict()
                break
        loader.load_state_dict(state)
        env.train(loader, 1)


def _accelerator(**options: Any) -> Any:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(cpu=True, **options)


def _accelerated(env: Env, accelerator: Any, optimizer: Any, model: Any, loader: Any) -> None:
    for batch in loader:
        with accelerator.accumulate(model):
            accelerator.backward(env.loss(batch, model))
            optimizer.step()
            optimizer.zero_grad()


@shape(
    "prepares model, optimizer and loader, then watches them (accelerate)",
    needs="accelerate",
    allowed=EXACT_OR_REFUSED,
    quick=BOTH,
)
def prepared(env: Env) -> None:
    accelerator = _accelerator()
    made = accelerator.prepare(env.model, env.optimizer, env.loader(shuffle=True))
    model, optimizer, loader = made
    with env.observe(optimizer=optimizer, model=env.model) as run:
        _accelerated(env, accelerator, optimizer, model, run.watch(loader, **env.named))


@shape(
    "prepares its loader; the optimizer of torch is observed (accelerate)",
    needs="accelerate",
    allowed=EXACT_OR_REFUSED,
)
def prepared_loader(env: Env) -> None:
    accelerator = _accelerator()
    model, optimizer, loader = accelerator.prepare(
        env.model, env.optimizer, env.loader(shuffle=True)
    )
    with env.observe() as run:
        _accelerated(env, accelerator, optimizer, model, run.watch(loader, **env.named))


@shape(
    "watches a loader, then prepares it (accelerate)", needs="accelerate", allowed=EXACT_OR_REFUSED
)
def watched_then_prepared(env: Env) -> None:
    accelerator = _accelerator()
    model, optimizer = accelerator.prepare(env.model, env.optimizer)
    with env.observe() as run:
        loader = accelerator.prepare(run.watch(env.loader(shuffle=True), **env.named))
        _accelerated(env, accelerator, optimizer, model, loader)


@shape("accumulates two batches (accelerate)", needs="accelerate", allowed=EXACT_OR_REFUSED)
def prepared_accumulating(env: Env) -> None:
    accelerator = _accelerator(gradient_accumulation_steps=2)
    model, optimizer, loader = accelerator.prepare(
        env.model, env.optimizer, env.loader(shuffle=True)
    )
    with env.observe() as run:
        for _ in range(2):
            watched = run.watch(loader, **env.named)
            _accelerated(env, accelerator, optimizer, model, watched)


@shape(
    "skips the first batches (accelerate)", needs="accelerate", allowed=EXACT_OR_REFUSED, quick=BOTH
)
def skips_first(env: Env) -> None:
    accelerator = _accelerator()
    model, optimizer, loader = accelerator.prepare(
        env.model, env.optimizer, env.loader(shuffle=True)
    )
    with env.observe() as run:
        rest = accelerator.skip_first_batches(loader, 2)
        _accelerated(env, accelerator, optimizer, model, run.watch(rest, **env.named))


@shape(
    "skips the first batches of a watched loader (accelerate)",
    needs="accelerate",
    allowed=EXACT_OR_REFUSED | TOLD,
)
def skips_first_of_watched(env: Env) -> None:
    accelerator = _accelerator()
    model, optimizer, loader = accelerator.prepare(
        env.model, env.optimizer, env.loader(shuffle=True)
    )
    with env.observe() as run:
        rest = accelerator.skip_first_batches(run.watch(loader, **env.named), 2)
        _accelerated(env, accelerator, optimizer, model, rest)


@shape(
    "sets its loader up by Fabric, then watches it",
    needs="lightning",
    allowed=EXACT_OR_REFUSED,
    quick=BOTH,
)
def fabric(env: Env) -> None:
    from lightning.fabric import Fabric

    fabric = Fabric(accelerator="cpu", devices=1)
    model, optimizer = fabric.setup(env.model, env.optimizer)
    loader = fabric.setup_dataloaders(env.loader(shuffle=True))
    with env.observe() as run:
        for batch in run.watch(loader, **env.named):
            optimizer.zero_grad()
            fabric.backward(env.loss(batch, model))
            optimizer.step()
