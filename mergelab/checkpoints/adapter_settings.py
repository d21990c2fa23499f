"""What an adapter's `adapter_config.json` says: how its factors are scaled, and what it is.

What PEFT's LoRA can express and is read here: rank and alpha patterns, rsLoRA, DoRA,
`fan_in_fan_out`, embeddings, `modules_to_save`, trained biases, `lora_bias`, single trained tokens.
Everything else is refused by its name, because an adapter that is read half is merged wrong.
"""

from __future__ import annotations

import math
import re
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mergelab.errors import UserError

# Settings whose presence changes what the weights mean, and which are not supported.
_REFUSED = (
    "use_qalora",
    "use_bdlora",
    "layer_replication",
    "target_parameters",
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "velora_config",
    "megatron_config",
)
# Pairs for which PEFT's merged model is not the model that was trained.
_REFUSED_PAIRS = (("lora_bias", "use_dora"), ("lora_bias", "bias"))
# Initialisations that also change the base, so that the factors belong to that changed base.
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")

# A stranger's pattern may be made to backtrack for ever: little is repeated, and no group is.
_REPEATS, _MOST_REPEATS = re.compile(r"[*+{]|(?<!\()\?"), 3
_REPEATED_GROUP = re.compile(r"(?<!\\)\)[*+{]")

_INSTEAD = "merge this adapter into its base with PEFT and use the merged model"


@dataclass(frozen=True)
class AdapterSettings:
    """The settings of one adapter, checked; `where` is the file they come from."""

    config: dict[str, Any]
    where: Path

    def __post_init__(self) -> None:
        kind = self.config.get("peft_type")
        if kind != "LORA":
            raise UserError(
                f"{self.where}: peft_type is {kind!r}; only LORA adapters can be merged"
            )
        for key in _REFUSED:
            if self.config.get(key):
                raise UserError(f"{self.where}: '{key}' is not supported; {_INSTEAD}")
        for pair in _REFUSED_PAIRS:
            if all(self.config.get(key) not in (None, False, "none") for key in pair):
                raise UserError(
                    f"{self.where}: '{pair[0]}' together with '{pair[1]}' is not supported; "
                    f"{_INSTEAD}"
                )
        if self.bias not in ("none", "all", "lora_only"):
            raise UserError(f"{self.where}: bias is {self.bias!r}; use none, all or lora_only")
        start = str(self.config.get("init_lora_weights", True)).lower()
        if start.startswith(_CHANGES_BASE):
            raise UserError(
                f"{self.where}: init_lora_weights: {start} also changes the base; convert the "
                "adapter with PEFT (save_pretrained(..., "
                "path_initial_model_for_weight_conversion=...))"
            )
        self.alpha("")
        self.rank("")  # complain about patterns now

    @property
    def bias(self) -> str:
        """Which of the base's biases were trained: none, all, or lora_only."""
        return self.config.get("bias", "none")

    @property
    def stores_transposed(self) -> bool:
        """Whether layers store their weight as `[in, out]` (GPT-2's Conv1D)."""
        return bool(self.config.get("fan_in_fan_out"))

    def alpha(self, module: str) -> float:
        """`alpha` of a module: the value of the first pattern that matches its name, as in PEFT.

        A pattern is a regular expression for the end of the name.
        """
        for pattern, alpha in self._alphas:
            if pattern.match(module):
                return alpha
        return self._number("lora_alpha", self.config.get("lora_alpha", 8))

    def rank(self, module: str) -> int:
        """The rank of a module's factors, from its pattern as `alpha`."""
        for pattern, rank in self._ranks:
            if pattern.match(module):
                return rank
        return self._number("r", self.config.get("r", 8))

    @cached_property
    def _alphas(self) -> list[tuple[re.Pattern, float]]:
        return self._patterns("alpha_pattern")

    @cached_property
    def _ranks(self) -> list[tuple[re.Pattern, int]]:
        return self._patterns("rank_pattern")

    def _patterns(self, key: str) -> list[tuple[re.Pattern, Any]]:
        patterns = self.config.get(key) or {}
        if not isinstance(patterns, dict):
            raise UserError(f"{self.where}: {key} must map names of modules to numbers")
        found = []
        for pattern, value in patterns.items():
            if len(_REPEATS.findall(pattern)) > _MOST_REPEATS or _REPEATED_GROUP.search(pattern):
                raise UserError(
                    f"{self.where}: {key} {pattern!r} could take for ever to match; write the "
                    "names of the modules"
                )
            try:
                compiled = re.compile(rf"(.*\.)?({pattern})$")
            except (re.error, RecursionError, OverflowError) as error:
                raise UserError(f"{self.where}: {key} {pattern!r} is not valid ({error})") from None
            found.append((compiled, self._number(key, value)))
        return found

    def _number(self, key: str, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UserError(f"{self.where}: {key} must be a number, got {value!r}")
        if not abs(value) <= sys.float_info.max:  # infinity, NaN, whole numbers beyond floats
            raise UserError(f"{self.where}: {key} must be a finite number, got {value!r}")
        return value

    def scaling(self, module: str, rank: int) -> float:
        """The factor in front of `B @ A`: alpha / r, or alpha / sqrt(r) with rsLoRA.

        Source: Hu et al. 2021 (arXiv 2106.09685) section 4.1; Kalajdzievski 2023 (arXiv
        2312.03732).
        """
        root = self.config.get("use_rslora")
        return self.alpha(module) / (math.sqrt(rank) if root else rank)

    def tokens(self, module: str) -> list[int]:
        """The rows of an embedding that were trained on their own, in the order they are stored."""
        given = self.config.get("trainable_token_indices") or []
        if isinstance(given, dict):
            ends = (name for name in given if f".{module}".endswith(f".{name}"))
            given = given.get(next(ends, ""), [])
        whole = isinstance(given, list) and all(type(index) is int for index in given)
        if not whole or not given or min(given) < 0 or len(set(given)) < len(given):
            raise UserError(
                f"{self.where}: trainable_token_indices names no rows of '{module}', "
                "but some were saved"
            )
        return given
