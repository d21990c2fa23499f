"""What strangers may write into a recipe."""

from hostile_files import COMPUTED, GOOD, MODELS, RECIPE, REFUSED, Cases, shown, written

CASES = Cases()
case = CASES.add

METHOD = "merge_method: task_arithmetic\n"
BASE_MODEL = "base_model: base"


def laughs(indent: str, count: int) -> str:
    """Lines that each hold the one before twice; the last holds `2**count` words."""
    lines = ["weight: &a0 [ha]", *(f"x{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, count))]
    return "".join(f"{indent}{line}\n" for line in lines)


for name, text in {
    "of nothing": "",
    "of half a surrogate pair": GOOD + 'name: "\\ud800"\n',
    "of a NUL": GOOD + "name: \0\n",
    "with a tab": GOOD.replace("  - ", "\t- "),
    "of UTF-16": GOOD.encode("utf-16"),
    "with a billion laughs": laughs("", 40) + GOOD,
    "with laughs in its parameters": METHOD + "parameters:\n" + laughs("  ", 30) + MODELS,
    "that holds itself": "merge_method: &a [*a]\n" + MODELS,
    "whose models hold themselves": "merge_method: ties\nmodels: &a\n  - *a\n",
    "with a chain of aliases": "x0: &x0 1\n"
    + "".join(f"x{i}: &x{i} [*x{i - 1}]\n" for i in range(1, 900))
    + GOOD,
    "nested 200 deep": GOOD + "parameters: {weight: " + "[" * 200 + "1" + "]" * 200 + "}\n",
    "nested 100,000 deep": "[" * 100_000,
    "of 600 kB": GOOD + "# " + "x" * 600_000,
    "of 400 kB of brackets": "[" + "[]," * 130_000 + "]",
    "with a Python object": "!!python/object/apply:os.system [touch code-was-run]\n" + GOOD,
    "with an empty number": GOOD + "parameters: {lambda: !!int ''}\n",
    "with a perhaps": GOOD + "allow_unrelated: !!bool perhaps\n",
    "with a day that is none": GOOD + "name: !!timestamp never\n",
    "with a key twice": GOOD + "base_model: base\n",
    "with a list for a key": GOOD + "? [a, b]\n: 1\n",
    "with a number for a key": GOOD + "5: 1\n",
    "of two documents": GOOD + "---\n" + GOOD,
    "with 100,000 models": "merge_method: ties\nmodels: [" + "a," * 100_000 + "]\n",
    "with a base that is a sum without end": GOOD.replace(
        BASE_MODEL, "base_model: " + "a+" * 5000 + "a"
    ),
    "with a base of 5000 letters": GOOD.replace(BASE_MODEL, "base_model: " + "a" * 5000),
    "with a base outside the file system": GOOD.replace(BASE_MODEL, 'base_model: "a\\0b"'),
    "with a base of two lines": GOOD.replace(BASE_MODEL, 'base_model: "a\\nb"'),
    "with a base that is a loop": GOOD.replace(BASE_MODEL, "base_model: loop"),
}.items():
    case(REFUSED, f"a recipe {name}", written(RECIPE, text))
for line in (
    "parameters: {lambda: .nan}",
    "parameters: {lambda: -.inf}",
    "parameters: {lambda: 1e400}",
    f"parameters: {{lambda: {'9' * 400}}}",
    f"parameters: {{lambda: {'9' * 5000}}}",
    "parameters: {lambda: []}",
    "parameters: {lambda: {}}",
    "parameters: {lambda: [[1]]}",
    "parameters: {lambda: {filter: 5}}",
    "parameters: {lambda: 1.0e+308}",
    "parameters: {lambda: !!binary aGk=}",
    "parameters: {lambda: 2024-01-01}",
    "parameters: [1]",
    "output: adapter\nrank: 0",
    "output: adapter\nrank: -1",
    f"output: adapter\nrank: {'9' * 4000}\ntokenizer_source: union",
    "tokenizer: {pad_to_multiple_of: 1000000000000000}",
    "tokenizer: {tokens: {w1: {source: {kind: model_token, model: base, token_id: 1"
    + "0" * 30 + "}}}}",
    "tokenizer: {source: union, tokens: {w1: {source: {kind: [zero]}}}}",
    "tokenizer_source: nobody",
    "chat_template: 5",
    "dtype: float8",
    "compat: [paper]",
):  # fmt: skip
    case(REFUSED, f"a recipe with {shown(line)}", written(RECIPE, GOOD + line + "\n"))
for text in ("[-1, 2]", "[0, 99999999999999999999999]", "[2, 1]", "[0.5, 1]", "[0, x]", "[1]", "5"):
    slices = f"slices: [{{sources: [{{model: base, layer_range: {text}}}]}}]\n"
    case(
        REFUSED,
        f"a slice of layers {text}",
        written(RECIPE, f"merge_method: passthrough\n{slices}"),
    )
case(COMPUTED, "a recipe with a byte order mark", written(RECIPE, "\ufeff" + GOOD))
case(
    COMPUTED,
    "a recipe with anchors",
    written(
        RECIPE,
        GOOD.replace("parameters: {weight: 0.5}", "parameters: &w {weight: 0.5}", 1).replace(
            "parameters: {weight: 0.5}", "parameters: *w"
        ),
    ),
)
case(
    COMPUTED,
    "a recipe with a name in other scripts",
    written(RECIPE, GOOD + "name: 'çüß 合并 \u202e دمج 🧬'\n"),
)
case(COMPUTED, "a recipe with Windows line ends", written(RECIPE, GOOD.replace("\n", "\r\n")))
