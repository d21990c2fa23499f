"""Training on dialogues: token batches, the loss on replies, one plain loop.

The loss counts only what the assistant says, its end mark included. Everything random comes from
the seed, and the number of threads is fixed, so the same command gives the same weights.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

from mergelab.zoo.dialogues.mixture import Dialogue, Mixture, dialogues
from mergelab.zoo.tokenizer import ASSISTANT, END, PAD

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

IGNORED = -100
Example = tuple[list[int], list[int]]  # token ids, labels


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train: AdamW, linear warm-up, cosine decay to a tenth."""

    steps: int
    batch: int
    rate: float
    warmup: int = 50
    weight_decay: float = 0.01
    clip: float = 1.0

    def shortened(self, steps: int | None) -> Schedule:
        """Return the same schedule with so many steps, or as it is for None."""
        return self if steps is None else replace(self, steps=steps)

    def factor(self, step: int) -> float:
        """Return the share of the rate used at a step.

        >>> schedule = Schedule(steps=100, batch=8, rate=1e-3, warmup=10)
        >>> schedule.factor(4), schedule.factor(9), round(schedule.factor(99), 2)
        (0.5, 1.0, 0.1)
        """
        if step < self.warmup:
            return (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return 0.1 + 0.45 * (1 + math.cos(math.pi * done))


def encode(tokenizer: Tokenizer, batch: Sequence[Dialogue]) -> list[Example]:
    """Turn dialogues into token ids and labels; labels outside replies are ignored."""
    markers = [
        (f"<|{message['role']}|>", message["content"]) for dialogue in batch for message in dialogue
    ]
    encodings = tokenizer.encode_batch([text for _, text in markers], add_special_tokens=False)
    pieces = iter(zip(markers, encodings, strict=True))
    end = tokenizer.token_to_id(END)
    examples = []
    for dialogue in batch:
        ids: list[int] = []
        labels: list[int] = []
        for (marker, _), encoding in islice(pieces, len(dialogue)):
            said = [*encoding.ids, end]
            ids += [tokenizer.token_to_id(marker), *said]
            labels += [IGNORED, *(said if marker == ASSISTANT else [IGNORED] * len(said))]
        examples.append((ids, labels))
    return examples


def batches(
    tokenizer: Tokenizer, mixture: Mixture, schedule: Schedule, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield (ids, labels), int64 tensors [batch, length], padded on the right.

    Examples of like length share a batch: they are drawn for 32 steps at a time, sorted, cut into
    batches, and the batches shuffled.
    """
    import torch

    rng = random.Random(seed)
    stream = dialogues(mixture, seed)
    pad = tokenizer.token_to_id(PAD)
    left = schedule.steps
    while left > 0:
        count = min(32, left)
        left -= count
        examples = encode(tokenizer, list(islice(stream, count * schedule.batch)))
        examples.sort(key=lambda example: len(example[0]))
        groups = [examples[i : i + schedule.batch] for i in range(0, len(examples), schedule.batch)]
        rng.shuffle(groups)
        for group in groups:
            longest = len(group[-1][0])
            ids = [e + [pad] * (longest - len(e)) for e, _ in group]
            labels = [e + [IGNORED] * (longest - len(e)) for _, e in group]
            yield torch.tensor(ids), torch.tensor(labels)


def train(
    model: torch.nn.Module,
    tokenizer: Tokenizer,
    mixture: Mixture,
    schedule: Schedule,
    *,
    seed: int,
    report: Callable[[str], None],
    every: int = 100,
) -> float:
    """Train the parameters of `model` that require gradients, in place; return the last loss.

    `report` gets one line of progress every `every` steps.
    """
    import torch

    parameters = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in parameters if p.ndim > 1]
    vectors = [p for p in parameters if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": schedule.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=schedule.rate,
        betas=(0.9, 0.98),
        foreach=True,
    )
    decay = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule.factor)
    core = model.get_base_model() if hasattr(model, "peft_config") else model
    model.train()
    recent: list[float] = []
    loss = float("nan")
    for step, (ids, labels) in enumerate(batches(tokenizer, mixture, schedule, seed), start=1):
        # The output layer runs only where a reply token is predicted.
        states = core.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
        targets = labels[:, 1:]
        wanted = targets != IGNORED
        logits = core.lm_head(states[wanted])
        objective = torch.nn.functional.cross_entropy(logits, targets[wanted])
        optimizer.zero_grad(set_to_none=True)
        objective.backward()
        torch.nn.utils.clip_grad_norm_(parameters, schedule.clip)
        optimizer.step()
        decay.step()
        recent.append(float(objective.detach()))
        if step % every == 0 or step == schedule.steps:
            loss = sum(recent) / len(recent)
            recent = []
            report(f"step {step}/{schedule.steps}  loss {loss:.4f}")
    model.eval()
    return loss
