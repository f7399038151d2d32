"""Three steps, through the codec into fresh objects, three more on both: equal in every byte."""

import copy
import json
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn, optim
from torch.optim import lr_scheduler, swa_utils

from lineage.training import state as codec


def through(state: dict[str, Any]) -> Any:
    """The state as it comes back, after the codec has checked itself."""
    data, digest = codec.encode_verified(state)
    restored = codec.decode(data)
    assert codec.digest(restored) == digest
    return restored


def raw(tensor: torch.Tensor) -> list[int]:
    """The oracle: the bytes of a contiguous tensor's storage."""
    return tensor.clone(memory_format=torch.contiguous_format).untyped_storage().tolist()


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 2, bias=False))


class Training:
    """A model, its optimizer and a scheduler, built the same way each time."""

    def __init__(
        self,
        build: Callable[[], nn.Module] = network,
        optimizer: Callable[[Any], optim.Optimizer] = optim.SGD,
        scheduler: Callable[[optim.Optimizer], Any] | None = None,
    ) -> None:
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(0)
            self.model = build()
        self.optimizer = optimizer(self.model.parameters())
        self.scheduler = scheduler(self.optimizer) if scheduler else None
        self.rates: list[float] = []

    def inputs(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(6, 4, generator=generator)
        return x, torch.randn(6, 2, generator=generator)

    def train(self, first: int, count: int) -> None:
        for step in range(first, first + count):
            x, y = self.inputs(step)

            def closure(x: torch.Tensor = x, y: torch.Tensor = y) -> torch.Tensor:
                self.optimizer.zero_grad()
                loss = (self.model(x) - y).square().mean()
                loss.backward()
                return loss

            loss = self.optimizer.step(closure)
            self.rates.append(float(self.optimizer.param_groups[0]["lr"]))
            if isinstance(self.scheduler, lr_scheduler.ReduceLROnPlateau):
                self.scheduler.step(loss.item() if step else -1.0)
            elif self.scheduler is not None:
                self.scheduler.step()

    def state(self) -> dict[str, Any]:
        tracked = {"model": self.model, "optimizer": self.optimizer, "scheduler": self.scheduler}
        return {name: each.state_dict() for name, each in tracked.items() if each is not None}

    def load(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])


def assert_restored_training_is_equal(make: Callable[[], Training], steps: int = 3) -> None:
    straight, restored = make(), make()
    straight.train(0, steps)
    restored.load(through(straight.state()))
    assert codec.digest(restored.state()) == codec.digest(straight.state())
    straight.train(steps, steps)
    restored.train(steps, steps)
    assert restored.rates == straight.rates[steps:]
    for ours, theirs in zip(restored.model.parameters(), straight.model.parameters(), strict=True):
        assert raw(ours) == raw(theirs)
    assert codec.digest(restored.state()) == codec.digest(straight.state())
    assert codec.encode(restored.state()) == codec.encode(straight.state())


def subclasses(base: type, *modules: Any) -> set[type]:
    found = {each for module in modules for each in vars(module).values() if isinstance(each, type)}
    return {each for each in found if issubclass(each, base) and each is not base}


OPTIMIZERS = sorted(subclasses(optim.Optimizer, optim), key=lambda each: each.__name__)
VARIANTS: dict[str, Callable[[Any], optim.Optimizer]] = {
    "SGD, momentum": lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "Adam, amsgrad": lambda p: optim.Adam(p, 0.1, amsgrad=True, foreach=True),
    "Adam, fused": lambda p: optim.Adam(p, 0.1, fused=True),
    "Adam, tensor rate": lambda p: optim.Adam(p, torch.tensor(0.1), foreach=False),
    "RMSprop, centred": lambda p: optim.RMSprop(p, 0.1, momentum=0.9, centered=True),
    "LBFGS, line search": lambda p: optim.LBFGS(p, line_search_fn="strong_wolfe"),
    "two groups": lambda p: optim.AdamW([{"params": [q], "lr": 0.1 / (1 + q.ndim)} for q in p]),
}


def matrices() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5, bias=False), nn.Tanh(), nn.Linear(5, 2, bias=False))


class Words(nn.Module):
    """Sparse gradients from an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 2, sparse=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.table((x[:, 0].abs() * 3).long().clamp(max=6))


MODELS = {"Muon": matrices, "SparseAdam": Words}


@pytest.mark.parametrize("kind", OPTIMIZERS, ids=lambda each: each.__name__)
def test_every_optimizer_of_torch_goes_on_as_if_never_stored(kind: Any) -> None:
    build = MODELS.get(kind.__name__, network)
    assert_restored_training_is_equal(lambda: Training(build, lambda p: kind(p, lr=0.1)))


@pytest.mark.parametrize("name", VARIANTS)
def test_optimizer_options_go_on_as_if_never_stored(name: str) -> None:
    assert_restored_training_is_equal(lambda: Training(network, VARIANTS[name]))


class Halving:
    """A rate as an object: torch stores its attributes."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, epoch: int) -> float:
        self.calls += 1
        return 0.5**self.calls


SCHEDULERS: dict[type, Callable[[optim.Optimizer], Any]] = {
    lr_scheduler.LambdaLR: lambda o: lr_scheduler.LambdaLR(o, lambda epoch: 0.9**epoch),
    lr_scheduler.MultiplicativeLR: lambda o: lr_scheduler.MultiplicativeLR(o, lambda epoch: 0.9),
    lr_scheduler.StepLR: lambda o: lr_scheduler.StepLR(o, 2),
    lr_scheduler.MultiStepLR: lambda o: lr_scheduler.MultiStepLR(o, [1, 4, 4, 5]),
    lr_scheduler.ConstantLR: lambda o: lr_scheduler.ConstantLR(o, total_iters=4),
    lr_scheduler.LinearLR: lambda o: lr_scheduler.LinearLR(o, total_iters=4),
    lr_scheduler.ExponentialLR: lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    lr_scheduler.PolynomialLR: lambda o: lr_scheduler.PolynomialLR(o, 5, 2.0),
    lr_scheduler.CosineAnnealingLR: lambda o: lr_scheduler.CosineAnnealingLR(o, 6),
    lr_scheduler.CosineAnnealingWarmRestarts: lambda o: lr_scheduler.CosineAnnealingWarmRestarts(
        o, 2, 2
    ),
    lr_scheduler.CyclicLR: lambda o: lr_scheduler.CyclicLR(
        o, 0.01, 0.1, 2, scale_fn=lambda x: 1 / (1 + x), cycle_momentum=True
    ),
    lr_scheduler.OneCycleLR: lambda o: lr_scheduler.OneCycleLR(o, 0.5, total_steps=10),
    lr_scheduler.ReduceLROnPlateau: lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=1),
    lr_scheduler.SequentialLR: lambda o: lr_scheduler.SequentialLR(
        o,
        [lr_scheduler.ConstantLR(o, 0.1, 2), lr_scheduler.MultiStepLR(o, [1, 2])],
        milestones=[2],
    ),
    lr_scheduler.ChainedScheduler: lambda o: lr_scheduler.ChainedScheduler(
        [lr_scheduler.ConstantLR(o, 0.1, 4), lr_scheduler.ExponentialLR(o, 0.9)]
    ),
    swa_utils.SWALR: lambda o: swa_utils.SWALR(o, 0.01, 4, "linear"),
}


def test_every_scheduler_of_torch_is_tested() -> None:
    known = subclasses(lr_scheduler.LRScheduler, lr_scheduler, swa_utils)
    assert {each for each in known if not each.__name__.startswith("_")} == SCHEDULERS.keys()


@pytest.mark.parametrize("kind", SCHEDULERS, ids=lambda each: each.__name__)
def test_every_scheduler_of_torch_goes_on_as_if_never_stored(kind: type) -> None:
    def make() -> Training:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SequentialLR warns of its own parts
            return Training(network, lambda p: optim.SGD(p, 0.1, momentum=0.9), SCHEDULERS[kind])

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*epoch parameter in `scheduler.step")
        assert_restored_training_is_equal(make)


def test_multi_step_decays_after_a_restore_and_would_not_after_plain_json() -> None:
    def resumed(stored: Callable[[Any], Any]) -> list[float]:
        training, restored = make(), make()
        training.train(0, 3)
        restored.load(stored(training.state()))
        restored.train(3, 3)
        return restored.rates

    def make() -> Training:
        return Training(network, lambda p: optim.SGD(p, 1.0), SCHEDULERS[lr_scheduler.MultiStepLR])

    def by_json(state: dict[str, Any]) -> dict[str, Any]:
        return state | {"scheduler": json.loads(json.dumps(state["scheduler"]))}

    assert resumed(through) == pytest.approx([0.1, 0.001, 0.0001])
    assert resumed(by_json) == pytest.approx([0.1, 0.1, 0.1])


def test_a_rate_that_is_an_object_is_stored_and_a_lambda_comes_from_the_program() -> None:
    def make() -> Training:
        return Training(
            network, lambda p: optim.SGD(p, 1.0), lambda o: lr_scheduler.LambdaLR(o, Halving())
        )

    assert_restored_training_is_equal(make)
    assert make().state()["scheduler"]["lr_lambdas"] == [{"calls": 1}]
    by_lambda = Training(scheduler=SCHEDULERS[lr_scheduler.LambdaLR])
    assert by_lambda.state()["scheduler"]["lr_lambdas"] == [None]


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(4, 4), nn.Linear(4, 4)
        self.decoder.weight = self.encoder.weight
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.decoder(self.encoder(x).tanh()))


class Images(nn.Module):
    """A convolution in channels-last, the batch statistics of its output, and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 2), nn.BatchNorm2d(4), nn.Flatten())
        self.head = nn.Linear(4, 2)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        image = x.reshape(-1, 1, 2, 2).to(memory_format=torch.channels_last)
        return self.head(self.body(image))


class Sequences(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(2, 3, num_layers=2, bidirectional=True)
        self.head = nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(x.reshape(2, -1, 2))[0][-1])


@pytest.mark.parametrize("build", [Tied, Images, Sequences])
def test_models_of_many_shapes_go_on_as_if_never_stored(build: Callable[[], nn.Module]) -> None:
    assert_restored_training_is_equal(lambda: Training(build, lambda p: optim.Adam(p, 0.01)))


def test_tied_weights_are_stored_once_and_come_back_tied() -> None:
    state = {"model": Tied().state_dict()}
    restored = through(state)["model"]
    assert restored["encoder.weight"].data_ptr() == restored["decoder.weight"].data_ptr()
    untied = copy.deepcopy(state)
    untied["model"]["decoder.weight"] = state["model"]["decoder.weight"].clone()
    assert len(codec.encode(untied)) > len(codec.encode(state))
    assert codec.digest(untied) == codec.digest(state)


def test_moments_of_channels_last_weights_keep_their_strides() -> None:
    training = Training(Images, optim.Adam)
    training.train(0, 1)
    restored = through(training.state())
    weight, moment = (
        restored["model"]["body.0.weight"],
        restored["optimizer"]["state"][0]["exp_avg"],
    )
    assert weight.stride() == training.model.state_dict()["body.0.weight"].stride()
    assert moment.stride() == training.optimizer.state_dict()["state"][0]["exp_avg"].stride()


def test_versions_of_modules_come_back_with_their_state() -> None:
    model = network()
    restored = through({"model": model.state_dict()})["model"]
    assert restored._metadata == model.state_dict()._metadata
    assert restored._metadata["1"]["version"] == 2


def test_averaged_models_and_gradient_scalers_come_back() -> None:
    training = Training()
    averaged = swa_utils.AveragedModel(
        training.model, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.9), use_buffers=True
    )
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    for step in range(3):
        training.train(step, 1)
        averaged.update_parameters(training.model)
    scaler.scale(torch.ones(1))
    state = {"averaged": averaged.state_dict(), "scaler": scaler.state_dict()}
    restored = through(state)
    fresh = swa_utils.AveragedModel(
        network(), multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.9), use_buffers=True
    )
    fresh.load_state_dict(restored["averaged"])
    averaged.update_parameters(training.model)
    fresh.update_parameters(training.model)
    assert codec.digest({"": fresh.state_dict()}) == codec.digest({"": averaged.state_dict()})
    other = torch.amp.GradScaler("cpu")
    other.load_state_dict(restored["scaler"])
    assert other.state_dict() == scaler.state_dict()
