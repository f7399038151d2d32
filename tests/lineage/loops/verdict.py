"""What is said of a loop, held against the truth."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tests.lineage.loops.oracle import Numbers, Update


class Verdict(StrEnum):
    """How an answer about one step stands to the truth; REFUSED is of a whole loop."""

    EQUAL = "equal"
    BATCH = "whole batch"
    BOUND = "bound"
    INCOMPLETE = "incomplete"
    REFUSED = "refused"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Answer:
    """The records said to be learned from at a step; ``bound``: no others may have been."""

    named: Numbers
    bound: bool = False
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict of every step of a loop, and why it is wrong where it is."""

    steps: tuple[Verdict, ...]
    complaints: tuple[str, ...] = ()

    @property
    def verdicts(self) -> frozenset[Verdict]:
        """All verdicts that were given."""
        return frozenset(self.steps) | ({Verdict.WRONG} if self.complaints else set())

    def count(self) -> Counter[Verdict]:
        """How many steps got each verdict."""
        return Counter(self.steps)


def refused() -> Judgement:
    """The judgement of a loop that was refused before it trained."""
    return Judgement((Verdict.REFUSED,))


def judge(
    updates: Sequence[Update], answers: Sequence[Answer], together: Iterable[Numbers] = ()
) -> Judgement:
    """Judge one answer a step; records that are ``together`` are one batch."""
    if len(updates) != len(answers):
        return Judgement((), (f"{len(answers)} steps are told of {len(updates)}",))
    groups = list(together)
    steps, complaints = [], []
    for number, (update, answer) in enumerate(zip(updates, answers, strict=True)):
        verdict = judge_step(update.learned, answer, groups)
        steps.append(verdict)
        if verdict is Verdict.WRONG:
            told = f"{_listed(answer.named)}{' as a bound' if answer.bound else ''}"
            complaints.append(f"step {number} learned from {_listed(update.learned)}, told {told}")
    return Judgement(tuple(steps), tuple(complaints))


def judge_step(truth: Numbers, answer: Answer, together: Iterable[Numbers] = ()) -> Verdict:
    """Judge the answer about one step.

    >>> judge_step(frozenset({1, 2}), Answer(frozenset({1, 2, 3}))).value
    'wrong'
    >>> judge_step(frozenset({1, 2}), Answer(frozenset({1, 2, 3}), bound=True)).value
    'bound'
    """
    if not answer.complete:
        return Verdict.INCOMPLETE
    if answer.bound:
        return Verdict.BOUND if truth <= answer.named else Verdict.WRONG
    if answer.named == truth:
        return Verdict.EQUAL
    whole = truth.union(*(group for group in together if group & truth))
    return Verdict.BATCH if truth <= answer.named <= whole else Verdict.WRONG


def _listed(numbers: Numbers) -> str:
    return str(sorted(numbers))
