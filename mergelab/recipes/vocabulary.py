"""The output's tokens, and where each model keeps the rows that stand for them.

Row 17 of the embeddings means whatever token 17 is in that model. Where models have other tokens,
or the same ones in another order, rows are looked up by the tokens' text. A model that lacks a
token takes its row from the base if that has it, from the one model that has it, or the mean of
those that do; zeros if none does. These are mergekit's rules (its `tokenizer` section).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mergelab.checkpoints import Checkpoint
from mergelab.checkpoints.reading import read_bytes, read_json
from mergelab.checkpoints.vocabulary import (
    Vocabulary,
    read_vocabulary,
    token_rows,
    tokenizer_files,
)
from mergelab.errors import UserError
from mergelab.recipes.members import Members
from mergelab.recipes.tokenizer_setting import TokenSetting

_RENAMED = 0.01  # share of ids that may be called otherwise: reserved tokens put to use
_ADVICE = (
    "write 'tokenizer_source: base' to keep the base's tokens, 'tokenizer_source: union' to keep "
    "all, or a model to keep its own"
)


@dataclass(frozen=True)
class TokenRows:
    """For each row of the output's embeddings, the row of each model that stands for its token.

    `models`: a source's number, or None for the base, in canonical order. `own` and `fallback`,
    both `[models, rows]`, int64, -1 for none: the row that a model has itself, and the rows whose
    mean it takes where it has none. The last `padding` rows have no token; each model's are the
    mean of its others.
    """

    models: tuple[int | None, ...]
    own: Tensor
    fallback: Tensor
    padding: int = 0

    @property
    def rows(self) -> int:
        """The number of rows of the output's embeddings."""
        return self.own.shape[1] + self.padding

    def index(self, model: int | None) -> Tensor:
        """Which rows of all models the embeddings of one of them consist of, `[models, rows]`."""
        place = self.models.index(model)
        alone = torch.full_like(self.own, -1)
        alone[place] = self.own[place]
        return torch.where(self.own[place] >= 0, alone, self.fallback)


@dataclass(frozen=True)
class OutputTokens:
    """The output's tokenizer and what it asks of the embeddings.

    `tokenizer`: the model whose tokenizer's files the output takes. `json`: the text of
    tokenizer.json where it is none of theirs. `rows`: None where all models' rows stay in place.
    """

    tokenizer: Checkpoint
    json: str | None = None
    rows: TokenRows | None = None
    notes: tuple[str, ...] = ()


def output_tokens(members: Members) -> OutputTokens:
    """Decide on the output's tokenizer and match every model's rows with its tokens.

    Raises `UserError` where vocabularies differ and the recipe does not say what to do, or says
    something that cannot be done.
    """
    return _Tokens(members).decide()


class _Tokens:
    def __init__(self, members: Members) -> None:
        self.members = members
        self.setting = members.recipe.tokens
        self.notes: list[str] = []
        self._known: dict[bytes, Vocabulary] = {}
        ordered = sorted(
            range(len(members.sources)), key=lambda number: members.sources[number].fingerprint
        )
        self.models: list[tuple[int | None, Checkpoint]] = [
            (number, members.underlying(members.sources[number])) for number in ordered
        ]
        if members.base is not None:
            self.models.insert(0, (None, members.base))

    def decide(self) -> OutputTokens:
        if self.setting is None:
            self._check_all_alike()
            self._check_files(self.members.skeleton)
            return OutputTokens(self.members.skeleton, notes=tuple(self.notes))
        owner, text, tokens = self._tokenizer()
        self._check_files(owner)
        participates = any(model is owner for _, model in self.models)
        rows = tokens.size
        if text is None and participates and not self.setting.pad_to_multiple_of:
            rows = token_rows(owner)  # its spare rows stay
            if rows < tokens.size:
                self.notes.append(
                    f"the tokenizer of {owner.path.name} has {tokens.size} tokens, its embeddings "
                    f"{rows} rows; the tokens beyond cannot be used, as in that model itself"
                )
        matched = self._match(tokens, rows, owner if participates else None)
        in_place = matched.padding == 0 and not self.setting.tokens
        for (_, model), own in zip(self.models, matched.own, strict=True):
            in_place &= len(own) == token_rows(model) and bool((own == torch.arange(rows)).all())
        notes = tuple(self.notes)
        return OutputTokens(owner, text, None if in_place else matched, notes)

    def _checkpoints(self) -> list[Checkpoint]:
        return list(dict.fromkeys(model for _, model in self.models))

    def _check_files(self, owner: Checkpoint) -> None:
        """Refuse damaged files before the merge, which copies them after it."""
        for path in tokenizer_files(owner.path):
            if path.name == "tokenizer.json":
                self._read(owner)
            elif path.suffix == ".json":
                read_json(path)

    # Which tokens

    def _tokenizer(self) -> tuple[Checkpoint, str | None, Vocabulary]:
        """Whose tokenizer the output has, its tokenizer.json where that is new, and its tokens."""
        source = self.setting.source
        named = self.members.base is not None or self.members.recipe.base_model
        if source == "base" and not named and len(set(map(token_rows, self._checkpoints()))) > 1:
            raise UserError(
                "tokenizer_source: base, but the recipe names no base_model; name the model "
                "whose tokenizer the merged one gets"
            )
        owner = self.members.skeleton
        if source not in ("base", "union"):
            named = self.members.named(source)
            owner = self.members.underlying(named) or self.members.references.base_of(named)
        own = self._vocabulary(owner)
        added = [_plain(token) for token in self.setting.tokens if token not in own.tokens]
        if source == "union":
            added = [*self._others(own), *added]
        if not added:
            return owner, None, own
        text, tokens = extended(owner.path, added)
        return owner, text, tokens

    def _others(self, own: Vocabulary) -> list[Mapping]:
        """The tokens of the other models that `own` lacks, as settings of added tokens."""
        plain, special = {}, {}
        for _, model in self.models:
            vocabulary, rows = self._vocabulary(model), token_rows(model)
            settings = {token["content"]: token for token in vocabulary.added}
            for token, row in sorted(vocabulary.tokens.items(), key=lambda item: item[1]):
                if token not in own.tokens and row < rows:
                    if token in settings:
                        special.setdefault(token, settings[token])
                    else:
                        plain.setdefault(token, _plain(token))
        if plain:
            self.notes.append(
                f"tokenizer_source: union adds {len(plain)} ordinary tokens; they are matched as "
                "whole strings, so text may be split otherwise than by the models' own tokenizers"
            )
        return [*(plain[token] for token in plain if token not in special), *special.values()]

    def _vocabulary(self, model: Checkpoint) -> Vocabulary:
        found = self._read(model)
        if found is not None:
            return found
        default = self._read(self.members.skeleton)
        if default is not None and token_rows(model) == token_rows(self.members.skeleton):
            note = f"{model.path} has no tokenizer; its tokens are taken to be those of the base"
            self.notes += [note] if note not in self.notes else []
            return default
        raise UserError(
            f"{model.path}: has no tokenizer, so its tokens cannot be matched with those of other "
            "models; put the tokenizer.json that it was trained with there"
        )

    def _read(self, model: Checkpoint) -> Vocabulary | None:
        """A model's vocabulary; equal files are read once."""
        path = model.path / "tokenizer.json"
        try:
            there = path.exists()
            content = read_bytes(path) if there else str(model.path.resolve()).encode()
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from None
        key = hashlib.blake2b(content).digest()
        if key not in self._known:
            found = read_vocabulary(model.path)
            if found is None:
                return None
            self._known[key] = found
        return self._known[key]

    # Which rows

    def _match(self, tokens: Vocabulary, rows: int, owner: Checkpoint | None) -> TokenRows:
        """Match the output's `rows` rows; those without a token are their `owner`'s."""
        named = set(tokens.tokens.values())
        spare = [row for row in range(rows) if row not in named]
        own = torch.full((len(self.models), rows), -1, dtype=torch.int64)
        for place, (_, model) in enumerate(self.models):
            theirs, count = self._vocabulary(model).tokens, token_rows(model)
            taken = set(theirs.values())
            for token, row in tokens.tokens.items():
                if row < rows and theirs.get(token, count) < count:
                    own[place, row] = theirs[token]
            for row in spare:
                if row < count and row not in taken:
                    own[place, row] = row
        fallback = self._fallback(own)
        for place, (_, model) in enumerate(self.models):
            if model is owner and spare:
                fallback[:, spare] = -1
                fallback[place, spare] = torch.tensor(spare)
        for token, setting in self.setting.tokens.items():
            row = tokens.tokens[token]
            fallback[:, row] = self._explicit(token, setting, own[:, row])
            if setting.force:
                own[:, row] = -1
        multiple = self.setting.pad_to_multiple_of or 1
        places = tuple(number for number, _ in self.models)
        return TokenRows(places, own, fallback, padding=-rows % multiple)

    def _fallback(self, own: Tensor) -> Tensor:
        """The rows that stand in for those a model lacks: the base's, else all that there are."""
        fallback = own.clone()
        preferred = self._preferred()
        if preferred is not None:
            has = own[preferred] >= 0
            fallback[:, has] = -1
            fallback[preferred, has] = own[preferred, has]
        return fallback

    def _preferred(self) -> int | None:
        """Whose rows stand in first: the base's, or those of a slerp's first end."""
        for place, (number, _) in enumerate(self.models):
            if number is None or self.members.sources[number] is self.members.first:
                return place
        return None

    def _explicit(self, token: str, setting: TokenSetting, own: Tensor) -> Tensor:
        """The rows for a token whose source the recipe names."""
        rows = torch.full((len(self.models),), -1, dtype=torch.int64)
        if setting.model is None:
            return rows
        where = f"tokenizer.tokens.{token}"
        place = self._place(setting.model, where)
        model = self.models[place][1]
        row = int(own[place])
        wanted = token
        if setting.token_id is not None:
            row = setting.token_id
        elif setting.token is not None:
            wanted = setting.token
            row = self._vocabulary(model).tokens.get(wanted, -1)
        if row < 0:
            raise UserError(f"{where}: {model.path} has no token {wanted!r}")
        if row >= token_rows(model):
            raise UserError(f"{where}: row {row} is not one of the {token_rows(model)} rows there")
        rows[place] = row
        return rows

    def _place(self, reference: str, where: str) -> int:
        source = self.members.named(reference)
        for place, (number, model) in enumerate(self.models):
            mine = model.path if number is None else self.members.sources[number].path
            if mine.resolve() == source.path.resolve():
                return place
        raise UserError(f"{where}: '{reference}' is none of the models of this merge")

    # Without a setting: all alike?

    def _check_all_alike(self) -> None:
        skeleton = self.members.skeleton
        for model in self._checkpoints():
            if model is skeleton:
                continue
            mine, theirs = token_rows(skeleton), token_rows(model)
            if mine != theirs:
                raise UserError(
                    f"{model.path}: its vocabulary has {theirs} entries, that of {skeleton.path} "
                    f"{mine}; {_ADVICE}"
                )
            ours, others = self._read(skeleton), self._read(model)
            if mine is not None and ours is not None and others is not None and ours is not others:
                self._check_order(skeleton, ours.tokens, model, others.tokens)

    def _check_order(
        self,
        skeleton: Checkpoint,
        ours: Mapping[str, int],
        model: Checkpoint,
        theirs: Mapping[str, int],
    ) -> None:
        """Refuse vocabularies of one size in which the same row means different tokens."""
        rows = token_rows(skeleton)
        for token, row in ours.items():
            other = theirs.get(token, row)
            if other != row and max(row, other) < rows:
                raise UserError(
                    f"{model.path}: token {token!r} is number {other}, in {skeleton.path} it is "
                    f"number {row}; {_ADVICE}"
                )
        names = {row: token for token, row in ours.items()}
        renamed = [t for t, row in theirs.items() if row < rows and names.get(row, t) != t]
        if len(renamed) > _RENAMED * rows:
            raise UserError(
                f"{model.path}: {len(renamed)} of its tokens are others than in {skeleton.path}, "
                f"{renamed[0]!r} for instance; {_ADVICE}"
            )
        if renamed:
            self.notes.append(
                f"{model.path.name} uses rows of other tokens of {skeleton.path.name} for "
                f"{', '.join(map(repr, renamed[:3]))}; 'tokenizer_source: union' keeps them apart"
            )


def _plain(token: str) -> Mapping:
    return {"content": token}


def extended(folder: Path, added: Sequence[Mapping]) -> tuple[str, Vocabulary]:
    """The tokenizer of a folder with tokens added to it: its tokenizer.json and its vocabulary.

    `added`: settings of `tokenizers.AddedToken`. Raises `UserError` without a tokenizer.json.
    """
    from tokenizers import AddedToken, Tokenizer

    path = folder / "tokenizer.json"
    if not path.exists():
        raise UserError(
            f"{folder}: has no tokenizer.json to add tokens to; load the tokenizer with "
            "transformers and save it again (save_pretrained)"
        )
    try:
        tokenizer = Tokenizer.from_file(str(path))
        for settings in added:
            token = AddedToken(**settings)
            (tokenizer.add_special_tokens if token.special else tokenizer.add_tokens)([token])
    except Exception as error:  # `tokenizers` raises bare Exceptions
        raise UserError(f"{path}: not a valid tokenizer ({error})") from None
    return tokenizer.to_str(pretty=True), Vocabulary(tokenizer.get_vocab(with_added_tokens=True))
