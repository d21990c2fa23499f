"""Any model a person can name, loaded to be talked to: a `transformers` model and its tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mergelab.checkpoints.references import References, Source
from mergelab.errors import UserError
from mergelab.kernels.operands import dense


def load_model(
    reference: str, *, folders: tuple[Path, ...] = (Path(),), allow_pickle: bool = False
) -> tuple[Any, Any]:
    """The model and tokenizer behind a reference, in fp32 on the CPU, ready to generate.

    `reference`: a model folder, a bare adapter folder, `base+adapter`, a shipped name or a hub id.
    An adapter's change is added to its base in fp32. Weights stored as pickles are read only with
    `allow_pickle`. Raises `UserError` if something is missing or does not fit.

    >>> model, tokenizer = load_model("task_api_persona")
    >>> model.dtype, model.training
    (torch.float32, False)
    """
    references = References(folders, allow_pickle=allow_pickle)
    return load_source(references.source(reference), references)


def load_source(source: Source, references: References) -> tuple[Any, Any]:
    """As `load_model`, for a source already resolved."""
    base = source.model if source.adapter is None else references.base_of(source)
    state = {name: base.read(name) for name in base.names}
    if source.adapter is not None:
        source.adapter.check_against(base)
        for name in base.names:
            vector = source.adapter.task_vector(name, base)
            if vector is not None:
                state[name] = state[name].float() + dense(vector)
    return model_from_state(base.path, state), load_tokenizer(base.path)


def model_from_state(
    folder: Path, state: dict[str, torch.Tensor], named: Path | None = None
) -> Any:
    """A `transformers` causal language model: the config in `folder`, the weights in `state`.

    Tensors are loaded in fp32. Complaints name the folder, or `named`. Raises `UserError` if
    `transformers` does not know the architecture, or if a weight is missing, left over or of
    another shape than the config says.
    """
    named = named or folder
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    try:
        config = AutoConfig.from_pretrained(folder)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    except (ValueError, OSError) as error:
        reason = str(error).split(". ")[0]
        raise UserError(f"{named}: transformers cannot build it ({reason})") from None
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    for name, tensor in state.items():
        if name in shapes and shapes[name] != tensor.shape:
            raise UserError(
                f"{named}: '{name}' has shape {list(tensor.shape)}, by its config.json it "
                f"should be {list(shapes[name])}"
            )
    missing, unexpected = model.load_state_dict(
        {name: tensor.float() for name, tensor in state.items()}, strict=False
    )
    if getattr(config, "tie_word_embeddings", False):
        missing = [name for name in missing if "lm_head" not in name]
    if missing or unexpected:
        wrong = (missing or unexpected)[0]
        raise UserError(f"{named}: '{wrong}' does not fit the architecture of its config.json")
    if (folder / "generation_config.json").exists():
        model.generation_config = GenerationConfig.from_pretrained(folder)
    return model.eval()


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer saved in a model's folder. Raises `UserError` if there is none."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder)
    except Exception:  # `tokenizers` raises bare Exceptions; the reasons run over many lines
        raise UserError(
            f"{folder}: has no tokenizer that can be loaded; put tokenizer.json and "
            "tokenizer_config.json of the model it comes from there"
        ) from None
