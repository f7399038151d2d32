"""Models made of other models: an adapter on a frozen base, a student, a soup, an export."""

import torch
from mnist import fully_connected, optimizer_of, pixels
from torch import Tensor, nn

import lineage


class Adapted(nn.Module):
    """A frozen reader with a low-rank correction of its first layer (LoRA)."""

    def __init__(self, base: nn.Sequential, rank: int = 4) -> None:
        super().__init__()
        self.base = (base.requires_grad_(False).eval(),)  # in a tuple: no part of this module
        self.down = nn.Linear(784, rank, bias=False)
        self.up = nn.Linear(rank, 48, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, images: Tensor) -> Tensor:
        first, *rest = self.base[0]
        return nn.Sequential(*rest)(first(images) + self.up(self.down(images)))


def read(run: lineage.Run, alias: str) -> list[nn.Sequential]:
    """The members of a model that the run was given."""
    members = []
    for state in run.given(alias):
        member = fully_connected().eval()
        member.load_state_dict(state["model"])
        members.append(member)
    return members


@lineage.program
def adapter(run: lineage.Run) -> None:
    """Learn a correction of a base that stays as it is."""
    (base,) = read(run, "base")
    model = Adapted(base)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    run.track(model=model, optimizer=optimizer)
    for batch in run.batches(run.dataset("late")):
        optimizer.zero_grad()
        digits = torch.from_numpy(batch["digit"])
        nn.functional.cross_entropy(model(pixels(batch)), digits).backward()
        optimizer.step()


@lineage.program
def student(run: lineage.Run) -> None:
    """Learn what an ensemble of teachers says of images, and none of their labels."""
    teachers = read(run, "teacher")
    model = fully_connected()
    optimizer = optimizer_of(run, model)
    run.track(model=model, optimizer=optimizer)
    for batch in run.batches(run.dataset("late")):
        images = pixels(batch)
        with torch.no_grad():
            said = torch.stack([teacher(images).softmax(dim=1) for teacher in teachers]).mean(dim=0)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), said).backward()
        optimizer.step()


@lineage.program
def soup(run: lineage.Run) -> None:
    """Average the weights of two models, and estimate batch statistics anew where asked to."""
    one, other = (state["model"] for alias in ("one", "other") for state in run.given(alias))
    model = fully_connected()
    model.load_state_dict({name: (one[name] + other[name]) / 2 for name in one})
    if run.config.get("statistics", False):
        model[1].reset_running_stats()

        def seen(rows: lineage.Batch) -> list[float]:
            with torch.no_grad():
                model.train()(pixels(rows))
            return model[1].running_mean.tolist()

        run.fit(seen, run.dataset("late"))
    run.track(model=model)


@lineage.program
def export(run: lineage.Run) -> None:
    """Write a model in half precision, as a service would be given it."""
    (state,) = run.given("model")
    run.track(model=Kept({name: value.half() for name, value in state["model"].items()}))


class Kept:
    """Something that is kept as it is."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        self.state = state

    def state_dict(self) -> dict[str, Tensor]:
        return self.state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.state = state
