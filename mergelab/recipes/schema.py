"""The recipe: mergekit's YAML, checked key by key.

A recipe is read into these models with every unknown key refused, and every complaint is one line
that names the file, the place in it, and what to write instead.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from mergelab.checkpoints.reading import read_text
from mergelab.errors import UserError
from mergelab.methods import REGISTRY
from mergelab.recipes.suggestions import REFUSED, REFUSED_IN_SLICE, suggestion
from mergelab.recipes.tokenizer_setting import (
    Reference,
    Strict,
    TokenizerSetting,
    TokenSetting,
)
from mergelab.recipes.yaml_text import documents

_LARGEST = 500_000  # bytes of a recipe

Dtype = Literal["float32", "float16", "bfloat16"]

# What mergekit accepts and has no meaning here; accepted with a note instead of silently.
IGNORED_PARAMETERS = {
    "int8_mask": "masks are never stored here, so int8_mask changes nothing",
}
# A key with nothing after it reads as null in YAML; it means that nothing is set.
Parameters = Annotated[
    dict[str, Any], BeforeValidator(lambda value: {} if value is None else value)
]


class ModelEntry(Strict):
    """One model of a merge, and the parameters that hold for it."""

    model: Reference
    parameters: Parameters = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _lift_parameters(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError(f"an entry names its model by a key; write 'model: {value}'")
        return _lift(value, cls)


class SliceSource(ModelEntry):
    """One model of a slice: which of its layers, from the first up to but without the last."""

    layer_range: tuple[int, int] | None = None


class Slice(Strict):
    """A run of output layers and the models' layers it is merged from."""

    sources: list[SliceSource] = Field(min_length=1)
    parameters: Parameters = Field(default_factory=dict)


class Recipe(Strict):
    """A merge, as written in YAML: the method, the models or slices, and their parameters."""

    name: str | None = None  # for people, who name their recipes as mergekit's users do
    merge_method: str
    compat: Literal["paper", "mergekit", "peft"] | None = None
    models: list[ModelEntry] | None = None
    slices: list[Slice] | None = None
    base_model: Reference | None = None
    parameters: Parameters = Field(default_factory=dict)
    dtype: Dtype | None = None
    out_dtype: Dtype | None = None
    output: Literal["model", "adapter"] = "model"
    rank: Annotated[int, Field(ge=1)] | None = None
    tokenizer_source: Reference | None = None
    tokenizer: TokenizerSetting | None = None
    chat_template: str | None = None
    allow_unrelated: bool = False

    @model_validator(mode="before")
    @classmethod
    def _lift_parameters(cls, value: Any) -> Any:
        return _lift(value, cls)

    @model_validator(mode="after")
    def _one_of_models_and_slices(self) -> Recipe:
        if bool(self.models) == bool(self.slices):
            raise ValueError("write either 'models' or 'slices', with at least one entry")
        return self

    @model_validator(mode="after")
    def _one_word_on_tokens(self) -> Recipe:
        if self.tokenizer_source and self.tokenizer:
            raise ValueError("write either 'tokenizer_source' or 'tokenizer', not both")
        return self

    @model_validator(mode="after")
    def _adapter_as_output(self) -> Recipe:
        if self.output == "adapter":
            if self.slices:
                raise ValueError(
                    "output: an adapter keeps its base's layers, so it cannot be made of slices; "
                    "write 'models', or 'output: model'"
                )
            if self.tokens not in (None, TokenizerSetting(source="base")):
                raise ValueError(
                    "output: an adapter keeps its base's vocabulary; leave "
                    f"'{'tokenizer' if self.tokenizer else 'tokenizer_source'}' out, or write "
                    "'output: model'"
                )
        elif self.rank is not None:
            method = REGISTRY.get(self.merge_method)
            if method is not None and method.parameter("rank") is None:
                raise ValueError("rank: only adapters have one; write 'output: adapter' beside it")
            self.parameters = {"rank": self.rank, **self.parameters}
        return self

    @property
    def tokens(self) -> TokenizerSetting | None:
        """What the recipe says about the output's tokens, in either of the two forms."""
        if self.tokenizer_source:
            return TokenizerSetting(source=self.tokenizer_source)
        return self.tokenizer

    @field_validator("chat_template")
    @classmethod
    def _template_not_name(cls, value: str | None) -> str | None:
        if value is not None and value != "auto" and "{" not in value:
            raise ValueError(
                f"{value!r} is no template; write 'auto' for the tokenizer's own, or the Jinja text"
            )
        return value


def _parameter_keys() -> set[str]:
    keys = {p.recipe_key for method in REGISTRY.values() for p in method.parameters}
    return keys | set(IGNORED_PARAMETERS)


def _lift(value: Any, model: type[BaseModel]) -> Any:
    """Parameters written directly beside `model` mean the same as under `parameters`."""
    if not isinstance(value, dict):
        return value
    loose = [key for key in value if key in _parameter_keys() and key not in model.model_fields]
    if not loose:
        return value
    given = value.get("parameters") or {}
    if not isinstance(given, dict):
        return value
    for key in loose:
        if key in given:
            raise ValueError(f"'{key}' is given twice, directly and under 'parameters'")
    rest = {key: item for key, item in value.items() if key not in loose}
    return {**rest, "parameters": {**given, **{key: value[key] for key in loose}}}


def read_recipe(path: Path) -> Recipe:
    """The recipe in a YAML file. Raises `UserError`, one line, if it is not a valid one."""
    try:
        text = read_text(Path(path), _LARGEST)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not a text file; a recipe is YAML") from None
    try:
        value, *more = documents(text) or [None]
    except ValueError as error:
        raise UserError(f"{path}: not valid YAML, {error}") from None
    if more:
        raise UserError(
            f"{path}: holds {len(more) + 1} recipes, parted by '---' (mergekit-multi); write each "
            "to a file of its own, and name the output of one as a model of the next"
        )
    return parse_recipe(value, str(path))


def parse_recipe(value: Any, where: str = "recipe") -> Recipe:
    """A recipe from plain data; `where` is named in complaints.

    Raises `UserError`, one line, that says what is wrong, at which key, and what to write.

    >>> parse_recipe({"merge_method": "tise", "models": [{"model": "a"}]})
    Traceback (most recent call last):
    mergelab.errors.UserError: recipe: merge_method 'tise' is not known; did you mean 'ties'?
    """
    if not isinstance(value, dict):
        raise UserError(f"{where}: a recipe is a mapping that starts with 'merge_method: ...'")
    try:
        recipe = Recipe.model_validate(value)
    except ValidationError as error:
        raise UserError(f"{where}: {_first_problem(error)}") from None
    if recipe.merge_method not in REGISTRY:
        raise UserError(
            f"{where}: merge_method {recipe.merge_method!r} is not known; "
            + suggestion(recipe.merge_method, REGISTRY)
        )
    return recipe


def _first_problem(error: ValidationError) -> str:
    problems = error.errors(include_url=False)
    problem = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    *parents, last = problem["loc"] or ("",)
    place = _place(problem["loc"])
    if problem["type"] == "extra_forbidden":
        refused = REFUSED | (REFUSED_IN_SLICE if parents and parents[0] == "slices" else {})
        if last in refused:
            return f"'{place}': {refused[last]}"
        fields = _fields_at(parents)
        keys = set(fields) | _parameter_keys()
        return f"unknown key '{place}'; {suggestion(str(last), keys)}"
    if problem["type"] == "missing":
        return f"'{place}' is missing"
    message = problem["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    return f"{place}: {message}" if place else message


def _place(location: tuple[Any, ...]) -> str:
    """`("models", 0, "model")` as a person would write it: `models[0].model`."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _fields_at(location: list[Any]) -> list[str]:
    names = [part for part in location if isinstance(part, str)]
    models = {
        "models": ModelEntry,
        "slices": Slice,
        "sources": SliceSource,
        "tokenizer": TokenizerSetting,
        "tokens": TokenSetting,
    }
    inner = next((name for name in reversed(names) if name in models), "")
    return list(models.get(inner, Recipe).model_fields)
