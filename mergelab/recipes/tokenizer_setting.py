"""What a recipe says about the output's tokens, and how it names models: mergekit's long forms."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_serializer,
    model_validator,
)

from mergelab.recipes.suggestions import REFUSED, suggestion


class Strict(BaseModel):
    """A part of a recipe, in which every unknown key is refused."""

    model_config = ConfigDict(extra="forbid")


def _as_reference(value: Any) -> Any:
    """mergekit's long form `{model: path, lora: path}` as the words `path+path`."""
    if not isinstance(value, dict):
        return value
    for key in value:
        if key in REFUSED:
            raise ValueError(f"'{key}': {REFUSED[key]}")
        if key not in ("model", "lora", "path", "revision"):
            raise ValueError(f"unknown key '{key}'; {suggestion(str(key), ('model', 'lora'))}")
    if "model" not in value and "path" not in value:
        raise ValueError("'model' is missing; write 'model: path', with 'lora: path' beside it")
    text = str(_as_reference(value.get("model", value.get("path"))))
    if value.get("revision"):
        text += f"@{value['revision']}"
    return f"{text}+{_as_reference(value['lora'])}" if value.get("lora") else text


Reference = Annotated[str, BeforeValidator(_as_reference), Field(min_length=1)]


class TokenSetting(Strict):
    """Which row of which model stands for a token where a model lacks it, or, `force`, anyway.

    `model` is None for a row of zeros. `token` or `token_id` name another row of that model.
    """

    model: Reference | None = None
    token: str | None = None
    token_id: Annotated[int, Field(ge=0)] | None = None
    force: bool = False

    @model_validator(mode="before")
    @classmethod
    def _as_mergekit_writes_it(cls, value: Any) -> Any:
        """`{source: model}`, `{source: {kind: zero}}`, `{source: {kind: model_token, ...}}`."""
        if not isinstance(value, dict) or "source" not in value:
            raise ValueError("write 'source: ' with a model, or 'source: {kind: zero}'")
        source, rest = value["source"], {k: v for k, v in value.items() if k != "source"}
        if not isinstance(source, dict) or "kind" not in source:
            return {**rest, "model": source}
        inner = {key: item for key, item in source.items() if key != "kind"}
        if source["kind"] == "zero" and not inner:
            return {**rest, "model": None}
        if source["kind"] == "model_token" and "model" in inner:
            if ("token" in inner) == ("token_id" in inner):
                raise ValueError("source: give either 'token' or 'token_id'")
            return {**rest, **inner}
        raise ValueError("source: its kind is 'zero', or 'model_token' with a model and a token")

    @model_serializer
    def _written(self) -> dict[str, Any]:
        row = {"token": self.token} if self.token_id is None else {"token_id": self.token_id}
        source: Any = self.model
        if self.model is None:
            source = {"kind": "zero"}
        elif row != {"token": None}:
            source = {"kind": "model_token", "model": self.model, **row}
        return {"source": source, "force": self.force}


class TokenizerSetting(Strict):
    """Whose tokens the output has: "base", "union" or a model; mergekit's `tokenizer` section."""

    source: Reference = "union"
    tokens: dict[str, TokenSetting] = Field(default_factory=dict)
    pad_to_multiple_of: Annotated[int, Field(ge=1, le=2**20)] | None = None
