"""Models as plain dicts of tensors: to talk to, to score, to walk between; and some that misfit.

The first lesson works on whole models by name of tensor. These helpers turn a shipped model into
such a dict and a dict back into something that answers; all of them are for small models.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mergelab.errors import UserError
from mergelab.notebook.predictions import Note
from mergelab.notebook.tables import Table
from mergelab.paths import data_path

if TYPE_CHECKING:
    from mergelab.evaluation.results import Evaluation

State = dict[str, Tensor]
_READS = ("embed_tokens", "q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")  # columns: hidden
_WRITES = ("o_proj", "down_proj", "norm", "layernorm")  # rows: hidden


def weights_of(reference: str) -> State:
    """The weights of a model or adapter as a dict of fp32 tensors by name, tied ones once.

    Raises `UserError` if there is no such model.

    >>> sum(values.numel() for values in weights_of("base").values())
    1006720
    """
    import mergelab

    model, _ = mergelab.load_model(reference)
    return {
        name: values.clone()
        for name, values in model.state_dict().items()
        if name != "lm_head.weight" or not model.config.tie_word_embeddings
    }


def task_vector_of(reference: str) -> State:
    """What an adapter changes in its base, by name of tensor, in fp32; changed tensors only.

    >>> len(task_vector_of("task_api_persona"))
    28
    """
    from mergelab.notebook.weights import changes

    return {name: deltas[0] for name, deltas in changes(reference).deltas.items()}


def ready(state: Any) -> tuple[Any, Any]:
    """A `transformers` model with these weights in the course's base, and its tokenizer.

    Raises `UserError` if the weights do not fit the base.
    """
    from mergelab.checkpoints.loading import model_from_state

    return model_from_state(data_path("models", "base"), dict(state)), _tokenizer()


@cache
def _tokenizer() -> Any:
    from mergelab.checkpoints.loading import load_tokenizer

    return load_tokenizer(data_path("models", "base"))


def score(
    state: Mapping[str, Tensor],
    *,
    skills: Sequence[str],
    name: str = "model",
    items: int = 50,
) -> Evaluation:
    """Score a model given by its weights on some skills, on the first `items` of the dev split."""
    from mergelab.evaluation.results import evaluate

    return evaluate(*ready(state), skills=skills, split="dev", limit=items, name=name)


def conversation(models: Mapping[str, Any], prompts: Sequence[str], *, caption: str = "") -> Table:
    """What several models say to the same prompts: one row for each prompt.

    `models` maps the name in the table to a shipped name, a folder, or a dict of weights.
    """
    import mergelab
    from mergelab.evaluation.generation import generate_replies

    replies = []
    for given in models.values():
        loaded = mergelab.load_model(given) if isinstance(given, str) else ready(given)
        replies.append(generate_replies(*loaded, prompts))
    rows = [list(row) for row in zip(prompts, *replies, strict=True)]
    return Table(["you say", *models], rows, text_columns=range(len(models) + 1), caption=caption)


def talk_to(state: Any, prompts: Sequence[str], *, caption: str = "") -> Table | Note | None:
    """The replies of a model that a learner's function made; a sentence if it is not one yet.

    >>> talk_to({"w": torch.ones(2)}, ["Hello"])
    This is not a whole model yet: ... Repair your function, run its check, then run this cell
    again.
    """
    if state is None:  # `attempt` has said why
        return None
    problem = ""
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        problem = "it should be a dict of tensors by name"
    else:
        try:
            return conversation({"your model": state}, prompts, caption=caption)
        except (UserError, RuntimeError) as error:
            problem = str(error).splitlines()[0].rpartition(": ")[2]
    return Note(
        f"This is not a whole model yet: {problem}. Repair your function, run its check, then run "
        "this cell again."
    )


def on_the_line(first: Mapping[str, Tensor], second: Mapping[str, Tensor], share: float) -> State:
    """The model on the straight line between two: the first at share 0, the second at 1.

    >>> on_the_line({"w": torch.tensor([0.0])}, {"w": torch.tensor([4.0])}, 0.25)
    {'w': tensor([1.])}
    """
    return {name: (1 - share) * first[name] + share * second[name] for name in first}


def neurons_shuffled(state: Mapping[str, Tensor], seed: int = 0) -> State:
    """The same model with its neurons in another order: other weights, the same replies.

    The entries of the hidden state change places in every tensor that reads or writes them, and so
    do the neurons inside each MLP. `state`: the weights of a Llama, tied or not.
    """
    draw = torch.Generator().manual_seed(seed)
    hidden = torch.randperm(state["model.norm.weight"].numel(), generator=draw)
    moved = {}
    for name, values in state.items():
        kind = name.removesuffix(".weight").rpartition(".")[2]
        if kind in (*_READS, "lm_head"):
            moved[name] = values[:, hidden]
        elif kind.endswith(_WRITES):
            moved[name] = values[hidden]
        else:
            moved[name] = values
    for name in [n for n in state if n.endswith("gate_proj.weight")]:
        inner = torch.randperm(state[name].shape[0], generator=draw)
        mlp = name.removesuffix("gate_proj.weight")
        for part in ("gate_proj", "up_proj"):
            moved[f"{mlp}{part}.weight"] = moved[f"{mlp}{part}.weight"][inner]
        moved[f"{mlp}down_proj.weight"] = moved[f"{mlp}down_proj.weight"][:, inner]
    return {name: values.contiguous() for name, values in moved.items()}


def write_outsiders(folder: Path) -> dict[str, Path]:
    """Three models that do not belong to the course's base, written to `folder`, by what differs.

    Another shape (half as wide, random weights), other words (the base, with its tokens numbered in
    another order), and other neurons (the base, with its neurons in another order).
    """
    from safetensors.torch import save_file

    from mergelab.zoo.shapes import SHAPES, write_models

    base = data_path("models", "base")
    write_models(SHAPES["tiny"], folder / "half_as_wide", adapters=0)
    words = folder / "other_words"
    shutil.copytree(base, words)
    tokenizer = json.loads((words / "tokenizer.json").read_text("utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    moved = list(vocabulary)[len(vocabulary) // 4 :]  # special tokens and bytes keep their numbers
    numbers = [vocabulary[token] for token in moved]
    vocabulary.update(zip(moved, reversed(numbers), strict=True))
    (words / "tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")
    neurons = folder / "other_neurons"
    shutil.copytree(base, neurons)
    shuffled = {n: v.bfloat16() for n, v in neurons_shuffled(weights_of("base")).items()}
    save_file(shuffled, neurons / "model.safetensors", metadata={"format": "pt"})
    return {
        "another shape": folder / "half_as_wide" / "base",
        "other words": words,
        "other neurons": neurons,
    }


def answer_to(recipe: Mapping[str, Any], **options: Any) -> str:
    """What the tool says to a recipe: its complaint, with short names for folders, or "merged"."""
    import mergelab

    try:
        mergelab.merge(dict(recipe), **options)
    except UserError as error:
        text = str(error)
        named = {str(data_path("models", "base")): "base"}
        for each in recipe["models"]:
            path = Path(each["model"])
            if path.is_absolute():
                # The folder of a model that is itself called `base` says more.
                named[str(path)] = path.parent.name if path.name == "base" else path.name
        for path in sorted(named, key=len, reverse=True):
            text = text.replace(path, named[path])
        return text
    return "merged"


def training_over_merging(recipe: Mapping[str, Any], steps: int = 2) -> str:
    """How many times longer training the adapters takes than merging them, in words.

    As `training_ratio` measures it; in words, because every run gives a slightly different number.
    """
    return _times(training_ratio(recipe, steps))


def training_ratio(recipe: Mapping[str, Any], steps: int = 2) -> float:
    """How many times longer training the two adapters takes than merging them.

    Runs a few of the training steps of the course's adapters, works out the time of all of them,
    and holds it against one merge. Processor time, so that other work on the machine does not
    count.
    """
    import mergelab
    from mergelab.zoo.models import ADAPTERS
    from mergelab.zoo.training import train

    adapter = ADAPTERS[0]
    model, tokenizer = mergelab.load_model("base")
    schedule = adapter.schedule.shortened(steps)
    began = time.process_time()
    train(
        model, tokenizer.backend_tokenizer, adapter.mixture, schedule, seed=0, report=lambda _: None
    )
    trained = (time.process_time() - began) / steps * adapter.schedule.steps * 2
    began = time.process_time()
    mergelab.merge(dict(recipe))
    return trained / (time.process_time() - began)


def _times(ratio: float) -> str:
    """A ratio in words that stay true when a machine is a few times faster or slower.

    >>> _times(4300), _times(30), _times(2)
    ('more than a hundred times', 'more than ten times', 'less than ten times')
    """
    if ratio >= 100:
        return "more than a hundred times"
    return "more than ten times" if ratio >= 10 else "less than ten times"
