"""Exercise `leader_or_noise`: is the best of several rates really ahead?"""

import math
import random
from collections.abc import Callable
from statistics import NormalDist

from autograder.exercise import EXACT, Case, Exercise, Misconception, Points

Rates = dict[str, float]
Answer = dict[str, bool]

CONTRACT = """
Write `leader_or_noise(rates, n)`: of several merges, each scored on n items, is the leader really
ahead of the others, or may it be noise?

- `rates` is a dict from a name to the share of right answers, between 0 and 1, with at least one
  entry; `n` is the number of items, the same for all, at least 1. The leader has the highest rate;
  of several with that rate it is the one listed first. All others are its k rivals.
- All you know are the rates, so the comparison is not paired: the standard error of a lead p - q is
  `sqrt(p * (1 - p) / n + q * (1 - q) / n)`.
- The leader is chosen after looking, and there are k comparisons. To be wrong in at most 5% of such
  tables, every single one must be surer: its lead is **more than noise** if it is greater than z
  standard errors, where z is the `1 - 0.025 / k` quantile of the normal distribution,
  `statistics.NormalDist().inv_cdf(1 - 0.025 / k)`. One rival gives 1.96, four give 2.50.
- Return a dict from each rival's name to `True` (more than noise) or `False`. Without rivals it is
  empty. Do not change `rates`.
"""

HINTS = (
    "Find the leader with `max(rates, key=rates.get)`, which takes the first of equals. Then one "
    "comparison for each other name.",
    "`{name: p - q > z * error(p, q) for ...}`: compute z once, from the number of rivals, and "
    "only if there are any.",
)


def error(p: float, q: float, n: int) -> float:
    return math.sqrt(p * (1 - p) / n + q * (1 - q) / n)


def quantile(k: int) -> float:
    return NormalDist().inv_cdf(1 - 0.025 / k)


def judged_by(rates: Rates, limit: Callable[[float, float, int], float]) -> Answer:
    """Leader against each rival, by a limit on the lead that depends on p, q and k."""
    leader = max(rates, key=lambda name: rates[name])
    rivals = [name for name in rates if name != leader]
    p = rates[leader]
    return {name: p - rates[name] > limit(p, rates[name], len(rivals)) for name in rivals}


def leader_or_noise(rates: Rates, n: int) -> Answer:
    """For each rival, whether the leader's lead is more than noise."""
    return judged_by(rates, lambda p, q, k: quantile(k) * error(p, q, n))


# Wrong implementations ---------------------------------------------------------------------------


def any_lead(rates: Rates, n: int) -> Answer:
    return judged_by(rates, lambda p, q, k: 0.0)


def one_comparison(rates: Rates, n: int) -> Answer:
    return judged_by(rates, lambda p, q, k: quantile(1) * error(p, q, n))


def leaders_error(rates: Rates, n: int) -> Answer:
    return judged_by(rates, lambda p, q, k: quantile(k) * math.sqrt(p * (1 - p) / n))


def one_error(rates: Rates, n: int) -> Answer:
    return judged_by(rates, lambda p, q, k: error(p, q, n))


def intervals_apart(rates: Rates, n: int) -> Answer:
    def limit(p: float, q: float, k: int) -> float:
        return quantile(k) * (math.sqrt(p * (1 - p) / n) + math.sqrt(q * (1 - q) / n))

    return judged_by(rates, limit)


def other_way(rates: Rates, n: int) -> Answer:
    return {name: not clear for name, clear in leader_or_noise(rates, n).items()}


def leader_too(rates: Rates, n: int) -> Answer:
    leader = max(rates, key=lambda name: rates[name])
    return {**leader_or_noise(rates, n), leader: False}


def lists_winners(rates: Rates, n: int) -> bool:
    return all(leader_or_noise(rates, n).values())


def in_place(rates: Rates, n: int) -> Answer:
    answer = leader_or_noise(rates, n)
    rates.pop(max(rates, key=lambda name: rates[name]))
    return answer


WRONG = (
    Misconception(
        "any lead",
        any_lead,
        "You took every lead for real: compare it with z standard errors first.",
    ),
    Misconception(
        "as if one comparison",
        one_comparison,
        "You used 1.96 whatever the number of rivals: with k comparisons each must be surer, the "
        "`1 - 0.025 / k` quantile.",
        (0.4, 0.9),
    ),
    Misconception(
        "the leader's error only",
        leaders_error,
        "You used the leader's error alone: the rival's rate is uncertain, too, so both variances "
        "add up.",
        (0.0, 0.6),
    ),
    Misconception(
        "one standard error",
        one_error,
        "You compared with one standard error: chance alone leads by more than that in about one "
        "comparison of three.",
    ),
    Misconception(
        "intervals apart",
        intervals_apart,
        "You asked whether two intervals are apart: that adds errors where variances add, and "
        "misses leads that are real.",
        (0.0, 0.6),
    ),
    Misconception(
        "turned round",
        other_way,
        "Your answers are turned round: `True` means that the lead is more than noise.",
    ),
    Misconception(
        "the leader as its own rival",
        leader_too,
        "Your answer holds the leader itself: compare it only with the others.",
    ),
    Misconception(
        "one answer for all",
        lists_winners,
        "You returned one answer: each rival needs its own, in a dict.",
    ),
    Misconception(
        "in place",
        in_place,
        "You took the leader out of the table you were given: the caller still needs it whole.",
        (0.7, 0.8),
    ),
)

# Right in another way ----------------------------------------------------------------------------


def by_loop(rates: Rates, n: int) -> Answer:
    leader, best = None, -1.0
    for name, rate in rates.items():
        if rate > best:
            leader, best = name, rate
    answer = {}
    for name, rate in rates.items():
        if name == leader:
            continue
        z = NormalDist().inv_cdf(1 - 0.025 / (len(rates) - 1))
        spread = (best * (1 - best) + rate * (1 - rate)) / n
        answer[name] = best - rate > z * spread**0.5
    return answer


def by_sorting(rates: Rates, n: int) -> Answer:
    (_, p), *rivals = sorted(rates.items(), key=lambda pair: -pair[1])
    z = quantile(len(rivals)) if rivals else 0.0
    return {name: (p - q) > z * error(p, q, n) for name, q in reversed(rivals)}


THE_TABLE = {"linear": 0.85, "TIES": 0.90, "TIES at .3": 0.87, "DARE": 0.86, "SLERP": 0.88}

VISIBLE = (
    Case("two merges", ({"linear": 0.85, "TIES": 0.90}, 50), core=True),
    Case("two merges", ({"linear": 0.80, "TIES": 0.90}, 1000), core=True),
    Case("two merges", ({"TIES": 0.90, "linear": 0.60}, 50), core=True),
    Case("leads close to the limit", ({"a": 0.9, "b": 0.75}, 50), core=True),
    Case("leads close to the limit", ({"a": 0.75, "b": 0.86}, 50), core=True),
    Case("leads close to the limit", ({"a": 0.76, "b": 0.85}, 50), core=True),
    Case("several rivals", (THE_TABLE, 50), weight=2),
    Case("several rivals", ({"a": 0.74, "b": 0.90, "c": 0.72, "d": 0.85}, 50), weight=2),
    Case("a draw for the lead", ({"a": 0.9, "b": 0.9, "c": 0.5}, 100)),
    Case("a single merge", ({"only": 0.9}, 50)),
)


def hidden(seed: str) -> list[Case]:
    draw = random.Random(f"evaluate/leader_or_noise/{seed}")

    def table(k: int, wanted: Callable[[Rates, int], bool]) -> tuple[Rates, int]:
        """A table of k + 1 rates in hundredths for which the answer is not a matter of rounding."""
        while True:
            n = draw.choice((50, 100, 200, 400, 1000))
            rates = {f"merge {j}": draw.randint(40, 97) / 100 for j in range(k + 1)}
            p = max(rates.values())
            near = any(
                abs(p - q - quantile(k) * error(p, q, n)) < 0.002 for q in rates.values() if q < p
            )
            draws = list(rates.values()).count(p) > 1
            if not near and not draws and wanted(rates, n):
                return rates, n

    def differs(wrong: Callable[[Rates, int], Answer]) -> Callable[[Rates, int], bool]:
        return lambda rates, n: wrong(rates, n) != leader_or_noise(rates, n)

    return [
        Case("two merges", table(1, differs(any_lead)), core=True),
        Case("two merges", table(1, lambda r, n: all(leader_or_noise(r, n).values())), core=True),
        Case("leads close to the limit", table(1, differs(leaders_error)), core=True),
        Case("leads close to the limit", table(1, differs(intervals_apart)), core=True),
        Case("leads close to the limit", table(1, differs(one_error)), core=True),
        Case("several rivals", table(4, differs(one_comparison)), weight=2),
        Case("several rivals", table(6, differs(one_comparison)), weight=2),
        Case("a draw for the lead", ({"a": 0.6, "b": 0.8, "c": 0.8}, draw.choice((100, 300)))),
        Case("a single merge", ({"only": draw.randint(1, 99) / 100}, 20)),
        Case("rates of 0 and 1", ({"none": 0.0, "all": 1.0, "too": 1.0}, draw.randint(5, 9))),
    ]


LEADER_OR_NOISE = Exercise(
    id="evaluate/leader_or_noise",
    lesson="06_evaluate_and_tune",
    title="leader or noise",
    signature="leader_or_noise(rates, n)",
    contract=CONTRACT,
    example='`leader_or_noise({"linear": 0.85, "TIES": 0.90}, 50)`: the lead is .05, its standard '
    'error .066, and .05 is less than 1.96 × .066, so the result is `{"linear": False}`.',
    reference=leader_or_noise,
    visible=VISIBLE,
    hidden=hidden,
    points=Points(1, 3),
    minutes=6,
    difficulty=2,
    misconceptions=WRONG,
    alternatives={"by loop": by_loop, "by sorting": by_sorting},
    hints=HINTS,
    tolerance=EXACT,
)
