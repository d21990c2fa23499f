"""Exercise `build_suite`: from rows of a spreadsheet to items that can be trusted."""

import copy
import random
from collections.abc import Callable, Collection
from typing import Any

from autograder.exercise import EXACT, Case, Exercise, Misconception, Points

Row = dict[str, Any]
Text = Callable[[str], str]

TRAITS = ("encouraging", "friendly", "supportive", "empathetic", "celebratory", "positive")
TOOLS = ("create_task", "list_tasks", "complete_task", "delete_task", "update_task", "get_status")

CONTRACT = """
Write `build_suite(rows)`: turn rows, as they come from a spreadsheet, into the items of a suite,
and turn down the rows that would make the suite wrong.

A row is a dict with `template` and `input` (both texts), and with what is expected: either
`traits` (a list of texts) and `topic` (a text), or `tool` (a text) and `arguments` (a dict). A row
"has" `traits` or `tool` when the key is there; no value is None, but a list may be empty.

- A good row with `traits` becomes `{"id": ..., "template": ..., "input": ..., "expected_traits":
  traits, "topic": topic}`; a good row with `tool` becomes `{"id": ..., "template": ..., "input":
  ..., "expected": {"tool": tool, "arguments": arguments}}`.
- `input` is taken without white space around it (`.strip()`); everything else as it stands.
- Ids are `persona-001`, `persona-002`, ... and `agentic-001`, ...: each skill is counted by itself,
  in the order of the rows, and only good rows count.
- A row is rejected for the first of these reasons that holds:
  `"empty"`: nothing is left of `input`; `"kind"`: it has both `traits` and `tool`, or neither;
  `"trait"`: `traits` has not one or two entries (the same one twice does not occur), or one that
  is not encouraging, friendly, supportive, empathetic, celebratory or positive; `"topic"`: `topic`
  is not a substring of the stripped `input`, letter by letter, upper and lower case told apart;
  `"tool"`: not create_task, list_tasks, complete_task, delete_task, update_task or get_status;
  `"repeated"`: a good row before it, of either skill, has the same stripped input, upper and lower
  case taken as equal.
- Return `{"items": [...], "rejected": {row number: reason}}`; rows are numbered from 0. Do not
  change the rows.
"""

HINTS = (
    "First write a helper that returns the reason why a row is bad, or `None`. Then one loop: look "
    "at the reason, else build the item. A `dict` of two counters gives the ids.",
    "Ask with `'traits' in row`. Both or neither: `('traits' in row) == ('tool' in row)`. Keep the "
    "inputs of good rows in a set, as `text.lower()`, and `f'{count:03d}'` writes 7 as 007.",
)


def why_bad(row: Row, repeated: bool) -> str | None:
    """The reason to reject a row, or None."""
    text = row["input"].strip()
    if not text:
        return "empty"
    if ("traits" in row) == ("tool" in row):
        return "kind"
    if "traits" in row:
        traits = row["traits"]
        if len(traits) not in (1, 2) or any(trait not in TRAITS for trait in traits):
            return "trait"
        if row["topic"] not in text:
            return "topic"
    elif row["tool"] not in TOOLS:
        return "tool"
    return "repeated" if repeated else None


def item_of(row: Row, number: int) -> Row:
    """The item that a good row becomes."""
    skill = "persona" if "traits" in row else "agentic"
    item = {
        "id": f"{skill}-{number:03d}",
        "template": row["template"],
        "input": row["input"].strip(),
    }
    if skill == "persona":
        return item | {"expected_traits": row["traits"], "topic": row["topic"]}
    return item | {"expected": {"tool": row["tool"], "arguments": row["arguments"]}}


def build_suite(rows: list[Row]) -> dict[str, Any]:
    """Items from good rows, and the reason for each of the others."""
    return built(rows, ())


def built(rows: list[Row], ignored: Collection[str], same: Text = str.lower) -> dict[str, Any]:
    """A suite for which the reasons `ignored` reject no row; `same` maps equal inputs to one."""
    items: list[Row] = []
    rejected: dict[int, str] = {}
    seen: set[str] = set()
    count = {True: 0, False: 0}
    for number, row in enumerate(rows):
        text = same(row["input"].strip())
        reason = why_bad(row, text in seen)
        if reason is not None and reason not in ignored:
            rejected[number] = reason
            continue
        seen.add(text)
        count["traits" in row] += 1
        items.append(item_of(row, count["traits" in row]))
    return {"items": items, "rejected": rejected}


# Wrong implementations ---------------------------------------------------------------------------


def renumbered(result: dict[str, Any], ids: list[str]) -> dict[str, Any]:
    items = [{**item, "id": id_} for item, id_ in zip(result["items"], ids, strict=True)]
    return {**result, "items": items}


def rows_counted(rows: list[Row]) -> dict[str, Any]:
    result = build_suite(rows)
    good = [n for n in range(len(rows)) if n not in result["rejected"]]
    ids = [f"{item['id'][:7]}-{n + 1:03d}" for item, n in zip(result["items"], good, strict=True)]
    return renumbered(result, ids)


def one_counter(rows: list[Row]) -> dict[str, Any]:
    result = build_suite(rows)
    return renumbered(
        result, [f"{item['id'][:7]}-{n:03d}" for n, item in enumerate(result["items"], 1)]
    )


def from_zero(rows: list[Row]) -> dict[str, Any]:
    result = build_suite(rows)
    return renumbered(
        result, [f"{i['id'][:7]}-{int(i['id'][8:]) - 1:03d}" for i in result["items"]]
    )


def numbered_from_one(rows: list[Row]) -> dict[str, Any]:
    result = build_suite(rows)
    return {**result, "rejected": {n + 1: why for n, why in result["rejected"].items()}}


def keeps_repeats(rows: list[Row]) -> dict[str, Any]:
    return built(rows, ("repeated",))


def topic_anywhere(rows: list[Row]) -> dict[str, Any]:
    return built(rows, ("topic",))


def any_trait(rows: list[Row]) -> dict[str, Any]:
    return built(rows, ("trait",))


def case_matters(rows: list[Row]) -> dict[str, Any]:
    return built(rows, (), same=str)


def not_stripped(rows: list[Row]) -> dict[str, Any]:
    result = build_suite(rows)
    raw = [row["input"] for n, row in enumerate(rows) if n not in result["rejected"]]
    items = [{**item, "input": text} for item, text in zip(result["items"], raw, strict=True)]
    return {**result, "items": items}


def expectation_flat(rows: list[Row]) -> dict[str, Any]:
    result = build_suite(rows)
    items = []
    for item in result["items"]:
        flat = {key: value for key, value in item.items() if key != "expected"}
        items.append(flat | item.get("expected", {}))
    return {**result, "items": items}


def drops_silently(rows: list[Row]) -> dict[str, Any]:
    return {**build_suite(rows), "rejected": {}}


def in_place(rows: list[Row]) -> dict[str, Any]:
    result = copy.deepcopy(build_suite(rows))
    for row in rows:
        row["input"] = row["input"].strip()
    return result


WRONG = (
    Misconception(
        "rejected rows counted",
        rows_counted,
        "You numbered items by their row: ids count only good rows, and each skill by itself.",
    ),
    Misconception(
        "one counter for both skills",
        one_counter,
        "You counted both skills together: each skill has ids of its own, from 001.",
    ),
    Misconception("ids from 0", from_zero, "You started the ids at 000: the first item is 001."),
    Misconception(
        "rows from 1",
        numbered_from_one,
        "You numbered the rejected rows from 1: the contract counts rows from 0.",
    ),
    Misconception(
        "repeats kept",
        keeps_repeats,
        "You kept a row that was there before: a repeated input counts twice in the score and adds "
        "nothing.",
        (0.5, 0.95),
    ),
    Misconception(
        "case told apart",
        case_matters,
        "You compared inputs letter by letter: upper and lower case count as equal, so compare "
        "`text.lower()`.",
        (0.5, 0.98),
    ),
    Misconception(
        "topic not looked for",
        topic_anywhere,
        "You took a topic that does not stand in the input: no model could restate it, so the item "
        "can never be right.",
        (0.5, 0.95),
    ),
    Misconception(
        "any trait",
        any_trait,
        "You took traits as they came: one or two of the six known ones, or no scorer can judge "
        "the reply.",
        (0.5, 0.95),
    ),
    Misconception(
        "input not stripped",
        not_stripped,
        "You kept the white space around `input`: strip it first.",
        (0.5, 0.98),
    ),
    Misconception(
        "expectation flat",
        expectation_flat,
        "You put tool and arguments into the item itself: they belong together under `expected`.",
    ),
    Misconception(
        "dropped in silence",
        drops_silently,
        "You dropped bad rows without a word: `rejected` must say for each row why.",
    ),
    Misconception(
        "in place",
        in_place,
        "You changed the rows themselves: build new dicts, the caller still needs its own.",
        (0.7, 0.8),
    ),
)

# Right in another way ----------------------------------------------------------------------------


def two_passes(rows: list[Row]) -> dict[str, Any]:
    inputs = [row["input"].strip().lower() for row in rows]
    good: list[int] = []
    rejected = {}
    for n, row in enumerate(rows):
        reason = why_bad(row, any(inputs[n] == inputs[m] for m in good))
        if reason:
            rejected[n] = reason
        else:
            good.append(n)
    numbers = {}
    for kind in ("traits", "tool"):
        numbers |= {n: m for m, n in enumerate([n for n in good if kind in rows[n]], start=1)}
    return {"rejected": rejected, "items": [item_of(rows[n], numbers[n]) for n in good]}


def on_a_copy(rows: list[Row]) -> dict[str, Any]:
    mine = copy.deepcopy(rows)
    for row in mine:
        row["input"] = row["input"].strip()
    return build_suite(mine)


def persona(text: str, traits: list[str], topic: str, template: str = "p/0") -> Row:
    return {"template": template, "input": text, "traits": traits, "topic": topic}


def agentic(text: str, tool: str, arguments: Row, template: str = "a/0") -> Row:
    return {"template": template, "input": text, "tool": tool, "arguments": arguments}


DONE = persona("I finished the map!", ["celebratory"], "the map")
CLOSE = agentic("Close task 417.", "complete_task", {"id": 417})

VISIBLE = (
    Case("good rows", ([DONE],), core=True),
    Case("good rows", ([CLOSE],), core=True),
    Case(
        "good rows of both skills",
        ([DONE, CLOSE, persona("Hi, the plan again.", ["friendly", "positive"], "the plan")],),
        core=True,
    ),
    Case(
        "rejected rows between good ones",
        ([DONE, persona("  ", ["friendly"], "the plan"), agentic("List it.", "list", {}), CLOSE],),
        core=True,
    ),
    Case("white space around the input", ([persona(" The map! ", ["positive"], "The map")],)),
    Case("a row of both kinds or of none", ([DONE | CLOSE, {"template": "x", "input": "Hi"}],)),
    Case(
        "traits that no scorer knows",
        (
            [
                persona("The map!", ["cheerful"], "The map"),
                persona("The map!", [], "The map"),
                persona("The map!", ["friendly", "positive", "supportive"], "The map"),
            ],
        ),
        weight=2,
    ),
    Case("a topic that is not in the input", ([persona("Done!", ["positive"], "map")],), weight=2),
    Case("a repeated input", ([DONE, CLOSE, DONE, DONE],), weight=2),
    Case(
        "a repeated input in other letters",
        ([CLOSE, agentic(" CLOSE task 417. ", "complete_task", {"id": 417})],),
    ),
    Case("no rows", ([],)),
)


def hidden(seed: str) -> list[Case]:
    draw = random.Random(f"evaluate/build_suite/{seed}")
    topics = draw.sample(("the garden plan", "a chess poster", "the tax form", "my essay"), 4)
    ids = draw.sample(range(100, 999), 6)

    def chat(n: int, **changes: Any) -> Row:
        row = persona(f"News of {topics[n]}!", [draw.choice(TRAITS)], topics[n], f"p/{n}")
        return row | changes

    def request(n: int, **changes: Any) -> Row:
        row = agentic(f"Task {ids[n]}, please.", draw.choice(TOOLS), {"id": ids[n]}, f"a/{n}")
        return row | changes

    two = draw.sample(TRAITS, 2)
    all_known = [
        chat(0, input=f"{n}. {topics[0]}", traits=[trait]) for n, trait in enumerate(TRAITS)
    ]
    all_known += [request(n, tool=tool) for n, tool in enumerate(TOOLS)]
    return [
        Case("good rows", ([chat(0), chat(1, traits=two)],), core=True),
        Case("good rows", ([request(0), request(1), request(2, arguments={})],), core=True),
        Case(
            "good rows of both skills",
            ([request(0), chat(0), request(1), chat(1), chat(2)],),
            core=True,
        ),
        Case(
            "rejected rows between good ones",
            ([chat(0, input=""), request(0), request(1, tool="close"), request(2), chat(1)],),
            core=True,
        ),
        Case("white space around the input", ([chat(0, input=f"\n {topics[0]}\t")],)),
        Case("a row of both kinds or of none", ([request(0) | chat(1), chat(2)],)),
        Case("a row of both kinds or of none", ([{"template": "x", "input": topics[1]}],)),
        Case("traits that no scorer knows", ([chat(0, traits=["kind"]), chat(1)],), weight=2),
        Case("traits that no scorer knows", ([chat(0, traits=[]), chat(1)],), weight=2),
        Case(
            "traits that no scorer knows",
            ([chat(0, traits=draw.sample(TRAITS, 3)), chat(1)],),
            weight=2,
        ),
        Case(
            "a topic that is not in the input", ([chat(0, topic=topics[1]), request(1)],), weight=2
        ),
        Case("a repeated input", ([chat(0), request(0), chat(0), request(1)],), weight=2),
        Case(
            "a repeated input in other letters",
            ([request(0), request(0, input=f" TASK {ids[0]}, please. ")],),
        ),
        Case("a rejected row that comes again", ([chat(0, traits=[]), chat(0)],)),
        Case("several reasons at once", ([chat(0, traits=["kind"], topic="it"), chat(0)],)),
        Case("several reasons at once", ([request(0), request(0, tool="close")],)),
        Case("no rows", ([],)),
        Case("every trait and every tool", (all_known,)),
    ]


BUILD_SUITE = Exercise(
    id="evaluate/build_suite",
    lesson="06_evaluate_and_tune",
    title="build a suite",
    signature="build_suite(rows)",
    contract=CONTRACT,
    example="Two rows, the second with the tool `close`, give one item with the id `persona-001` "
    'and `"rejected": {1: "tool"}`.',
    reference=build_suite,
    visible=VISIBLE,
    hidden=hidden,
    points=Points(1, 3),
    minutes=8,
    difficulty=2,
    misconceptions=WRONG,
    alternatives={"two passes": two_passes, "on a copy": on_a_copy},
    hints=HINTS,
    tolerance=EXACT,
    equivalent={
        "d146ec/compare/2": "Computes the same: one or two traits are never all six of them.",
    },
)
