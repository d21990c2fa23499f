"""Models with other tokens, or the same ones in another order: each row goes to its token.

mergekit 0.1.5 on the same folders is the reference; its result is compared token by token, each
program's by the tokenizer that it wrote.
"""

import json
import shutil

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
from safetensors.torch import save_file
from tiny_models import VOCABULARY, edit_json, llama, save_adapter, save_model, tuned, weights

from mergelab import merge
from mergelab.checkpoints.gathered import Gathered, MeanRow
from mergelab.checkpoints.vocabulary import read_vocabulary
from mergelab.errors import UserError
from mergelab.kernels.operands import InMemory
from mergelab.recipes import make_plan, parse_recipe

SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]
WORDS = SPECIAL + [f"w{i}" for i in range(VOCABULARY - len(SPECIAL))]
ROWS = ("model.embed_tokens.weight", "lm_head.weight")


def save_words(folder, words, **added):
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    fast = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    fast.pre_tokenizer = pre_tokenizers.Whitespace()
    fast.add_special_tokens([AddedToken(token, **how) for token, how in added.items()])
    named = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=fast, **named).save_pretrained(folder)


def with_words(model, words, seed):
    """`model` with one row for each of `words`: those of WORDS moved along, new ones random."""
    wanted = llama(seed, vocab_size=len(words))
    state = model.state_dict()
    for name, tensor in wanted.state_dict().items():
        if name in ROWS:
            for row, word in enumerate(words):
                if word in WORDS:
                    tensor[row] = state[name][WORDS.index(word)]
        else:
            tensor.copy_(state[name])
    return wanted


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A base and fine-tunes of it: with more words, with other words, in another order."""
    root = tmp_path_factory.mktemp("words")
    model = llama(0)
    generator = torch.Generator().manual_seed(5)
    shuffled = SPECIAL + [WORDS[4 + i] for i in torch.randperm(VOCABULARY - 4, generator=generator)]
    lists = {
        "base": WORDS,
        "same": WORDS,
        "more": [*WORDS, "new1", "new2", "both"],
        "other": [*WORDS[:-6], "both", "own1", "own2"],
        "shuffled": shuffled,
    }
    for seed, (name, listed) in enumerate(lists.items()):
        made = with_words(tuned(model, seed, 0.0 if name == "base" else 0.02), listed, seed)
        save_model(made, root / name, tokenizer=False)
        save_words(root / name, listed)
    chat = with_words(tuned(model, 8), [*WORDS, "<|im|>"], 8)
    save_model(chat, root / "chat", tokenizer=False)
    save_words(root / "chat", WORDS, **{"<|im|>": {"special": True, "normalized": False}})
    save_adapter(root / "base", root / "lora", 6)
    save_adapter(root / "base", root / "words_too", 7, target_modules=["embed_tokens", "lm_head"])
    return root


def recipe_of(root, method, names, own=None, **more):
    models = [
        {"model": str(root / name), "parameters": {"weight": 0.3 + 0.4 * i, **(own or {})}}
        for i, name in enumerate(names)
    ]
    return {"merge_method": method, "models": models, "dtype": "float32", **more}


def planned(recipe):
    return make_plan(parse_recipe(recipe))


def by_mergekit(recipe, out):
    options = MergeOptions(quiet=True, write_model_card=False, allow_crimes=True)
    run_merge(MergeConfiguration.model_validate(recipe), str(out), options)
    return out


def tokens_of(folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder).get_vocab()


def assert_same_model(ours, theirs, but=()):
    mine, other = tokens_of(ours), tokens_of(theirs)
    assert set(mine) == set(other)
    order = sorted(set(mine) - set(but))
    a, b = weights(ours), weights(theirs)
    assert set(a) == set(b)
    for name, tensor in a.items():
        expected = b[name]
        if name in ROWS:
            assert tensor.shape == expected.shape
            tensor = tensor[[mine[token] for token in order]]
            expected = expected[[other[token] for token in order]]
        apart = (tensor - expected).abs().max()
        assert apart <= 1e-6, (name, apart)
    config = json.loads((ours / "config.json").read_text())
    assert config["vocab_size"] == a[ROWS[0]].shape[0]


CASES = {
    "union, one has more": ("linear", ["same", "more"], {"tokenizer_source": "union"}),
    "union, each has its own": ("linear", ["more", "other"], {"tokenizer_source": "union"}),
    "union, another order": ("linear", ["same", "shuffled"], {"tokenizer_source": "union"}),
    "union of three": ("linear", ["same", "more", "other"], {"tokenizer_source": "union"}),
    "union with a base": (
        "task_arithmetic",
        ["more", "other"],
        {"base_model": "base", "tokenizer_source": "union"},
    ),
    "base": (
        "task_arithmetic",
        ["more", "shuffled", "other"],
        {"base_model": "base", "tokenizer_source": "base"},
    ),
    "a source's": (
        "task_arithmetic",
        ["more", "shuffled"],
        {"base_model": "base", "tokenizer_source": "more"},
    ),
    "a source's without a base": ("linear", ["same", "shuffled"], {"tokenizer_source": "shuffled"}),
    "slerp from one end": (
        "slerp",
        ["same", "more"],
        {"base_model": "same", "tokenizer_source": "union", "parameters": {"t": 0.3}},
    ),
    "padded": (
        "linear",
        ["same", "more"],
        {"tokenizer": {"source": "union", "pad_to_multiple_of": 32}},
    ),
    "padded with a base": (
        "task_arithmetic",
        ["same", "more"],
        {"base_model": "base", "tokenizer": {"source": "base", "pad_to_multiple_of": 64}},
    ),
    "tokens by the recipe": (
        "linear",
        ["same", "more", "other"],
        {
            "tokenizer": {
                "source": "union",
                "tokens": {
                    "new1": {"source": {"kind": "zero"}},
                    "new2": {"source": "more"},
                    "own1": {"source": {"kind": "model_token", "model": "more", "token": "new1"}},
                    "own2": {"source": {"kind": "model_token", "model": "same", "token_id": 5}},
                    "w7": {"source": "other", "force": True},
                    "made": {"source": {"kind": "model_token", "model": "same", "token": "w9"}},
                },
            }
        },
    ),
}


def with_folders(root, value):
    """`value` with the names of models replaced by their folders."""
    if isinstance(value, dict):
        return {key: with_folders(root, item) for key, item in value.items()}
    return str(root / value) if isinstance(value, str) and _is_model(root, value) else value


def _is_model(root, name):
    return name not in ("base", "union") and (root / name).exists()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_every_token_gets_the_rows_that_mergekit_gives_it(words, tmp_path, case):
    method, names, more = case
    more = with_folders(words, more)
    if "base_model" in more:
        more["base_model"] = str(words / more["base_model"])
    recipe = recipe_of(words, method, names, **more)
    if method == "slerp":
        for entry in recipe["models"]:
            del entry["parameters"]
    theirs = by_mergekit(recipe, tmp_path / "theirs")
    merge(recipe, tmp_path / "ours")
    assert_same_model(tmp_path / "ours", theirs)


def test_trim_and_election_see_the_rows_of_one_token_side_by_side(words, tmp_path):
    recipe = recipe_of(
        words,
        "ties",
        ["more", "shuffled"],
        {"density": 0.5},
        base_model=str(words / "base"),
        tokenizer_source="base",
    )
    merge(recipe, tmp_path / "ours")
    aligned = recipe_of(words, "ties", ["more", "aligned"], {"density": 0.5})
    made = with_words(tuned(llama(0), 4, 0.02), WORDS, 0)
    save_model(made, tmp_path / "aligned", tokenizer=False)
    save_words(tmp_path / "aligned", WORDS)
    aligned["models"][1]["model"] = str(tmp_path / "aligned")
    aligned |= {"base_model": str(words / "base"), "tokenizer_source": "base"}
    merge(aligned, tmp_path / "by hand")
    ours, expected = weights(tmp_path / "ours"), weights(tmp_path / "by hand")
    for name, tensor in expected.items():
        assert torch.allclose(ours[name], tensor, rtol=0, atol=1e-6), name


@pytest.mark.parametrize("adapter", ["lora", "words_too"])
@pytest.mark.parametrize("source", ["union", "base", "shuffled"])
def test_an_adapter_has_its_bases_tokens(words, tmp_path, adapter, source):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(words / "base")
    copy = PeftModel.from_pretrained(model, words / adapter).merge_and_unload()
    copy.save_pretrained(tmp_path / "copy")
    save_words(tmp_path / "copy", WORDS)
    more = {"base_model": str(words / "base"), "tokenizer_source": source}
    more = with_folders(words, more)
    recipe = recipe_of(words, "task_arithmetic", ["shuffled", adapter, "more"], **more)
    merge(recipe, tmp_path / "ours")
    recipe["models"][1]["model"] = str(tmp_path / "copy")
    assert_same_model(tmp_path / "ours", by_mergekit(recipe, tmp_path / "theirs"))


def test_adapters_of_one_base_take_on_anothers_vocabulary(words, tmp_path):
    recipe = recipe_of(words, "ties", ["words_too"], tokenizer_source=str(words / "shuffled"))
    merge(recipe, tmp_path / "ours")
    merge(recipe_of(words, "ties", ["words_too"]), tmp_path / "in place")
    ours, plain = weights(tmp_path / "ours"), weights(tmp_path / "in place")
    order = [tokens_of(words / "shuffled")[word] for word in WORDS]
    for name in ROWS:
        assert ours[name][order].equal(plain[name])


# The tokenizer that is written


def test_a_union_loads_and_matches_the_new_tokens(words, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    recipe = recipe_of(words, "linear", ["same", "more", "chat"], tokenizer_source="union")
    merge(recipe, tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.convert_ids_to_tokens(tokenizer("w1 new2 w3<|im|>w4").input_ids) == [
        "w1", "new2", "w3", "<|im|>", "w4",
    ]  # fmt: skip
    assert tokenizer.decode(tokenizer("w1 <|im|>").input_ids, skip_special_tokens=True) == "w1"
    assert len(tokenizer) == VOCABULARY + 4
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    ids = torch.tensor([list(range(VOCABULARY + 4))])
    assert bool(torch.isfinite(model(ids[:, -60:]).logits).all())


def test_the_order_of_the_models_changes_no_byte_of_a_union(words, tmp_path):
    names, base = ["more", "other", "chat"], str(words / "base")
    for folder, listed in (("one", names), ("two", names[::-1])):
        recipe = recipe_of(words, "ties", listed, base_model=base, tokenizer_source="union")
        for entry in recipe["models"]:
            entry["parameters"] = {"density": 0.5}
        merge(recipe, tmp_path / folder)
    for file in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_special_tokens_follow_the_tokenizer(words, tmp_path):
    turned = [WORDS[-1], *WORDS[:-1]]  # each token one further on
    save_model(with_words(llama(0), turned, 0), tmp_path / "turned", tokenizer=False)
    save_words(tmp_path / "turned", turned)
    ids = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 1}
    edit_json(tmp_path / "turned" / "config.json", **ids)
    edit_json(tmp_path / "turned" / "generation_config.json", **ids)
    base = str(words / "base")
    recipe = recipe_of(words, "linear", ["same"], base_model=base)
    recipe["tokenizer_source"] = str(tmp_path / "turned")
    merge(recipe, tmp_path / "out")
    for file in ("config.json", "generation_config.json"):
        content = json.loads((tmp_path / "out" / file).read_text())
        assert {key: content[key] for key in ids} == ids


# Rows without a token


def test_spare_rows_of_the_models_own_vocabulary_stay(words, tmp_path):
    for name, seed in (("wide", 1), ("wider", 2)):
        spare = 4 * seed
        model = with_words(tuned(llama(0), seed), [*WORDS, *map(str, range(spare))], seed)
        save_model(model, tmp_path / name, tokenizer=False)
        save_words(tmp_path / name, WORDS)
    recipe = recipe_of(tmp_path, "linear", ["wide", "wider"])
    recipe["tokenizer_source"] = str(tmp_path / "wide")
    merge(recipe, tmp_path / "out")
    out, wide, wider = (weights(tmp_path / name) for name in ("out", "wide", "wider"))
    for name in ROWS:
        expected = 0.3 * wide[name] + 0.7 * wider[name][: VOCABULARY + 4]
        assert torch.allclose(out[name], expected, rtol=0, atol=1e-6)


def test_a_row_that_only_the_tokenizers_owner_has_is_the_owners(words, tmp_path):
    model = with_words(tuned(llama(0), 1), [*WORDS, "spare"], 1)
    save_model(model, tmp_path / "wide", tokenizer=False)
    save_words(tmp_path / "wide", WORDS)
    recipe = recipe_of(words, "linear", ["same"])
    recipe["models"].append({"model": str(tmp_path / "wide")})
    recipe["tokenizer_source"] = str(tmp_path / "wide")
    merge(recipe, tmp_path / "out")
    for name in ROWS:
        expected = weights(tmp_path / "wide")[name][-1]
        assert torch.allclose(weights(tmp_path / "out")[name][-1], expected, rtol=1e-6)


def test_equal_vocabularies_stay_in_place(words):
    for source in ("union", "base", str(words / "same")):
        base = str(words / "base")
        recipe = recipe_of(words, "ties", ["same"], base_model=base, tokenizer_source=source)
        plan = planned(recipe)
        assert plan.vocabulary is None
        assert plan.tokenizer_json is None
        assert not any(tensor.by_token for tensor in plan.tensors)


# What is refused


def refusal(recipe):
    with pytest.raises(UserError) as refused:
        planned(recipe)
    return str(refused.value)


def test_other_tokens_without_a_word_on_them_are_refused_with_what_to_write(words):
    message = refusal(recipe_of(words, "linear", ["same", "more"]))
    for part in ("more", "99 entries", "96", "tokenizer_source: base", "tokenizer_source: union"):
        assert part in message


def test_the_same_tokens_in_another_order_are_refused(words):
    message = refusal(recipe_of(words, "linear", ["same", "shuffled"]))
    for part in ("shuffled", "token 'w", "is number", "tokenizer_source: base"):
        assert part in message


def test_other_tokens_of_the_same_number_are_refused(words, tmp_path):
    save_model(tuned(llama(0), 3), tmp_path / "foreign", tokenizer=False)
    save_words(tmp_path / "foreign", SPECIAL + [f"f{i}" for i in range(VOCABULARY - 4)])
    recipe = recipe_of(words, "linear", ["same"])
    recipe["models"].append({"model": str(tmp_path / "foreign")})
    message = refusal(recipe)
    assert "92 of its tokens are others" in message
    assert "'f0'" in message


def test_a_reserved_token_put_to_use_is_only_pointed_out(words, tmp_path):
    model = llama(0, vocab_size=400)
    many = SPECIAL + [f"w{i}" for i in range(396)]
    for name, listed in (("base", many), ("chat", [*many[:-1], "<|im|>"])):
        save_model(tuned(model, 1), tmp_path / name, tokenizer=False)
        save_words(tmp_path / name, listed)
    notes = planned(recipe_of(tmp_path, "linear", ["base", "chat"])).notes
    assert [note for note in notes if "'<|im|>'" in note and "union" in note]


BAD = {
    "no base for 'base'": ({"tokenizer_source": "base"}, "names no base_model"),
    "both forms": (
        {"tokenizer_source": "union", "tokenizer": {"source": "union"}},
        "either 'tokenizer_source' or 'tokenizer'",
    ),
    "a token that the named model lacks": (
        {"tokenizer": {"tokens": {"new1": {"source": "same"}}}},
        "same has no token 'new1'",
    ),
    "a row that is not there": (
        {
            "tokenizer": {
                "tokens": {
                    "new1": {"source": {"kind": "model_token", "model": "same", "token_id": 900}}
                }
            }
        },
        "row 900 is not one of the 96 rows",
    ),
    "a model that takes no part": (
        {"tokenizer": {"tokens": {"new1": {"source": "other"}}}},
        "is none of the models of this merge",
    ),
    "a kind that is none": (
        {"tokenizer": {"tokens": {"new1": {"source": {"kind": "mean"}}}}},
        "tokenizer.tokens.new1: source: its kind is 'zero'",
    ),
    "a misspelt key": ({"tokenizer": {"sorce": "union"}}, "unknown key 'tokenizer.sorce'"),
    "a misspelt key of a token": (
        {"tokenizer": {"tokens": {"new1": {"source": "more", "fource": True}}}},
        "unknown key 'tokenizer.tokens.new1.fource'; did you mean 'force'",
    ),
    "an adapter": (
        {"output": "adapter", "tokenizer_source": "union"},
        "an adapter keeps its base's vocabulary",
    ),
}


@pytest.mark.parametrize(("more", "part"), BAD.values(), ids=BAD.keys())
def test_what_cannot_be_done_with_tokens_is_refused_by_name(words, more, part):
    recipe = recipe_of(words, "linear", ["same", "more"], **with_folders(words, more))
    assert part in refusal(recipe)


def test_an_adapter_may_say_that_it_keeps_its_bases_tokens(words):
    recipe = recipe_of(words, "ties", ["lora"], output="adapter", tokenizer_source="base")
    assert planned(recipe).output == "adapter"


@pytest.mark.parametrize("name", ["lm_head.bias", "output.weight"])
def test_what_belongs_to_tokens_by_another_name_is_refused(words, tmp_path, name):
    folders = []
    for model in ("same", "shuffled"):
        folder = tmp_path / model
        shutil.copytree(words / model, folder)
        tensors = weights(folder)
        tensors[name] = tensors["lm_head.weight"][:, 0].clone()
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        folders.append({"model": str(folder)})
    recipe = {"merge_method": "linear", "models": folders, "tokenizer_source": "union"}
    assert f"{name}: has an entry for each token" in refusal(recipe)


def test_a_model_without_a_tokenizer_cannot_be_matched(words, tmp_path):
    save_model(llama(1, vocab_size=70), tmp_path / "mute", tokenizer=False)
    recipe = recipe_of(words, "linear", ["same"], tokenizer_source="union")
    recipe["models"].append({"model": str(tmp_path / "mute")})
    message = refusal(recipe)
    assert "mute: has no tokenizer" in message


@pytest.mark.parametrize(
    "content", ["{}", "[]", '{"model": {"vocab": {"a": -1}}}', '{"model": {"vocab": 3}}', "{"]
)
def test_a_damaged_tokenizer_is_one_line(tmp_path, content):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(UserError, match=r"tokenizer\.json: "):
        read_vocabulary(tmp_path)


def test_a_unigram_models_pieces_are_numbered_in_their_order(tmp_path):
    content = {"model": {"vocab": [["<unk>", 0.0], ["a", -1.5]]}, "added_tokens": []}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    assert read_vocabulary(tmp_path).tokens == {"<unk>": 0, "a": 1}


# The operand


class Counting:
    """An operand that notes the rows it was asked for."""

    def __init__(self, tensor):
        self.inner, self.asked = InMemory(tensor), []

    @property
    def shape(self):
        return self.inner.shape

    def rows(self, start, stop):
        self.asked += range(start, stop)
        return self.inner.rows(start, stop)


@given(
    index=st.lists(st.tuples(st.integers(-1, 6), st.integers(-1, 4)), min_size=1, max_size=12),
    ends=st.tuples(st.integers(0, 12), st.integers(0, 12)),
)
def test_gathered_rows_are_means_of_the_picked_ones_and_no_others_are_read(index, ends):
    first, second = torch.arange(14.0).reshape(7, 2), -(torch.arange(10.0).reshape(5, 2) ** 2)
    parts = (Counting(first), Counting(second))
    start, stop = sorted(min(end, len(index)) for end in ends)
    got = Gathered(parts, torch.tensor(index).T).rows(start, stop)
    assert got.shape == (stop - start, 2)
    for row, picks in zip(got, index[start:stop], strict=True):
        chosen = [t[i] for t, i in zip((first, second), picks, strict=True) if i >= 0]
        expected = sum(chosen) / len(chosen) if chosen else torch.zeros(2)
        assert torch.allclose(row, expected)
    for part, picked in zip(parts, zip(*index[start:stop], strict=True), strict=False):
        assert set(part.asked) == {i for i in picked if i >= 0}


def test_the_mean_row_is_the_mean_of_all_rows():
    tensor = torch.randn(9001, 3, generator=torch.Generator().manual_seed(0))
    mean = MeanRow(InMemory(tensor))
    assert mean.shape == (1, 3)
    assert torch.allclose(mean.rows(0, 1)[0].double(), tensor.double().mean(0), atol=1e-7)
