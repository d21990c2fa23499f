"""What strangers may put into models, adapters, their configs and their pickles."""

import json
import math

import hostile_files as hostile
import torch
from hostile_files import (
    ADAPTER,
    BASE,
    CHANGED,
    COMPUTED,
    CONFIG,
    EITHER,
    FINITE,
    INDEX,
    KINDS,
    RECIPE,
    REFUSED,
    SETTINGS,
    TOKENIZER,
    Cases,
    added,
    cut,
    entry,
    flipped,
    header_edited,
    in_shards,
    json_edited,
    no_file,
    payload,
    pickled,
    points_to,
    renamed,
    sharded,
    shown,
    text_edited,
    written,
)

CASES = Cases()
case = CASES.add

for path in (BASE, CONFIG, TOKENIZER, ADAPTER, SETTINGS, RECIPE):
    for kind in KINDS:
        case(REFUSED, f"{path} is {kind}", no_file(path, kind))
    case(REFUSED, f"{path} is empty", written(path, b""))
    case(REFUSED, f"{path} is noise", written(path, bytes(range(128, 256)) * 20))
for path in ("base/generation_config.json", "base/tokenizer_config.json"):
    for kind in KINDS[:5]:
        if kind != "a folder" or "generation" in path:
            case(REFUSED, f"{path} is {kind}", no_file(path, kind))
    case(REFUSED, f"{path} is cut", cut(path, 0))
case(REFUSED, "a chat template is a pipe", no_file("base/chat_template.jinja", "a pipe"))
case(COMPUTED, "a model's card is a pipe", no_file("base/README.md", "a pipe"))
case(
    COMPUTED,
    "a model's card has a value that does not fit its tag",
    written("base/README.md", "---\nlicense: !!int ''\n---\n"),
)

for path in (BASE, ADAPTER):
    for seed in range(4):
        case(REFUSED, f"{path} is cut, {seed}", cut(path, seed))
    for seed in range(8):
        case(EITHER, f"a bit of the header of {path}, {seed}", flipped(path, seed, "header"))
        case(FINITE, f"a bit of the data of {path}, {seed}", flipped(path, seed, "data"))
    for value in (math.nan, math.inf, -math.inf):
        case(REFUSED, f"{value} in {path}", payload(path, value))
    case(COMPUTED, f"a huge number in {path}", payload(path, 1e30))
    case(REFUSED, f"no tensors in {path}", written(path, b"\x02\0\0\0\0\0\0\0{}"))
    for name, edit in {
        "dtype F31": entry(dtype="F31"),
        "dtype F16 of twice the bytes": entry(dtype="F16"),
        "dtype I32": entry(dtype="I32"),
        "dtype null": entry(dtype=None),
        "negative offsets": entry(data_offsets=[-4096, 0]),
        "offsets the wrong way round": entry(data_offsets=[8192, 4096]),
        "fractional offsets": entry(data_offsets=[0.5, 4096.5]),
        "offsets in words": entry(data_offsets=["0", "4096"]),
        "one offset": entry(data_offsets=[0]),
        "no shape": entry(shape=None),
        "a negative shape": entry(shape=[-32, -32]),
        "a shape that overflows": entry(shape=[2**62, 2**62]),
        "another shape": entry(shape=[16, 64]),
        "the entry a list": lambda header: {**header, max(header): [1, 2]},
        "metadata a list": lambda header: header.update(__metadata__=[1]),
        "nested too deep": lambda header: b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        "a number of 5000 digits": entry(shape=[int("9" * 4000), 0]),
    }.items():
        case(REFUSED, f"{name} in {path}", header_edited(path, edit))

for length in (10**12, 2**63, 2**64 - 1):
    case(REFUSED, f"a header claims {length:,} bytes", hostile.claims(length))
for item in (b"[],", b'{"":0},', b'"a",', b"12345,", b'{"dtype":0},'):
    case(REFUSED, f"100 MB of {item.decode()}", hostile.long_header(item))
case(
    REFUSED,
    "two tensors share bytes",
    header_edited(BASE, hostile.moved("k_proj.weight", "v_proj.weight")),
)
case(REFUSED, "a tensor without end columns", header_edited(BASE, added("empty", [2**63, 0])))
case(REFUSED, "rows times columns overflow", header_edited(BASE, added("empty", [2**40, 2**40, 0])))
case(REFUSED, "ten thousand dimensions", header_edited(BASE, added("x", [1] * 10_000, 4), bytes(4)))
case(REFUSED, "bytes that nobody owns", header_edited(BASE, lambda header: None, bytes(64)))
case(
    REFUSED,
    "a layer of a number too large",
    header_edited(BASE, added("model.layers.99999999999.x", [0])),
)
case(
    REFUSED,
    "a changed tensor is missing",
    header_edited(BASE, renamed("layers.1.self_attn.q_proj", "layers.1.self_attn.r_proj")),
)
case(
    REFUSED,
    "the last layer is missing",
    header_edited(
        BASE, lambda header: {n.replace("layers.2.", "extra."): e for n, e in header.items()}
    ),
)
case(COMPUTED, "rows without columns", header_edited(BASE, added("empty", [2**62, 0])))
case(COMPUTED, "columns without rows", header_edited(BASE, added("empty", [0, 2**62])))
case(COMPUTED, "a tensor of no dimensions", header_edited(BASE, added("scalar", [], 4), bytes(4)))
case(COMPUTED, "a tensor of 60 dimensions", header_edited(BASE, added("x", [1] * 60, 4), bytes(4)))
case(COMPUTED, "a layer of 5000 digits", header_edited(BASE, added(f"layers.{'9' * 5000}.x", [0])))
case(
    COMPUTED,
    "control characters in a name",
    header_edited(BASE, added("a\nb\x1b[2J\x07[/b]\0{x}", [0])),
)
case(
    REFUSED,
    "control characters in a complaint",
    header_edited(ADAPTER, renamed("layers.1", "a\nb\x1b[2J\u202e\u2028")),
)
case(COMPUTED, "a name of a million letters", header_edited(BASE, added("x" * 10**6, [0])))
case(REFUSED, "a complaint of a million letters", header_edited(BASE, added("x" * 10**6, [-1])))
case(
    COMPUTED,
    "a norm stored as whole numbers",
    header_edited(BASE, entry("model.norm.weight", dtype="I32")),
)

for name, change in {
    "rank 3 where it says 4": lambda a: a[:3],
    "turned round": lambda a: a.T,
    "of rank 0": lambda a: a[:0],
    "of three dimensions": lambda a: a[None],
    "a number": lambda a: a.sum(),
    "of whole numbers": lambda a: a.to(torch.int32),
    "of bytes": lambda a: a.to(torch.uint8),
    "one column short": lambda a: a[:, :-1],
}.items():
    case(REFUSED, f"factor A is {name}", hostile.factor("A", change))
    case(
        REFUSED,
        f"factor B is {name}",
        hostile.factor("B", change if "rank" not in name else lambda b: b[:, :3]),
    )
case(
    REFUSED,
    "factors whose product overflows",
    hostile.tensors(ADAPTER, lambda found: [t.fill_(1e30) for t in found.values()]),
)
case(REFUSED, "a factor is missing", hostile.tensors(ADAPTER, lambda found: found.pop(min(found))))
case(REFUSED, "a tensor of no known kind", header_edited(ADAPTER, renamed("lora_A", "lora_Q")))
case(
    COMPUTED,
    "factors of zeros",
    hostile.tensors(ADAPTER, lambda found: [t.zero_() for t in found.values()]),
)

for seed in range(10):
    case(EITHER, f"a bit of {SETTINGS}, {seed}", flipped(SETTINGS, seed))
    case(EITHER, f"a bit of {CONFIG}, {seed}", flipped(CONFIG, seed))
    case(EITHER, f"a bit of {TOKENIZER}, {seed}", flipped(TOKENIZER, seed))
for path in (SETTINGS, CONFIG, TOKENIZER, RECIPE):
    case(EITHER if path == RECIPE else REFUSED, f"{path} is cut", cut(path, 1))
for path in (SETTINGS, CONFIG, TOKENIZER):
    case(REFUSED, f"{path} is a list", written(path, "[1, 2]"))
    case(REFUSED, f"{path} is nested too deep", written(path, '{"a":' * 5000 + "1" + "}" * 5000))
    case(REFUSED, f"{path} is nested deep", json_edited(path, x=json.loads("[" * 300 + "]" * 300)))
    case(REFUSED, f"{path} has a number of 5000 digits", written(path, '{"a":' + "9" * 5000 + "}"))
    case(REFUSED, f"{path} starts with a byte order mark", text_edited(path, "{", "\ufeff{"))
case(
    COMPUTED,
    "a config with a key twice, NaN and a large number",
    text_edited(CONFIG, "{", '{"a": 1, "a": [NaN, 1e999], "b": ' + "9" * 400 + ","),
)
for key, value in {
    "quantization_config": [1],
    "num_hidden_layers": 10**9,
    "hidden_size": None,
    "text_config": 5,
    "model_type": ["llama"],
    "tie_word_embeddings": "perhaps",
    "vocab_size": "many",
    "layer_types": [1, 2, 3],
    "architectures": {"a": 1},
    "eos_token_id": {"a": []},
}.items():
    refused = key in ("quantization_config", "num_hidden_layers", "tie_word_embeddings")
    case(REFUSED if refused else COMPUTED, f"{key}: {value}", json_edited(CONFIG, **{key: value}))
for changes in (
    {"lora_alpha": math.nan},
    {"lora_alpha": math.inf},
    {"lora_alpha": 10**400},
    {"lora_alpha": "8"},
    {"lora_alpha": None},
    {"lora_alpha": True},
    {"lora_alpha": 1e308},
    {"r": 3},
    {"r": 0},
    {"r": -4},
    {"r": "4"},
    {"r": [4]},
    {"peft_type": "LOHA"},
    {"peft_type": ["LORA"]},
    {"peft_type": None},
    {"base_model_name_or_path": 5},
    {"base_model_name_or_path": ["base"]},
    {"base_model_name_or_path": {"a": 1}},
    {"base_model_name_or_path": "second/\0"},
    {"base_model_name_or_path": "other"},
    {"alpha_pattern": ["q_proj"]},
    {"alpha_pattern": {"q_proj": "8"}},
    {"alpha_pattern": {"(": 8}},
    {"alpha_pattern": {"(" * 5000: 8}},
    {"alpha_pattern": {"([a-z0-9._]+)+!": 8}},
    {"alpha_pattern": {".*.*.*.*.*.*.*.*!": 8}},
    {"alpha_pattern": {"(a|a)(.?.?.?.?.?.?.?.?.?.?.?.?.?.?.?.?.?.?.?.?)!": 8}},
    {"rank_pattern": {"q_proj": 3}},
    {"rank_pattern": {"q_proj": None}},
    {"rank_pattern": 7},
    {"bias": ["none"]},
    {"use_dora": True},
    {"lora_bias": True},
    {"init_lora_weights": "pissa"},
    {"trainable_token_indices": {"x": [1]}, "use_qalora": 1},
):  # fmt: skip
    case(
        REFUSED,
        f"an adapter with {shown(json.dumps(changes))}",
        lambda folder, changes=changes: hostile_settings(folder, changes),
    )
for changes in (
    {"lora_alpha": -3},
    {"lora_alpha": 0},
    {"lora_alpha": 0.5},
    {"alpha_pattern": {f"module{i}": 3 for i in range(20_000)}},
    {"target_modules": 5, "unheard_of": {"a": [1]}},
):
    case(
        COMPUTED, f"an adapter with {shown(json.dumps(changes))}", json_edited(SETTINGS, **changes)
    )


def hostile_settings(folder, changes):
    """Without `base_model` in the recipe, so that what the adapter says of its base counts."""
    if "base_model_name_or_path" in changes:
        text_edited(RECIPE, "base_model: base\n", "")(folder)
        json_edited("agentic/adapter_config.json", **changes)(folder)
    json_edited(SETTINGS, **changes)(folder)


for shard in (
    "../base/model.safetensors", "/etc/hostname", "", ".", "..", "a/../b", "x\0y", "./x", 5, None,
    ["x"], {"x": 1}, "config.json", "missing.safetensors", "x" * 5000,
    "model.safetensors.index.json",
):  # fmt: skip
    case(REFUSED, f"an index that points to {shown(str(shard))!r}", points_to(shard))
for name, edit in {
    "without a map": lambda index: index.pop("weight_map"),
    "with a list for a map": lambda index: {"weight_map": [1]},
    "with an empty map": lambda index: {"weight_map": {}},
    "that leaves a tensor out": lambda index: index["weight_map"].pop("model.norm.weight"),
    "with a tensor that is not there": lambda index: index["weight_map"].update(
        x=hostile.shard_of(index)
    ),
    "with a tensor in another shard": lambda index: index["weight_map"].update(
        {CHANGED: max(index["weight_map"].values())}
    ),
    "with 100,000 shards": lambda index: index["weight_map"].update(
        {f"x{i}": f"a{i}" for i in range(100_000)}
    ),
}.items():
    case(REFUSED, f"an index {name}", sharded(lambda index, edit=edit: only_mapping(edit(index))))
case(
    COMPUTED,
    "an index that says nonsense of sizes",
    sharded(lambda index: index.update(metadata=[1])),
)
case(
    COMPUTED,
    "a shard under another name too",
    in_shards(lambda path: hostile.copied(path, "more.safetensors")),
)
case(REFUSED, "a shard is missing", in_shards(lambda path: path.unlink()))
case(
    REFUSED,
    "a shard is another one",
    in_shards(lambda path: path.write_bytes(max(path.parent.glob("*.safetensors")).read_bytes())),
)
case(REFUSED, "an index is cut", lambda folder: (sharded()(folder), cut(INDEX, 0)(folder))[0])
for kind in KINDS:
    case(
        REFUSED,
        f"a shard is {kind}",
        in_shards(lambda path, kind=kind: no_file(path.name, kind)(path.parent)),
    )


def only_mapping(value):
    return value if isinstance(value, dict) and "weight_map" in value else None


def with_code(found, folder):
    return {**found, "code": hostile.Code(folder)}


case(REFUSED, "a pickle that was not asked for", pickled(allowed=False))
case(REFUSED, "an adapter's pickle that was not asked for", pickled(allowed=False, adapter=True))
case(COMPUTED, "a pickle that was asked for", pickled())
case(COMPUTED, "an adapter's pickle that was asked for", pickled(adapter=True))
for allowed in (False, True):
    asked = "asked for" if allowed else "not asked for"
    for adapter in (False, True):
        whose = "an adapter's" if adapter else "a model's"
        case(
            REFUSED,
            f"code in {whose} pickle, {asked}",
            pickled(allowed=allowed, adapter=adapter, content=with_code),
        )
    case(
        REFUSED,
        f"code in a plain pickle, {asked}",
        pickled(allowed=allowed, content=with_code, how=hostile.plainly),
    )
case(REFUSED, "a pickle of a list", pickled(content=lambda found, _: list(found.values())))
case(REFUSED, "a pickle that claims a terabyte", pickled(content=hostile.without_memory))
case(
    REFUSED,
    "a pickle of sparse tensors",
    pickled(content=lambda found, _: {n: t.to_sparse() for n, t in found.items()}),
)
case(REFUSED, "a pickle that inflates to gigabytes", pickled(hostile.inflated))
for kind in KINDS:
    case(
        REFUSED,
        f"a pickle is {kind}",
        pickled(lambda path, kind=kind: no_file(path.name, kind)(path.parent)),
    )
for seed in range(6):
    case(
        EITHER,
        f"a bit of a pickle, {seed}",
        pickled(lambda path, seed=seed: flipped(path.name, seed)(path.parent)),
    )
    case(
        REFUSED,
        f"a pickle is cut, {seed}",
        pickled(lambda path, seed=seed: cut(path.name, seed)(path.parent)),
    )
