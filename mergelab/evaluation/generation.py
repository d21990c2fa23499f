"""Greedy replies to many prompts at once, with plain `transformers`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from mergelab.errors import UserError
from mergelab.evaluation.suites import Item

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# The longest right answer to a suite takes 48 tokens of the shipped tokenizer.
MAX_NEW_TOKENS = 64
BATCH_SIZE = 256


def generate_replies(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    items: Sequence[Item | str],
    *,
    max_new_tokens: int = MAX_NEW_TOKENS,
    batch_size: int = BATCH_SIZE,
    system: Mapping[str, str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[str]:
    """Return the model's greedy reply to each item (or plain prompt), in the given order.

    Prompts go through the tokenizer's chat template as one user message, behind the item's own
    system prompt or the one that `system` has for its skill. Prompts of like length share
    a batch, padded on the left and masked; a reply ends at the end-of-sequence token, and finished
    replies leave the batch. Padding does not enter the result, so in fp32 replies do not depend on
    which prompts share a batch except where two tokens tie to within rounding; in bf16 that is not
    rare. `progress` is called with the number of prompts just answered.

    Raises `UserError` when the tokenizer has no chat template, one that refuses the system prompt,
    or no end-of-sequence token, for sizes below 1, and when a batch does not fit the memory of a
    GPU.
    """
    import torch

    for name, size in (("max_new_tokens", max_new_tokens), ("batch_size", batch_size)):
        if size < 1:
            raise UserError(f"{name} {size}: must be at least 1")
    if not getattr(tokenizer, "chat_template", None):
        raise UserError("the tokenizer has no chat template; evaluate an instruct or chat model")
    stops = _stop_tokens(model, tokenizer)
    encoded = [encode_chat(tokenizer, _messages(item, system or {})) for item in items]
    order = sorted(range(len(encoded)), key=lambda n: (len(encoded[n]), n))
    replies = [""] * len(encoded)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for start in range(0, len(order), batch_size):
                chosen = order[start : start + batch_size]
                answers = _greedy(model, [encoded[n] for n in chosen], stops, max_new_tokens)
                for n, answer in zip(chosen, answers, strict=True):
                    replies[n] = tokenizer.decode(answer, skip_special_tokens=True)
                if progress:
                    progress(len(chosen))
    except torch.OutOfMemoryError:
        raise UserError(
            f"batch_size {batch_size}: does not fit the memory of {model.device}; try "
            f"{max(1, batch_size // 4)}, or a model of dtype bfloat16"
        ) from None
    finally:
        model.train(was_training)
    return replies


def encode_chat(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]]) -> list[int]:
    """Return the tokens of a conversation, with what the model's own turn begins with.

    Raises `UserError` when the chat template does not take such a conversation.
    """
    from jinja2 import TemplateError

    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except TemplateError as error:
        roles = " and ".join(message["role"] for message in messages)
        raise UserError(
            f"the tokenizer's chat template does not take messages of {roles} ({error}); leave out "
            "what it does not know"
        ) from None
    return tokenizer.encode(text, add_special_tokens=False)


def _messages(item: Item | str, system: Mapping[str, str]) -> list[dict[str, str]]:
    if not isinstance(item, Item):
        return [{"role": "user", "content": item}]
    first = item.system or system.get(item.skill)
    before = [{"role": "system", "content": first}] if first else []
    return [*before, {"role": "user", "content": item.input}]


def _stop_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the tokens that end a reply: the tokenizer's and those the model declares."""
    declared = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    declared = declared if isinstance(declared, list) else [declared]
    stops = {token for token in (*declared, tokenizer.eos_token_id) if token is not None}
    if not stops:
        raise UserError("no end-of-sequence token in the tokenizer or the model; set one")
    return sorted(stops)


def _greedy(
    model: PreTrainedModel, prompts: list[list[int]], stops: list[int], max_new_tokens: int
) -> list[list[int]]:
    """Decode one batch greedily; each reply comes without the token that ended it."""
    import torch
    from transformers import DynamicCache

    device = model.device
    longest = max(len(prompt) for prompt in prompts)
    ids = torch.tensor([[0] * (longest - len(p)) + p for p in prompts], device=device)
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=device)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    stop = torch.tensor(stops, device=device)
    cache = DynamicCache(config=model.config)
    rows = torch.arange(len(prompts), device=device)  # which prompt each row of the batch answers
    written = torch.full((len(prompts), max_new_tokens), stops[0], device=device)
    for step in range(max_new_tokens):
        logits = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        token = logits.argmax(-1)
        written[rows, step] = token
        going = ~torch.isin(token, stop)
        if not bool(going.any()):
            break
        if not bool(going.all()):
            keep = going.nonzero().squeeze(-1)
            cache.batch_select_indices(keep)
            rows, token, mask, positions = rows[keep], token[keep], mask[keep], positions[keep]
        ids = token[:, None]
        positions = positions[:, -1:] + 1
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
    ended = set(stops)
    return [_until(row, ended) for row in written.tolist()]


def _until(tokens: list[int], stops: set[int]) -> list[int]:
    return tokens[: next((n for n, token in enumerate(tokens) if token in stops), len(tokens))]
