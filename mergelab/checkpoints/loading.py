"""Any model a person can name, loaded to be talked to: a `transformers` model and its tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mergelab.checkpoints.references import References, Source
from mergelab.errors import UserError
from mergelab.kernels.operands import dense

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_DEVICES = ("cpu", "cuda", "mps", "xpu")


def load_model(
    reference: str,
    *,
    folders: tuple[Path, ...] = (Path(),),
    allow_pickle: bool = False,
    device: str = "cpu",
    dtype: str = "float32",
) -> tuple[Any, Any]:
    """The model and tokenizer behind a reference, in fp32 on the CPU, ready to generate.

    `reference`: a model folder, a bare adapter folder, `base+adapter`, a shipped name or a hub id.
    An adapter's change is added to its base in fp32; then the weights are rounded to `dtype`, if
    that is another, and moved to `device`. Weights stored as pickles are read only with
    `allow_pickle`. Raises `UserError` if something is missing or does not fit.

    >>> model, tokenizer = load_model("task_api_persona")
    >>> model.dtype, model.training
    (torch.float32, False)
    """
    check_device(device, dtype)
    references = References(folders, allow_pickle=allow_pickle)
    model, tokenizer = load_source(references.source(reference), references, DTYPES[dtype])
    return placed(model, device), tokenizer


def check_device(device: str, dtype: str = "float32") -> None:
    """Raise `UserError`, one line, for a dtype that is unknown or a device that is not here.

    >>> check_device("cpu", "bfloat16")
    """
    if dtype not in DTYPES:
        raise UserError(f"dtype {dtype}: use {', '.join(DTYPES)}")
    if device.partition(":")[0] not in _DEVICES:
        raise UserError(f"device {device}: use {', '.join(_DEVICES)}, or one by number, as cuda:1")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise UserError(
            f"device {device}: PyTorch finds none here; use cpu, or install the build of torch for "
            "the device"
        ) from None


def placed(model: Any, device: str = "cpu", dtype: str = "float32") -> Any:
    """A model moved to a device, its weights in `dtype`; what is computed from no weights stays.

    >>> model, _ = load_model("base")
    >>> placed(model, "cpu", "bfloat16").dtype
    torch.bfloat16
    """
    wanted = DTYPES[dtype]
    # Not `model.to(dtype)`: that would round the angles of the rotary embedding, too.
    for parameter in model.parameters():
        if parameter.is_floating_point() and parameter.dtype == torch.float32 != wanted:
            parameter.data = parameter.data.to(wanted)
    try:
        return model.to(device)
    except torch.OutOfMemoryError:
        raise UserError(
            f"device {device}: the model does not fit its memory; use dtype bfloat16, or cpu"
        ) from None


def load_source(
    source: Source, references: References, dtype: torch.dtype = torch.float32
) -> tuple[Any, Any]:
    """As `load_model`, for a source already resolved, on the CPU."""
    base = source.model if source.adapter is None else references.base_of(source)
    state = {name: base.read(name) for name in base.names}
    if source.adapter is not None:
        source.adapter.check_against(base)
        for name in base.names:
            vector = source.adapter.task_vector(name, base)
            if vector is not None:
                state[name] = (state[name].float() + dense(vector)).to(dtype)
    return model_from_state(base.path, state, dtype=dtype), load_tokenizer(base.path)


def model_from_state(
    folder: Path,
    state: dict[str, torch.Tensor],
    named: Path | None = None,
    dtype: torch.dtype = torch.float32,
) -> Any:
    """A `transformers` causal language model: the config in `folder`, the weights in `state`.

    Tensors are loaded in `dtype`. Complaints name the folder, or `named`. Raises `UserError` if
    `transformers` does not know the architecture, or if a weight is missing, left over or of
    another shape than the config says.
    """
    named = named or folder
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    try:
        config = AutoConfig.from_pretrained(folder)
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
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
        {name: tensor.to(dtype) for name, tensor in state.items()}, strict=False
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
