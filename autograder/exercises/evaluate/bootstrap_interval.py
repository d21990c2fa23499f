"""Exercise `bootstrap_interval`: an interval from drawing whole templates again and again."""

import torch
from torch import Tensor

from autograder.cases import Draw
from autograder.equivalence import PLAIN_NUMBER
from autograder.exercise import Case, Exercise, Misconception, Points

Limits = tuple[float, float]

CONTRACT = """
Write `bootstrap_interval(scores, clusters, draws)`: a 95% interval for the mean of `scores` that
knows that items of one template are alike.

- `scores` is a float32 tensor with one score per item. `clusters` is an int64 tensor of the same
  length: the number of the item's template. With G templates the numbers are 0 to G - 1, and every
  template has at least one item; templates may have different numbers of items.
- `draws` is an int64 tensor with R rows of G numbers, R at least 1. A row is one imagined suite:
  the templates that were drawn for it, with replacement, so that one may occur twice or not at all.
- The imagined suite holds **all items** of each drawn template, as often as it was drawn. Its score
  is the mean over those items.
- Return `(low, high)`: the .025 and the .975 quantile of the R scores, as numbers. Between two
  scores, interpolate linearly, as `torch.quantile` does.
- Do not change the inputs.
"""

HINTS = (
    "You need two tables with one entry per template: the sum of its scores and its number of "
    "items. A drawn suite adds up some entries of both; its score is one sum divided by the other.",
    "`sums = torch.zeros(G).index_add(0, clusters, scores)`, the same with ones for the sizes. "
    "Then `sums[draws]` has the shape of `draws`, and `.sum(1)` adds up each row.",
)


def by_cluster(scores: Tensor, clusters: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of the scores and number of items, of each cluster."""
    empty = torch.zeros(draws.shape[1])
    sums = empty.index_add(0, clusters, scores)
    return sums, empty.index_add(0, clusters, torch.ones_like(scores))


def limits(means: Tensor, low: float = 0.025, high: float = 0.975) -> Limits:
    found = torch.quantile(means, torch.tensor([low, high]))
    return float(found[0]), float(found[1])


def bootstrap_interval(scores: Tensor, clusters: Tensor, draws: Tensor) -> Limits:
    """The .025 and .975 quantiles of the means over suites of drawn templates."""
    sums, sizes = by_cluster(scores, clusters, draws)
    return limits(sums[draws].sum(1) / sizes[draws].sum(1))


# Wrong implementations ---------------------------------------------------------------------------


def draws_items(scores: Tensor, clusters: Tensor, draws: Tensor) -> Limits:
    return limits(scores[draws].mean(1))


def mean_of_means(scores: Tensor, clusters: Tensor, draws: Tensor) -> Limits:
    sums, sizes = by_cluster(scores, clusters, draws)
    return limits((sums / sizes)[draws].mean(1))


def each_once(scores: Tensor, clusters: Tensor, draws: Tensor) -> Limits:
    means = [scores[torch.isin(clusters, row)].mean() for row in draws]
    return limits(torch.stack(means))


def ninety_percent(scores: Tensor, clusters: Tensor, draws: Tensor) -> Limits:
    sums, sizes = by_cluster(scores, clusters, draws)
    return limits(sums[draws].sum(1) / sizes[draws].sum(1), 0.05, 0.95)


def extremes(scores: Tensor, clusters: Tensor, draws: Tensor) -> Limits:
    sums, sizes = by_cluster(scores, clusters, draws)
    return limits(sums[draws].sum(1) / sizes[draws].sum(1), 0.0, 1.0)


def two_errors(scores: Tensor, clusters: Tensor, draws: Tensor) -> Limits:
    sums, sizes = by_cluster(scores, clusters, draws)
    spread = float((sums[draws].sum(1) / sizes[draws].sum(1)).std(correction=0))
    middle = float(scores.mean())
    return middle - 1.96 * spread, middle + 1.96 * spread


def wrong_axis(scores: Tensor, clusters: Tensor, draws: Tensor) -> Limits:
    sums, sizes = by_cluster(scores, clusters, draws)
    return limits(sums[draws].sum(0) / sizes[draws].sum(0))


def divides_by_all(scores: Tensor, clusters: Tensor, draws: Tensor) -> Limits:
    sums, _ = by_cluster(scores, clusters, draws)
    return limits(sums[draws].sum(1) / len(scores))


def no_interpolation(scores: Tensor, clusters: Tensor, draws: Tensor) -> Limits:
    sums, sizes = by_cluster(scores, clusters, draws)
    means = sums[draws].sum(1) / sizes[draws].sum(1)
    found = torch.quantile(means, torch.tensor([0.025, 0.975]), interpolation="lower")
    return float(found[0]), float(found[1])


def in_place(scores: Tensor, clusters: Tensor, draws: Tensor) -> Limits:
    found = bootstrap_interval(scores, clusters, draws)
    scores.copy_(scores.sort().values)
    return found


WRONG = (
    Misconception(
        "items drawn",
        draws_items,
        "You used the drawn numbers to pick items: they are numbers of templates, and a drawn "
        "template brings all of its items.",
    ),
    Misconception(
        "mean of means",
        mean_of_means,
        "You averaged the templates' means: a template with more items counts more, so add scores "
        "and items up before you divide.",
        (0.5, 0.9),
    ),
    Misconception(
        "each template once",
        each_once,
        "You took a template once even where it was drawn twice: drawing is with replacement, and "
        "a template counts as often as it was drawn.",
    ),
    Misconception(
        "90%",
        ninety_percent,
        "You cut off 5% at each end: a 95% interval leaves 2.5% on each side.",
    ),
    Misconception(
        "smallest and largest",
        extremes,
        "You returned the smallest and the largest score: cut off 2.5% on each side with a "
        "quantile.",
    ),
    Misconception(
        "two standard errors",
        two_errors,
        "You built a symmetric interval from a spread: this one is read off the drawn scores with "
        "quantiles, so it need not be symmetric.",
    ),
    Misconception(
        "wrong axis",
        wrong_axis,
        "You added up the columns of `draws`: each row is one imagined suite, so sum over "
        "dimension 1.",
    ),
    Misconception(
        "divided by all items",
        divides_by_all,
        "You divided by the number of items in the real suite: an imagined suite may hold more or "
        "fewer, so divide by its own.",
        (0.5, 0.9),
    ),
    Misconception(
        "no interpolation",
        no_interpolation,
        "You took the drawn score below the quantile: between two of them interpolate linearly, as "
        "`torch.quantile` does.",
    ),
    Misconception(
        "in place",
        in_place,
        "You sorted the scores in place: the caller still needs them beside their items.",
        (0.7, 0.8),
    ),
)

# Right in another way ----------------------------------------------------------------------------


def by_loop(scores: Tensor, clusters: Tensor, draws: Tensor) -> Limits:
    values, of = scores.tolist(), clusters.tolist()
    groups = {g: [v for v, c in zip(values, of, strict=True) if c == g] for g in set(of)}
    means = []
    for row in draws.tolist():
        drawn = [value for g in row for value in groups[g]]
        means.append(sum(drawn) / len(drawn))
    return limits(torch.tensor(means, dtype=torch.float64).float())


def by_matrix(scores: Tensor, clusters: Tensor, draws: Tensor) -> Limits:
    count = torch.nn.functional.one_hot(draws, draws.shape[1]).sum(1).float()
    weight = count[:, clusters]
    return limits((weight * scores).sum(1) / weight.sum(1))


def by_hand(scores: Tensor, clusters: Tensor, draws: Tensor) -> list[float]:
    sums, sizes = by_cluster(scores, clusters, draws)
    means = sorted((sums[draws].sum(1) / sizes[draws].sum(1)).tolist())
    found = []
    for share in (0.025, 0.975):
        place = share * (len(means) - 1)
        below = int(place)
        above = min(below + 1, len(means) - 1)
        found.append(means[below] + (place - below) * (means[above] - means[below]))
    return found


def whole(*values: int) -> Tensor:
    return torch.tensor(values)


FOUR = (torch.tensor([1.0, 1.0, 0.0, 0.0]), whole(0, 0, 1, 1))

VISIBLE = (
    Case("templates of one size", (*FOUR, torch.tensor([[0, 1], [1, 0]])), core=True),
    Case(
        "templates of one size",
        (*FOUR, torch.tensor([[0, 0], [0, 1], [1, 1], [1, 0], [0, 0]])),
        core=True,
    ),
    Case(
        "templates drawn twice or not at all",
        (
            torch.tensor([1.0, 0.0, 1.0]),
            whole(0, 1, 2),
            torch.tensor([[0, 0, 1], [2, 2, 2], [1, 1, 0]]),
        ),
        core=True,
    ),
    Case(
        "templates of different sizes",
        (
            torch.tensor([1.0, 1.0, 1.0, 0.0]),
            whole(0, 0, 0, 1),
            torch.tensor([[0, 1], [1, 1], [0, 0], [0, 1]]),
        ),
        weight=3,
    ),
    Case(
        "items of a template that stand apart",
        (torch.tensor([1.0, 0.0, 1.0, 0.5]), whole(1, 0, 1, 0), torch.tensor([[0, 1], [1, 1]])),
    ),
    Case("a single draw", (*FOUR, torch.tensor([[0, 0]]))),
)


def hidden(seed: str) -> list[Case]:
    draw = Draw(f"evaluate/bootstrap_interval/{seed}")

    def suite(sizes: list[int], rows: int, *, partial: bool = False) -> tuple[Tensor, ...]:
        clusters = [g for g, size in enumerate(sizes) for _ in range(size)]
        draw.random.shuffle(clusters)
        levels = (0.0, 0.25, 0.5, 1.0) if partial else (0.0, 1.0)
        rates = [draw.random.choice((0.1, 0.4, 0.9)) for _ in sizes]
        scores = [
            draw.random.choice(levels) if partial else float(draw.random.random() < rates[g])
            for g in clusters
        ]
        drawn = [[draw.random.randrange(len(sizes)) for _ in sizes] for _ in range(rows)]
        return torch.tensor(scores), torch.tensor(clusters), torch.tensor(drawn)

    uneven = [draw.random.randint(1, 9) for _ in range(7)] + [1, 12]
    return [
        Case("templates of one size", suite([4] * 8, 60), core=True),
        Case("templates of one size", suite([3] * 12, 101), core=True),
        Case("templates drawn twice or not at all", suite([1] * 15, 80), core=True),
        Case("templates of different sizes", suite(uneven, 90), weight=3),
        Case("templates of different sizes", suite(uneven[::-1], 41), weight=3),
        Case("items of a template that stand apart", suite([5, 6, 7, 6], 33)),
        Case("partial scores", suite([3] * 9, 70, partial=True)),
        Case("a single draw", suite([2] * 6, 1)),
        Case("a single template", suite([6], 4)),
    ]


BOOTSTRAP_INTERVAL = Exercise(
    id="evaluate/bootstrap_interval",
    lesson="06_evaluate_and_tune",
    title="bootstrap interval",
    signature="bootstrap_interval(scores, clusters, draws)",
    contract=CONTRACT,
    example="Scores 1, 1, 0, 0 from two templates (`clusters` 0, 0, 1, 1) and the draws "
    "`[[0, 0], [0, 1], [1, 1]]` give suites that score 1, .5 and 0; their quantiles are "
    "`(0.025, 0.975)`.",
    reference=bootstrap_interval,
    visible=VISIBLE,
    hidden=hidden,
    points=Points(1, 4),
    minutes=8,
    difficulty=2,
    misconceptions=WRONG,
    alternatives={"by loop": by_loop, "by matrix": by_matrix, "by hand": by_hand},
    hints=HINTS,
    equivalent={
        "02b999/constant/3": "Computes the same: the last dimension of a matrix is the second.",
        "40175f/constant/2": "Computes the same: the one dimension of a vector is its last, too.",
        "ebcf8c/constant/2": "Computes the same: the one dimension of a vector is its last, too.",
        "ee61e5/constant/3": "Computes the same: the last dimension of a matrix is the second.",
        "ee61e5/constant/6": "Computes the same: the last dimension of a matrix is the second.",
        "f8b3d5/forgotten/1": PLAIN_NUMBER,
        "f8b3d5/forgotten/2": PLAIN_NUMBER,
    },
)
