"""A conversation with a model: prompt in, greedy reply out, with or without memory."""

from __future__ import annotations

from typing import Any

import torch

from mergelab.errors import UserError


class Chat:
    """A conversation with a `transformers` model through its tokenizer's chat template.

    With `memory` the messages so far are part of each prompt, the oldest left out when they no
    longer fit the model's context; without it each prompt stands alone. Raises `UserError` if the
    tokenizer has no chat template.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        system: str | None = None,
        max_new_tokens: int = 96,
        memory: bool = False,
    ) -> None:
        if not getattr(tokenizer, "chat_template", None):
            raise UserError("this model has no chat template, so it cannot be chatted with")
        self.model, self.tokenizer = model, tokenizer
        self.max_new_tokens, self.memory = max_new_tokens, memory
        self.system = [{"role": "system", "content": system}] if system else []
        self.history: list[dict[str, str]] = []

    def say(self, prompt: str) -> str:
        """The model's reply to `prompt`, and both join the history.

        Raises `UserError` if the prompt is longer than the model's context.
        """
        if not self.memory:
            self.history = []
        self.history.append({"role": "user", "content": prompt})
        tokens = self._fitting()
        room = self._context() - tokens["input_ids"].shape[1]
        with torch.inference_mode():
            output = self.model.generate(
                **tokens,
                max_new_tokens=min(self.max_new_tokens, room),
                do_sample=False,
                pad_token_id=self.tokenizer.pad_token_id,
            )
        new = output[0, tokens["input_ids"].shape[1] :]
        reply = self.tokenizer.decode(new, skip_special_tokens=True).strip()
        self.history.append({"role": "assistant", "content": reply})
        return reply

    def _context(self) -> int:
        return getattr(self.model.config, "max_position_embeddings", 2048)

    def _fitting(self) -> Any:
        """The prompt's tokens, with as much of the history as leaves room for a reply."""
        reserve = min(self.max_new_tokens, self._context() // 2)
        while True:
            tokens = self.tokenizer.apply_chat_template(
                self.system + self.history,
                add_generation_prompt=True,
                return_tensors="pt",
                return_dict=True,
            )
            length = tokens["input_ids"].shape[1]
            if length <= self._context() - reserve:
                return tokens
            if len(self.history) == 1:
                if length < self._context():
                    return tokens
                self.history = []
                raise UserError(
                    f"the prompt has {length} tokens, the model takes {self._context() - 1}; "
                    "shorten it"
                )
            self.history = self.history[2:]
