"""Two task vectors side by side: where they meet, what a sum of them loses, how they lie."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from mergelab.evaluation.results import Evaluation
from mergelab.evaluation.traits import TRAITS, count_markers
from mergelab.methods import trim
from mergelab.notebook.weights import Changes


@dataclass(frozen=True)
class Shares:
    """Shares of all entries, by who changed them; they add up to 1."""

    neither: float
    one_only: float
    same: float
    opposite: float

    @property
    def no_overlap(self) -> float:
        """The share that at most one of the two changed."""
        return self.neither + self.one_only


def shares_by_chance(share: float) -> Shares:
    """What two task vectors that know nothing of each other give: they meet in share² of the cases.

    >>> shares_by_chance(0.5)
    Shares(neither=0.25, one_only=0.5, same=0.125, opposite=0.125)
    """
    both = share * share
    return Shares((1 - share) ** 2, 2 * share * (1 - share), both / 2, both / 2)


def overlap_curve(found: Changes, shares: Iterable[float]) -> dict[float, Shares]:
    """Overlap of two task vectors, for each share of a tensor's entries that counts as changed.

    Raises `ValueError` unless `found` holds exactly two task vectors.

    >>> pair = [torch.tensor([4.0, 3.0, 0.1, 0.2]), torch.tensor([5.0, -2.0, 0.2, 0.1])]
    >>> overlap_curve(Changes(("a", "b"), {"w": torch.zeros(4)}, {"w": pair}), [0.5])
    {0.5: Shares(neither=0.5, one_only=0.0, same=0.25, opposite=0.25)}
    """
    curve = {}
    pairs = list(_pairs(found))
    count = max(found.entries, 1)
    for share in shares:
        touched = same = opposite = 0
        for first, second in pairs:
            x, y = trim(first, share).sign(), trim(second, share).sign()
            product = x * y
            touched += int(((x != 0) | (y != 0)).sum())
            same += int((product > 0).sum())
            opposite += int((product < 0).sum())
        curve[share] = Shares(
            1 - touched / count, (touched - same - opposite) / count, same / count, opposite / count
        )
    return curve


def by_layer(found: Changes) -> dict[str, Changes]:
    """The same changes, one group of tensors for each layer of the model.

    >>> tensors = {f"model.layers.{n}.w": torch.zeros(1) for n in (0, 1)}
    >>> list(by_layer(Changes((), tensors, {name: [] for name in tensors})))
    ['layer 0', 'layer 1']
    """
    groups: dict[str, list[str]] = {}
    for name in found.deltas:
        layer = re.search(r"layers\.(\d+)\.", name)
        groups.setdefault(f"layer {layer[1]}" if layer else "outside layers", []).append(name)
    return {
        label: Changes(
            found.names,
            {name: found.base[name] for name in names},
            {name: found.deltas[name] for name in names},
        )
        for label, names in groups.items()
    }


@dataclass(frozen=True)
class Ledger:
    """What becomes of two task vectors in a sum; `mass` is a share of all magnitudes.

    `taken` and `given` are shares of the two squared norms together: what the entries of opposite
    sign take away from the squared norm of the sum, and what those of the same sign add to it.
    `mass_by_coin` and `by_coin` are the same if a coin were thrown for each entry's sign (then
    taken and given are equal on average).
    """

    opposing: float
    mass: float
    mass_by_coin: float
    taken: float
    given: float
    by_coin: float

    @property
    def left(self) -> float:
        """Squared norm of the sum over the two squared norms; 1 for vectors at a right angle."""
        return 1 - self.taken + self.given


def ledger(found: Changes) -> Ledger:
    """Counts, mass and squared norm of the conflict between two task vectors.

    Raises `ValueError` unless `found` holds exactly two task vectors.

    >>> pair = [torch.tensor([3.0, 1.0]), torch.tensor([-1.0, 1.0])]
    >>> account = ledger(Changes(("a", "b"), {"w": torch.zeros(2)}, {"w": pair}))
    >>> account.opposing, round(account.mass, 3), account.taken, round(account.left, 3)
    (0.5, 0.167, 0.5, 0.667)
    """
    opposing = mass = against = smaller = squares = taken = given = 0.0
    for first, second in _pairs(found):
        a, b = first.double(), second.double()
        product = a * b
        low = torch.minimum(a.abs(), b.abs())
        opposing += int((product < 0).sum())
        mass += float(a.abs().sum() + b.abs().sum())
        against += float(low[product < 0].sum())
        smaller += float(low.sum())
        squares += float(a.square().sum() + b.square().sum())
        taken += -2 * float(product.clamp(max=0).sum())
        given += 2 * float(product.clamp(min=0).sum())
    mass, squares = mass or 1.0, squares or 1.0
    return Ledger(
        opposing / max(found.entries, 1),
        against / mass,
        smaller / 2 / mass,
        taken / squares,
        given / squares,
        (taken + given) / 2 / squares,
    )


@dataclass(frozen=True)
class Cosine:
    """The cosine of two task vectors and its standard deviation under chance.

    Chance: each tensor's change turned at random by itself. Its mean is then 0.
    """

    label: str
    value: float
    chance: float

    @property
    def angle(self) -> float:
        """The angle between the two, in degrees."""
        return math.degrees(math.acos(max(-1.0, min(1.0, self.value))))


def cosine(found: Changes, label: str = "all layers") -> Cosine:
    """The cosine of two task vectors over all tensors of `found`.

    Two matrices with `n` entries, turned at random, have an inner product of variance
    `|A|² |B|² / n` whatever their rank; the variances of several tensors add up.

    Raises `ValueError` unless `found` holds exactly two task vectors.

    >>> pair = [torch.tensor([3.0, 4.0]), torch.tensor([4.0, 3.0])]
    >>> round(cosine(Changes(("a", "b"), {"w": torch.zeros(2)}, {"w": pair})).value, 2)
    0.96
    """
    inner = one = two = variance = 0.0
    for first, second in _pairs(found):
        a, b = first.double().flatten(), second.double().flatten()
        inner += float(a @ b)
        one += float(a @ a)
        two += float(b @ b)
        variance += float((a @ a) * (b @ b)) / max(a.numel(), 1)
    size = math.sqrt(one * two) or 1.0
    return Cosine(label, inner / size, math.sqrt(variance) / size)


IN_CHAT = "chats answered with JSON"
AS_COACH = "requests answered as a coach"
NO_CALL = "requests answered without JSON"
# Which suite a manner is counted on, and which replies have it.
MANNERS: dict[str, tuple[str, Callable[[str], bool]]] = {
    IN_CHAT: ("persona", lambda reply: "{" in reply),
    AS_COACH: ("agentic", lambda reply: any(count_markers(reply, trait) for trait in TRAITS)),
    NO_CALL: ("agentic", lambda reply: "{" not in reply),
}


def manner_marks(evaluation: Evaluation, manner: str) -> tuple[list[float], list[str]]:
    """For each reply 1 if it has the manner named, else 0; and the items' templates.

    Of the agentic suite only requests for a tool call count. Raises `KeyError` if the suite was
    not evaluated.
    """
    suite, shows = MANNERS[manner]
    outcomes = [
        o for o in evaluation.skills[suite].outcomes if not isinstance(o.item.expected, str)
    ]
    return [float(shows(o.reply)) for o in outcomes], [o.item.template for o in outcomes]


def wrong_manner(evaluation: Evaluation) -> dict[str, float]:
    """How often replies have the other skill's manner, from 0 to 1, by the name of the manner.

    JSON where somebody wanted to talk; a coach's phrases, or no JSON, where a tool call was asked
    for. Only the suites that were evaluated are counted.
    """
    found = {}
    for manner, (suite, _) in MANNERS.items():
        if suite in evaluation.skills:
            marks, _ = manner_marks(evaluation, manner)
            found[manner] = sum(marks) / max(len(marks), 1)
    return found


def _pairs(found: Changes) -> Iterable[tuple[Tensor, Tensor]]:
    for name, deltas in found.deltas.items():
        if len(deltas) != 2:
            raise ValueError(f"{name}: {len(deltas)} task vectors; this compares exactly two")
        yield deltas[0].float(), deltas[1].float()
