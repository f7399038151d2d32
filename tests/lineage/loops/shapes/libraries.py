"""Loaders that other libraries make: torchdata, accelerate, Lightning's Fabric."""

from typing import Any

from torch.utils.data import BatchSampler, SequentialSampler, Subset, default_collate

from tests.lineage.loops.harness import Env
from tests.lineage.loops.samples import Batch, Items, Sample, Stream, Tuples
from tests.lineage.loops.shape import BOUNDED, EXACT_OR_REFUSED, KEY, shape

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


@shape(
    "asks a loader of torchdata for its state before it is watched",
    needs="torchdata",
    allowed=EXACT_OR_REFUSED,
)
def stateful_asked(env: Env) -> None:
    loader = _stateful(env)
    loader.state_dict()
    with env.observe() as run:
        env.train(run.watch(loader, **env.named))


@shape(
    "asks a watched loader of torchdata for its state before it loops over it",
    needs="torchdata",
    allowed=EXACT_OR_REFUSED,
)
def stateful_asked_later(env: Env) -> None:
    with env.observe() as run:
        loader = run.watch(_stateful(env), **env.named)
        loader.state_dict()
        env.train(loader)


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
    "skips the first batches of a watched loader that it prepared (accelerate)",
    needs="accelerate",
    allowed=EXACT_OR_REFUSED,
    quick=BOTH,
)
def skips_first_of_watched(env: Env) -> None:
    accelerator = _accelerator()
    model, optimizer, loader = accelerator.prepare(
        env.model, env.optimizer, env.loader(shuffle=True)
    )
    with env.observe() as run:
        rest = accelerator.skip_first_batches(run.watch(loader, **env.named), 2)
        _accelerated(env, accelerator, optimizer, model, rest)


def _goes_on(env: Env, dataset: Any = None, **options: Any) -> None:
    """Train for an epoch, and then for what is left of one."""
    from accelerate import skip_first_batches

    _accelerator()
    with env.observe() as run:
        loader = run.watch(env.loader(dataset, **options), **env.named)
        env.train(loader, 1)
        env.train(skip_first_batches(loader, 2), 1)
        env.train(loader, 1)


@shape(
    "trains an epoch, and then skips the first batches of the watched loader (accelerate)",
    needs="accelerate",
    quick=BOTH,
)
def skips_first_later(env: Env) -> None:
    _goes_on(env, shuffle=True)


@shape("skips the first batches of tuples (accelerate)", needs="accelerate", quick=BOTH)
def skips_first_of_tuples(env: Env) -> None:
    from accelerate import skip_first_batches

    _accelerator()
    with env.observe() as run:
        loader = run.watch(env.loader(Tuples(), shuffle=True), **env.named_tuples)
        for _, x, y in skip_first_batches(loader, 2):
            env.learn({"x": x, "y": y})


@shape(
    "skips the first batches of a watched stream (accelerate)",
    needs="accelerate",
    by=KEY,
    allowed=BOUNDED,
)
def skips_first_of_stream(env: Env) -> None:
    """The batches that are skipped were read: they may have moved something."""
    _goes_on(env, Stream())


@shape("skips the first batches of a part of the dataset (accelerate)", needs="accelerate")
def skips_first_of_part(env: Env) -> None:
    _goes_on(env, Subset(env.items, [7, 3, 3, 10, 2, 11, 0, 1]), shuffle=True)


class Batches(Items):
    """Makes a batch where it is asked for a list."""

    def __getitem__(self, item: Any) -> Any:
        if isinstance(item, list):
            return default_collate([super(Batches, self).__getitem__(each) for each in item])
        return super().__getitem__(item)


@shape(
    "skips the first of the batches that its dataset makes (accelerate)",
    needs="accelerate",
    allowed=EXACT_OR_REFUSED,
)
def skips_first_of_unbatched(env: Env) -> None:
    from accelerate import skip_first_batches

    _accelerator()
    with env.observe() as run:
        batches = BatchSampler(SequentialSampler(env.items), 3, drop_last=False)
        loader = env.loader(Batches(), batch_size=None, sampler=batches)
        for batch in skip_first_batches(run.watch(loader, **env.named), 2):
            env.learn(batch if isinstance(batch, dict) else default_collate(batch))


def _as_tensors(samples: list[Sample]) -> Batch:
    return default_collate([{"x": each["x"], "y": each["y"]} for each in samples])  # type: ignore[no-any-return]


@shape(
    "prepares a loader that hands its batches out to all processes (accelerate)",
    needs="accelerate",
    allowed=EXACT_OR_REFUSED | BOUNDED,
)
def dispatched(env: Env) -> None:
    from accelerate.utils import DataLoaderConfiguration

    accelerator = _accelerator(
        dataloader_config=DataLoaderConfiguration(dispatch_batches=True, split_batches=True)
    )
    plain = env.loader(shuffle=True, collate_fn=_as_tensors)
    model, optimizer, loader = accelerator.prepare(env.model, env.optimizer, plain)
    with env.observe() as run:
        for skipped in range(2):
            rest = accelerator.skip_first_batches(loader, skipped)
            _accelerated(env, accelerator, optimizer, model, run.watch(rest, **env.named))


@shape(
    "goes on in the middle of an epoch from the state of its prepared loader (accelerate)",
    needs="torchdata",
    allowed=EXACT_OR_REFUSED,
    quick=BOTH,
)
def prepared_stateful(env: Env) -> None:
    from accelerate.utils import DataLoaderConfiguration

    accelerator = _accelerator(
        dataloader_config=DataLoaderConfiguration(use_stateful_dataloader=True)
    )
    made = accelerator.prepare(env.model, env.optimizer, env.loader(shuffle=True))
    model, optimizer, loader = made
    with env.observe() as run:
        watched = run.watch(loader, **env.named)
        state: Any = None
        for number, batch in enumerate(watched):
            env.learn(batch)
            if number == 1:
                state = watched.state_dict()
                break
        watched.load_state_dict(state)
        _accelerated(env, accelerator, optimizer, model, watched)


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
