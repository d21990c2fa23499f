# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Memory and kernels: what a merge costs
#
# A merge is a few additions per weight. Yet merging an 8-billion-parameter model fails on most
# laptops, and takes minutes where it could take seconds. You will find out why, by counting bytes.
#
# | | |
# |---|---|
# | **Time** | about 80 minutes, 29 of them for the four exercises |
# | **Difficulty** | ●●● |
# | **You need** | task vectors and LoRA factors (lesson 1), linear merges and task arithmetic (lesson 2), the threshold of a trim (lesson 4), random drops (lesson 5). A GPU is **not** needed. |
# | **Short of time?** | Do the parts marked ▸, about 35 minutes: the bytes of an 8B merge, the planner, why everything at once fails, what bounds the time. No exercise is needed for them. |
# | **How to work** | Run the cells in order, also those of exercises that you leave open: later cells use their names. |
#
# **When you have finished, you can**
#
# | | level | how you can tell |
# |---|---|---|
# | work out whether a merge fits into a machine's memory | apply | exercise `peak_bytes`, 5 points |
# | say what a quantised base does to a merge, and when to keep the adapter apart | evaluate | your prediction and the table in section 4 |
# | predict the time of a merge from the bytes it moves | apply | exercise `merge_seconds`, 4 points |
# | read a simple GPU kernel, and write what one of its programs does | apply | exercise `merge_program`, 5 points |
# | find an exact threshold without sorting | apply | exercise `radix_threshold`, 6 points |
# | spot figures in a memory log that cannot be true | analyse | the audit in section 9 |
#
# **Where this lesson stands.** Lessons 1 to 5 asked *what* to compute at each weight, lesson 6
# whether it was worth it. The methods stay as they are. This lesson asks what it costs to compute
# them on billions of weights, and how to do it so that not a bit of the result changes. Its exercises
# are programs, so there is no written answer.

# %%
import os

import torch

# Triton decides when it is imported whether it compiles for a GPU or interprets on a CPU.
HAS_GPU = torch.cuda.is_available()
if not HAS_GPU:
    os.environ["TRITON_INTERPRET"] = "1"
try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None  # the cells that need it say so, and the lesson goes on

# %%
import json
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path

from IPython.display import display
from safetensors.torch import load_file

import mergelab
from autograder import check, grade
from mergelab import notebook as nb
from mergelab.evaluation.results import compare, evaluate
from mergelab.methods.philox import random_words
from mergelab.zoo.shapes import Shape, write_models

torch.set_num_threads(1)  # one thread: so that times can be compared
predictions = nb.Predictions()

# %% [markdown]
# ## 1 ▸ A picture first
#
# Merge two models into an 8B base, on a machine with 16 GB of memory and no GPU. Every bar below
# does the same merge, to the same result. They differ only in what lies in memory at the same
# moment.

# %%
llama = nb.MODELS["8B (Llama-3.1-8B)"]
at_once, by_tensor, by_rows = "all at once", "tensor by tensor", "a few rows at a time"
nb.memory_plot(
    {
        "2 full fine-tunes, all at once": nb.plan_memory(llama, way=at_once),
        "2 full fine-tunes, tensor by tensor": nb.plan_memory(llama, way=by_tensor),
        "2 adapters, all at once": nb.plan_memory(llama, rank=16, way=at_once),
        "2 adapters, tensor by tensor": nb.plan_memory(llama, rank=16, way=by_tensor),
        "2 adapters, a few rows at a time": nb.plan_memory(llama, rank=16, way=by_rows),
    },
    title="An 8B model on a machine with 16 GB: computed, not measured",
)

# %% [markdown]
# ## 2 ▸ The bytes, by hand
#
# Llama-3.1-8B has 8,030,261,248 parameters. Stored in bfloat16 each takes 2 bytes.
#
# - The base alone: 8.03 billion × 2 bytes = **16.06 GB**. One copy fills the machine.
# - Two full fine-tunes beside it: 2 × 16.06 = **32.1 GB** more.
# - A merge should compute in float32, or it rounds at every step. So each source needs a *work
#   copy* of 4 bytes a number, and so does the result: 3 × 32.1 = **96.4 GB** more.
# - Together **144.5 GB**.
#
# Adapters are small: a LoRA of rank 16 on every linear layer of this model has 41,943,040 numbers;
# in float32 that is **0.17 GB**. But `B @ A` is as large as the matrix it changes. Multiply out
# the adapters of every layer before you start, and they are full models again: third bar.
#
# Two observations rescue us:
#
# 1. **No entry of a merge needs its neighbours.** (Apart from one number per tensor, such as a
#    threshold; section 7.) So one tensor can be read, merged, written and forgotten before the next
#    one is read. This is *lazy reading*. Model files are made for it: they begin with a list of
#    where each tensor lies, and are cut into *shards*, files of a few GB. The peak is then that of
#    the most expensive tensor, not of the model.
# 2. **The same holds inside a tensor.** A few rows of `B @ A` need only those rows of `B`.
#
# The largest tensor of this model is its embedding, 128,256 × 4,096. Base, two fine-tunes and
# three work copies of it: (2 + 2·2 + 3·4) bytes × 525 million = **9.5 GB**. It fits. Adapters do
# not touch the embedding; it is copied.

# %% [markdown]
# ### ▸ The planner
#
# Turn the dials, with the mouse or with Tab and the arrow keys. The sentence under the bar says in
# words what the bar shows. Try these:
#
# 1. Two adapters, all at once. Then put the base in 4 bits. Why does it hardly help?
# 2. Full fine-tunes, tensor by tensor: how many fit into 16 GB? How many fit a few rows at a time?
# 3. Can you merge two adapters of rank 256 into the 70B model on a machine with 4 GB?
# 4. Which is the larger step: from full fine-tunes to adapters, or from all at once to tensor by
#    tensor?

# %%
nb.MemoryPlanner()

# %% [markdown]
# <!-- exercise: memory/peak_bytes -->


# %% nbgrader={"grade": false, "grade_id": "peak_bytes", "locked": false, "schema_version": 3, "solution": true, "task": false}
def peak_bytes(shapes, sources, rank=None, bits=16, one_by_one=False, rows=None):
    """The bytes in memory at the peak of a merge."""

    ### BEGIN SOLUTION
    def of_one(m, n):
        part = min(rows, m) if one_by_one and rows is not None else m
        stored = 2 * m * n if rank is None else 4 * rank * (m + n)
        return m * n * bits / 8 + sources * stored + 4 * (sources + 1) * part * n

    each = [of_one(m, n) for m, n in shapes]
    return max(each) if one_by_one else sum(each)
    ### END SOLUTION


# %%
check("memory/peak_bytes", peak_bytes)

# %% nbgrader={"grade": true, "grade_id": "peak_bytes_visible", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
grade("memory/peak_bytes", peak_bytes, part="visible")

# %% nbgrader={"grade": true, "grade_id": "peak_bytes_hidden", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
# Hidden cases run when you submit: the same contract on other shapes and numbers.
### BEGIN HIDDEN TESTS
grade("memory/peak_bytes", peak_bytes, part="hidden")
### END HIDDEN TESTS

# %% [markdown]
# ## 3 ▸ Does it hold? Measure it
#
# The arithmetic is a model. Now the system's own count: the peak of a process's memory. We make
# two models with random weights, of the same kind of shapes as a Llama but smaller: one with 1
# layer, one with 4. What a merge costs depends on shapes, not on what the weights say.
#
# Here are the two ways, as two scripts. Each is run in a fresh process.

# %%
everything_at_once = """
base = load_file(folder + "/base/model.safetensors")
deltas = []
for name in ("adapter_1", "adapter_2"):
    factors = load_file(f"{folder}/{name}/adapter_model.safetensors")
    deltas.append({
        key.removeprefix("base_model.model.").replace("lora_A.", ""):
            2.0 * factors[key.replace("lora_A", "lora_B")] @ factors[key]
        for key in factors if "lora_A" in key
    })
merged = {
    name: (weight.float() + 0.5 * deltas[0][name] + 0.5 * deltas[1][name]).bfloat16()
    if name in deltas[0] else weight
    for name, weight in base.items()
}
save_file(merged, folder + "/all.safetensors")
"""

part_by_part = """
models = [{"model": f"{folder}/{name}"} for name in ("adapter_1", "adapter_2")]
recipe = {"merge_method": "linear", "base_model": folder + "/base", "models": models}
mergelab.merge(recipe | {"dtype": "bfloat16"}, folder + "/out", workers=1, backend="torch")
"""

# %% [markdown]
# The second is this course's tool: it reads tensor by tensor, works on runs of rows, and keeps
# adapters as factors. The larger model has four times the layers of the smaller one. Does the
# tool's peak grow with it? (We count what a process needs beyond Python and its libraries.)

# %%
predictions.choice(
    "peak of the tool, when the model gets four times the layers",
    None,
    among=("about four times", "about twice", "about the same"),
)

# %%
work = Path(tempfile.mkdtemp())
for layers in (1, 4):
    write_models(Shape(1024, layers, 2816, 16, 4, 64, vocabulary=1200), work / str(layers))
base_bytes = (work / "4" / "base" / "model.safetensors").stat().st_size
with_tool = "import torch, mergelab, mergelab.engine"
plain_torch = "import torch; from safetensors.torch import load_file, save_file"
peaks = {
    "all at once": nb.peak_memory(everything_at_once, str(work / "4"), imports=plain_torch),
    "tool, 1 layer": nb.peak_memory(part_by_part, str(work / "1"), imports=with_tool),
    "tool, 4 layers": nb.peak_memory(part_by_part, str(work / "4"), imports=with_tool),
}
shutil.rmtree(work)

# %%
growth = peaks["tool, 4 layers"] / peaks["tool, 1 layer"]
said = "about four times" if growth > 2.8 else "about twice" if growth > 1.4 else "about the same"
display(predictions.reveal("peak of the tool, when the model gets four times the layers", said))
less = peaks["all at once"] / peaks["tool, 4 layers"]
whole = "more" if peaks["all at once"] > 2 * base_bytes else "less"
nb.Note(
    f"All at once takes {whole} than twice the bytes of the base's own file. Part by part takes "
    + ("less than a tenth of that." if less > 10 else "less than half of that." if less > 2
       else "about as much: look at what else ran on this machine.")
)  # fmt: skip

# %% [markdown]
# Part by part, the size of the model stops mattering. `data/benchmarks/end_to_end_1b_3b.md`, made by
# `make bench`, has the same comparison at the real shapes of 1B and 3B models.

# %% [markdown]
# ## 4 A base in 8 or 4 bits
#
# *Quantising* stores weights as small whole numbers. Simple and common: take a group of
# neighbours, and divide by a **step** so that the largest becomes 127 (8 bits) or 7 (4 bits).
#
# By hand, 8 bits: the largest weight of a group is .635, so the step is .635 / 127 = .005. A weight
# of .150 is stored as 30.
#
# - Merge a change of +.002 into it: .152 / .005 = 30.4. Stored: 30. **The change is gone.**
# - Merge a change of +.003: .153 / .005 = 30.6. Stored: 31, which is .155. **The change has grown.**
#
# In both cases the base was stored in 8 bits first, so its weight lies exactly on a step. Then a
# change below half a step vanishes, in every such weight, and a larger one becomes whole steps. (A
# base of 16 bits lies anywhere between the steps. There a small change mostly vanishes and sometimes
# jumps by a step: fair on average, but noise in each weight.) One more effect: the step follows the
# largest weight of the group. If that one changes, all 64 move a little, with the step.
#
# So there are two places where rounding can hit: the base, before you merge, and the merge, when it
# is stored again.

# %%
pair = nb.changes(*nb.LOW)
change = {name: 0.85 * sum(deltas) for name, deltas in pair.deltas.items()}
stores = {
    "bfloat16": lambda weights: weights.bfloat16().float(),
    "8 bits": lambda weights: nb.round_trip(weights, 8),
    "4 bits": lambda weights: nb.round_trip(weights, 4),
}
sizes, errors = nb.errors_of_change(pair.base, change, stores, [0.02, 0.1, 0.3, 1])
nb.rounding_plot(sizes, errors, title="What is left of a merged change, once it is stored")

# %% [markdown]
# The rightmost points are our own pair of adapters. The others are the same change made smaller: on
# billion-parameter models a LoRA often changes the weights by only 1% or 2% of their size
# (`mergelab inspect` measures yours). At such a size, is the change still there, does noise lie over
# it, or is it gone? An error near 100% can mean either of the last two. So we also ask which share
# of the change comes back in its own direction.

# %%
left = nb.shares_left(pair.base, change, stores, 0.1)
nb.Note(
    f"At a change of {sizes[1]:.1%}: "
    + "; ".join(
        f"stored in {way}, {left[way]:.0%} of it comes back, with an error of {values[1]:.0%}, so "
        + ("the change is as good as gone" if left[way] < 0.2 else "most of it is left"
           if values[1] < 0.5 else "it is there, under much noise")
        for way, values in errors.items()
    ) + "."
)  # fmt: skip

# %% [markdown]
# Where the change is gone, nearly every weight was rounded back to the number that it had; what error
# there is beyond 100% comes from the steps that moved. Our own pair is larger (the rightmost points):
# more of it comes back, under noise. But noise points in all directions, and the change in one that
# the model understands. So look at behaviour: at our pair in full precision, with a base of 8 bits,
# and with a base of 4 bits in two ways. The hardest is the last: merge into the 4-bit base,
# then store the result in 4 bits again. What will it score? (150 dev items a suite.)

# %%
predictions.range("score of the merge stored in 4 bits again", low=None, high=None)

# %%
eight, four = stores["8 bits"], stores["4 bits"]
versions = {
    "full precision": lambda base, delta: base + delta,
    "8 bits: merged, stored again": lambda base, delta: eight(eight(base) + delta),
    "4-bit base, change kept apart": lambda base, delta: four(base) + delta,
    "4 bits: merged, stored again": lambda base, delta: four(four(base) + delta),
}
model, tokenizer = mergelab.merge(nb.recipe("task_arithmetic", **{"lambda": 0.85})).load()
scores = {}
for name, store in versions.items():
    weights = {key: store(pair.base[key], change[key]) for key in change}
    model.load_state_dict(weights, strict=False)
    scores[name] = evaluate(model, tokenizer, split="dev", limit=nb.ITEMS, name=name)
nb.scores_table(list(scores.values()))

# %%
again = scores["4 bits: merged, stored again"]
apart = scores["4-bit base, change kept apart"]
full = scores["full precision"]
display(predictions.reveal("score of the merge stored in 4 bits again", again.combined.estimate))
display(nb.Note(nb.difference_sentence("Storing again", "keeping it apart",
                                       compare(again, apart)["combined"])))  # fmt: skip
nb.Note(nb.difference_sentence("The 4-bit base with the change kept apart", "full precision",
                               compare(apart, full)["combined"]))  # fmt: skip

# %% [markdown]
# What to take home, if the sentences above agree: a quantised base saves memory when the model
# *runs*. For *merging* it saves little, because we never hold the base whole anyway, and it costs
# precision. So merge into the 16-bit base and quantise at the very end, or keep the merged change
# as an adapter beside the quantised base. Real 4-bit formats are cleverer than ours, so they lose
# less; the two places where rounding hits are the same.

# %% [markdown]
# ## 5 ▸ What bounds the time: bytes moved
#
# To merge one entry of two task vectors takes two multiplications and two additions. To get at its
# three numbers and to write the fourth takes 16 bytes through the memory. A processor core does
# some ten billion operations in a second, but gets only some ten billion bytes in a second from
# memory. Four operations against sixteen bytes: it waits for bytes nearly all the time.
#
# So count bytes. Nothing can beat a plain **copy**: it reads and writes each number once. Written
# in PyTorch as it stands in a formula, every operation is a *pass* of its own over the whole
# tensor. **Fused** into one pass, each input is read once and the result written once.

# %%
passes = {
    "copy": [("copy", 2)],
    "fused": [("base + w₁d₁ + w₂d₂", 4)],
    "pass by pass": [("w₁d₁", 2), ("base + …", 3), ("w₂d₂", 2), ("… + …", 3)],
}
nb.passes_plot(passes, title="Two task vectors: numbers read and written for each entry")

# %% [markdown]
# So the model predicts: pass by pass takes 10 / 2 = 5 times as long as a copy, fused 4 / 2 = 2
# times. Is it as simple as that? Which will be closest for pass by pass?

# %%
predictions.choice(
    "pass by pass against a copy", None, among=("about 2 copies", "about 5 copies", "over 8 copies")
)

# %%
entries = 1 << 24  # 64 MB each: too much for the processor's cache
# `scratch` holds what one pass leaves for the next
base, one, two, out, scratch = torch.randn(5, entries, generator=torch.manual_seed(0))


def pass_by_pass():
    torch.mul(one, 0.5, out=scratch)
    torch.add(base, scratch, out=out)
    torch.mul(two, 0.5, out=scratch)
    torch.add(out, scratch, out=out)


timed = {"copy": lambda: out.copy_(base), "pass by pass": pass_by_pass}
if find_spec("numba"):
    import numba

    @numba.njit
    def in_one_pass(out, base, one, two, w1, w2):
        for i in range(len(out)):
            out[i] = base[i] + w1 * one[i] + w2 * two[i]

    arrays = [tensor.numpy() for tensor in (out, base, one, two)]
    half = torch.tensor(0.5).numpy()[()]  # float32, like the arrays
    in_one_pass(*arrays, half, half)  # compiled at the first call
    timed["fused"] = lambda: in_one_pass(*arrays, half, half)

# %%
best = nb.best_times(timed)
ratio = best["pass by pass"] / best["copy"]
said = "about 2 copies" if ratio < 3.2 else "about 5 copies" if ratio < 8 else "over 8 copies"
display(predictions.reveal("pass by pass against a copy", said))
if "fused" in best:
    words = nb.about(best["fused"] / best["copy"], 2)
    faster = best["pass by pass"] > best["fused"]
    note = f"Fused takes {words}. It is {'faster' if faster else 'no faster'} than pass by pass."
else:
    note = "numba is not installed here, so the fused loop was left out; nothing later needs it."
nb.Note(f"Pass by pass takes {nb.about(ratio, 5)} from the bytes alone. {note}")

# %% [markdown]
# (The best of five turns each, into memory that was there already. Your machine may differ: it may
# be busy, its cache may be larger.) The fused loop does the same arithmetic in the same order. It
# only stops carrying numbers to memory and back. That is why fusing is worth the trouble, on a
# laptop and on a GPU.

# %% [markdown]
# <!-- exercise: memory/merge_seconds -->


# %% nbgrader={"grade": false, "grade_id": "merge_seconds", "locked": false, "schema_version": 3, "solution": true, "task": false}
def merge_seconds(entries, sources, bandwidth, fused=True, stored=4):
    """The time of a merge that only memory holds up, in seconds."""
    ### BEGIN SOLUTION
    if fused:
        each = (sources + 2) * stored
    else:
        each = sources * (2 + 3) * 4
        if stored == 2:
            each += (sources + 1) * (2 + 4) + (4 + 2)
    return entries * each / bandwidth
    ### END SOLUTION


# %%
check("memory/merge_seconds", merge_seconds)

# %% nbgrader={"grade": true, "grade_id": "merge_seconds_visible", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
grade("memory/merge_seconds", merge_seconds, part="visible")

# %% nbgrader={"grade": true, "grade_id": "merge_seconds_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# Hidden cases run when you submit: the same contract on other numbers.
### BEGIN HIDDEN TESTS
grade("memory/merge_seconds", merge_seconds, part="hidden")
### END HIDDEN TESTS

# %% [markdown]
# Your function, asked about an 8B model in bfloat16 with two full fine-tunes. 10 GB/s is a typical
# laptop core; 3,350 GB/s is what the maker of the H100 publishes for that GPU.

# %%
machines = {"one laptop core, 10 GB/s": 10e9, "H100, 3,350 GB/s": 3350e9}
nb.seconds_table(merge_seconds, 8_030_261_248, 2, machines)

# %% [markdown]
# The model must also come from the disk and go back to it, which is often slower than memory. So the
# fair limit for a whole merge is a plain copy of the model's files. Section 8 holds the tools
# against it.

# %% [markdown]
# ## 6 A kernel in pictures
#
# A *kernel* is a function that a GPU runs in many copies at once. Each copy is called a
# **program**, and each program gets a **tile** of the data. All programs run the same code; the
# only difference is the number each one is given. From it a program works out which entries are
# its own.

# %%
nb.tiles_plot(10, 4, title="Ten entries, tiles of four: three programs")

# %% [markdown]
# Ten is no multiple of four. A place in a tile is called a *lane*, and the last program has two lanes
# with nothing to do. It must not read there: that memory belongs to somebody else. So every load and
# every store comes with a **mask**, which says for each lane whether its entry exists.
#
# Inside a program nothing goes back to memory until the end. This is where fusing happens.

# %% [markdown]
# <!-- exercise: memory/merge_program -->


# %% nbgrader={"grade": false, "grade_id": "merge_program", "locked": false, "schema_version": 3, "solution": true, "task": false}
def merge_program(program, tile, base, deltas, weights):
    """Offsets, mask and merged values of one program's tile."""
    ### BEGIN SOLUTION
    offsets = program * tile + torch.arange(tile)
    mask = offsets < len(base)
    inside = offsets[mask]
    total = base[inside].float()
    for weight, delta in zip(weights, deltas, strict=True):
        total = total + weight * delta[inside].float()
    values = torch.zeros(tile)
    values[mask] = total
    return offsets, mask, values
    ### END SOLUTION


# %%
check("memory/merge_program", merge_program)

# %% nbgrader={"grade": true, "grade_id": "merge_program_visible", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
grade("memory/merge_program", merge_program, part="visible")

# %% nbgrader={"grade": true, "grade_id": "merge_program_hidden", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
# Hidden cases run when you submit: the same contract on other sizes, number types and values.
### BEGIN HIDDEN TESTS
grade("memory/merge_program", merge_program, part="hidden")
### END HIDDEN TESTS

# %% [markdown]
# ### The same in Triton
#
# Triton is a language for kernels, inside Python. Compare it with your function line by line. It
# compiles for a GPU, or *interprets* the kernel on a CPU: slowly, but with the same masks, the same
# mistakes and the same results. That is how one tests a kernel without a GPU.

# %%
if triton:

    @triton.jit
    def merge_kernel(out, base, one, two, w1, w2, n, TILE: tl.constexpr):
        offsets = tl.program_id(0) * TILE + tl.arange(0, TILE)
        mask = offsets < n
        total = tl.load(base + offsets, mask=mask)
        total += w1 * tl.load(one + offsets, mask=mask)
        total += w2 * tl.load(two + offsets, mask=mask)
        tl.store(out + offsets, total, mask=mask)


# %% [markdown]
# We run it on a real layer of our two adapters, with five entries cut off so that the last tile
# sticks out. The result is filled with NaN first: an entry that no program writes would show.

# %%
layer = "model.layers.1.self_attn.q_proj.weight"
flat = [tensor.flatten()[:-5] for tensor in (pair.base[layer], *pair.deltas[layer])]
expected = flat[0] + 0.5 * flat[1] + 0.25 * flat[2]
device = "cuda" if HAS_GPU else "cpu"
if triton:
    where = [tensor.to(device).contiguous() for tensor in flat]
    merged = torch.full_like(where[0], float("nan"))
    grid = (triton.cdiv(len(merged), 1024),)
    merge_kernel[grid](merged, *where, 0.5, 0.25, len(merged), TILE=1024)
    gap = float((merged.cpu() - expected).abs().max())
    note = f"{grid[0]} programs wrote {len(merged):,} entries. " + (
        "They agree with PyTorch." if gap < 1e-6 else f"They differ by up to {gap:.0e}."
    )
    note += "" if HAS_GPU else " No GPU here: Triton's interpreter ran it, so no time is measured."
else:
    note = (
        "Triton is not installed here (on Linux: pip install triton), so the kernel did not run. "
        "The lesson goes on without it."
    )
nb.Note(note)

# %% [markdown]
# Your own function, run for every program in turn, does the same:

# %%
mine = nb.all_programs(merge_program, 1024, flat[0], flat[1:], [0.5, 0.25])
if mine is not None:
    same = mine.shape == expected.shape and torch.allclose(mine, expected)
    display(nb.Note(f"Your programs together {'give' if same else 'do not give'} the merge."))

# %% [markdown]
# ### LoRA factors: a tile of B @ A on the fly
#
# The full delta of a LoRA need not be read from memory at all. A tile of it needs a strip of `B`
# and a strip of `A`; a program multiplies the two, uses the tile up and forgets it.

# %%
nb.factor_tile_plot(title="One tile of a LoRA delta")

# %% [markdown]
# Count for a 4,096 × 4,096 matrix and rank 16, in float32. The delta written out: 16,777,216
# numbers, 64 MiB, written once and read once. The factors: 2 × 16 × 4,096 numbers, half a MiB.
#
# Three things in the next kernel are new:
#
# - `[:, None]` makes a column of numbers and `[None, :]` a row. Column plus row gives a whole tile of
#   offsets, as in PyTorch.
# - `DEPTH` is 16 although the rank is 8. `tl.arange` needs a power of two, and `tl.dot` takes no less
#   than 16 along the rank. The mask fills the rest with zeros, which add nothing.
# - `input_precision="ieee"` asks for full float32 products. Otherwise a GPU may shorten the inputs
#   (TF32) to use its faster units.

# %%
if triton:

    @triton.jit
    def factor_kernel(out, base, b, a, weight, rows, columns, rank,
                      TILE: tl.constexpr, DEPTH: tl.constexpr):  # fmt: skip
        row = tl.program_id(0) * TILE + tl.arange(0, TILE)[:, None]
        column = tl.program_id(1) * TILE + tl.arange(0, TILE)[None, :]
        left, right = tl.arange(0, DEPTH)[None, :], tl.arange(0, DEPTH)[:, None]
        strip_b = tl.load(b + row * rank + left, mask=(row < rows) & (left < rank), other=0.0)
        strip_a = tl.load(
            a + right * columns + column, mask=(right < rank) & (column < columns), other=0.0
        )
        change = tl.dot(strip_b, strip_a, input_precision="ieee")  # the tile of B @ A
        mask = (row < rows) & (column < columns)
        total = tl.load(base + row * columns + column, mask=mask) + weight * change
        tl.store(out + row * columns + column, total, mask=mask)


# %%
factors = load_file(mergelab.data_path("adapters", "task_api_persona", "adapter_model.safetensors"))
key = f"base_model.model.{layer.removesuffix('.weight')}.lora_"
a, b = (factors[f"{key}{name}.weight"].float() for name in "AB")
scaling = 16 / 8  # alpha over rank
if triton:
    inputs = [tensor.to(device).contiguous() for tensor in (pair.base[layer], b, a)]
    merged = torch.full_like(inputs[0], float("nan"))
    (rows, columns), rank = merged.shape, a.shape[0]
    grid = (triton.cdiv(rows, 32), triton.cdiv(columns, 32))
    factor_kernel[grid](merged, *inputs, scaling, rows, columns, rank, TILE=32, DEPTH=16)
    gap = float((merged.cpu() - pair.base[layer] - pair.deltas[layer][0]).abs().max())
    note = "Same as with the full delta" if gap < 1e-5 else f"Differs by up to {gap:.0e}"
    note += f"; the largest tile of it was 32 × 32, where the delta is {rows} × {columns}."
else:
    note = "Triton is not installed here, so this kernel did not run either."
nb.Note(note)

# %% [markdown]
# The course's own kernel, `mergelab/kernels/triton_kernels.py`, is these two in one, with DARE,
# trim and election in between: however many steps a method has, each source is read once.

# %% [markdown]
# ## 7 A threshold without sorting
#
# TIES has to know one number before it can start: the k-th largest magnitude of a task vector. To
# *sort* for it is wasteful. We do not want the order, only one value in it. Sorting needs all
# values in one place, and moves them many times. Counting does not.
#
# **By hand.** Ten magnitudes, written as two digits each (0 to 9, then A to F). We want the 5th
# largest:
#
# `3A  91  07  5C  9E  33  58  90  2F  5C`
#
# 1. *First digit.* Count how often each occurs: 9 three times, 5 three times, 3 twice, 2 once, 0
#    once. From the top: the three with 9 are the three largest. We need the 5th, so the answer
#    begins with **5**, and it is the 5 − 3 = **2nd** largest among those.
# 2. *Second digit*, of the three that begin with 5: C twice, 8 once. From the top: C reaches 2. The
#    answer is **5C**.
#
# Two rounds, and we never put two numbers in order. The counts of two halves of the list simply add
# up, so the list can come in parts, from files, or be spread over workers.
#
# **Why it works for float32.** A float32 number is stored as sign, exponent, fraction, from the
# highest bit to the lowest. Without the sign, a larger number has larger bits. See for yourself:

# %%
for value in (0.0, 0.001, 0.5, 1.0, 1.5, 2.0, -2.0, 1000.0):
    bits = int(torch.tensor(value).view(torch.int32)) & 0x7FFFFFFF  # all but the sign
    print(f"{value:>8}   {bits:08X}")

# %% [markdown]
# Eight digits of 4 bits are printed. The usual choice is four digits of 8 bits, with 256 counters.

# %% [markdown]
# <!-- exercise: memory/radix_threshold -->


# %% nbgrader={"grade": false, "grade_id": "radix_threshold", "locked": false, "schema_version": 3, "solution": true, "task": false}
def radix_threshold(parts, k):
    """The k-th largest magnitude among all numbers of all parts."""
    ### BEGIN SOLUTION
    found, rank = 0, k
    for shift in (24, 16, 8, 0):
        counts = torch.zeros(256, dtype=torch.int64)
        for part in parts:
            bits = part.flatten().view(torch.int32) & 0x7FFFFFFF
            same = bits[(bits >> shift >> 8) == found]  # begins with the digits found so far
            counts += torch.bincount((same >> shift) & 255, minlength=256)
        counts, digit = counts.tolist(), 255
        while counts[digit] < rank:
            rank -= counts[digit]
            digit -= 1
        found = (found << 8) | digit
    return torch.tensor(found, dtype=torch.int32).view(torch.float32).item()
    ### END SOLUTION


# %%
check("memory/radix_threshold", radix_threshold)

# %% nbgrader={"grade": true, "grade_id": "radix_threshold_visible", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
grade("memory/radix_threshold", radix_threshold, part="visible")

# %% nbgrader={"grade": true, "grade_id": "radix_threshold_hidden", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
# Hidden cases run when you submit: the same contract on other shapes, sizes and values.
### BEGIN HIDDEN TESTS
grade("memory/radix_threshold", radix_threshold, part="hidden")
### END HIDDEN TESTS

# %% [markdown]
# First on the ten parameters of the course, then on every tensor of the persona adapter at once:
# the threshold of a trim to 50% over the whole model, with no tensor larger than one layer's.

# %%
persona, _ = nb.ten_parameters()
tensors = [deltas[0] for deltas in pair.deltas.values()]
of_ten = nb.threshold_of(radix_threshold, [persona], 5)
if of_ten is not None:
    whole, kept = nb.threshold_of(radix_threshold, tensors, pair.entries // 2)
    print(f"ten parameters: {of_ten[0]:.2f} (the 5th of .20 .15 .08 .07 .06 .04 ...)")
    print(f"whole adapter:  {whole:.6f}, which keeps {kept:,} of {pair.entries:,} entries")

# %% [markdown]
# ### ▸ Random numbers that do not depend on the order
#
# DARE needs a random number for every entry. The usual generator is a machine with a memory: each
# number depends on how many were drawn before. Cut the tensor into other tiles, or let two workers
# race, and entry 17 gets another number. On a GPU with thousands of programs this cannot work.
#
# A **counter-based** generator has no memory. It is a function: seed and *number of the entry* go
# in, random bits come out. Philox is the usual one. Below, both draw numbers for 1,000 entries in
# one piece, and again in tiles of 64, last tile first.

# %%
starts = range(0, 1000, 64)
torch.manual_seed(7)
in_one_piece = torch.rand(1000)
torch.manual_seed(7)
drawn = {start: torch.rand(min(64, 1000 - start)) for start in reversed(starts)}
with_memory = torch.equal(in_one_piece, torch.cat([drawn[start] for start in starts]))

in_one_piece = random_words(1000, seed=7, stream=0)
drawn = {
    start: random_words(min(64, 1000 - start), seed=7, stream=0, offset=start)
    for start in reversed(starts)
}
counter_based = torch.equal(in_one_piece, torch.cat([drawn[start] for start in starts]))
nb.Table(
    ["generator", "in tiles, last first"],
    [
        ["with a memory (torch.rand)", "same numbers" if with_memory else "other numbers"],
        ["counter-based (Philox)", "same numbers" if counter_based else "other numbers"],
    ],
)

# %% [markdown]
# Triton has Philox, too. Does a kernel draw the bits that the CPU draws?

# %%
if triton:

    @triton.jit
    def philox_kernel(out, seed, TILE: tl.constexpr):
        counter = tl.arange(0, TILE)
        zero = counter.to(tl.uint32) * 0
        first, second, third, fourth = tl.philox(seed, counter.to(tl.uint32), zero, zero, zero)
        tl.store(out + counter * 4, first.to(tl.int64))
        tl.store(out + counter * 4 + 1, second.to(tl.int64))
        tl.store(out + counter * 4 + 2, third.to(tl.int64))
        tl.store(out + counter * 4 + 3, fourth.to(tl.int64))

    words = torch.zeros(1024, dtype=torch.int64, device=device)
    philox_kernel[(1,)](words, 7, TILE=256)
    same = torch.equal(words.cpu()[:1000], in_one_piece)
    note = f"Kernel and CPU draw {'the same bits' if same else 'different bits'}."
else:
    note = "Triton is not installed here, so there is nothing to compare."
nb.Note(note)

# %% [markdown]
# ## 8 ▸ Put together: the tools, and a plain copy
#
# Everything in this lesson is in the course's tool: tensors read in parts, factors kept, one pass,
# thresholds by counting, Philox. What is it worth? The committed table
# `data/benchmarks/end_to_end_1b.json`, made by `make bench`, holds a comparison with mergekit on
# the shapes of a 1B model: two adapters of rank 16, two cores, no GPU. A copy is `cp` of the base.

# %%
predictions.range("time of our TIES merge, in copies of the base", low=None, high=None)

# %%
measured = json.loads(mergelab.data_path("benchmarks", "end_to_end_1b.json").read_text("utf-8"))
rows = []
for result in measured["results"]:
    found = result["ratios"]
    rows.append(
        [result["method"], f"{found['time_ours_to_copy']:.1f} ×",
         f"{found['time_mergekit_to_ours']:.1f} ×", f"{found['peak_mergekit_to_ours']:.1f} ×"]
    )  # fmt: skip
ties = next(r["ratios"] for r in measured["results"] if r["method"] == "ties")
display(
    predictions.reveal("time of our TIES merge, in copies of the base", ties["time_ours_to_copy"])
)
nb.Table(
    ["method", "time, ours : copy", "time, mergekit : ours", "peak memory, mergekit : ours"],
    rows,
    caption=f"mergekit {measured['versions']['mergekit']}, measured {measured['date']}",
)

# %% [markdown]
# Read it soberly. A copy is a limit that no merge reaches: there is arithmetic, and there are
# several passes where a threshold is searched. mergekit serves more architectures than this
# course's tool does, and it first writes a full merged copy of the base for each adapter to the disk
# (the column "scratch", temporary files, in `end_to_end_1b.md`). One machine, one day: repeat it with
# `make bench` on yours.

# %% [markdown]
# ## 9 Spot the invented output
#
# A log, made up for this course, of a merge of two full fine-tunes of an 8B model in bfloat16, on a
# laptop with 16 GB. At least four things in it cannot be true. Which line is possible?
#
# ```text
# loading base ........ 8,030,261,248 parameters, bfloat16, 8.0 GB
# loading fine-tune 1 .. fine-tune 2 .. all three models in memory, peak 15.2 GB
# merging in float32, one tensor at a time: largest tensor 128,256 x 4,096, work copies 6.3 GB
# LoRA rank 16 of the same model: 41,943,040 numbers, stored in float32, 16.8 MB
# threshold of embed_tokens: sorted 525,336,576 values, no extra memory
# wrote 16.1 GB in 0.9 s to a disk of 500 MB/s
# ```
#
# <details><summary>What cannot be true</summary>
#
# 1. 8.03 billion numbers of 2 bytes are 16.06 GB, not 8.0 GB.
# 2. Three such models are 48.2 GB. They cannot be in memory with a peak of 15.2 GB.
# 3. 41,943,040 numbers of 4 bytes are 167.8 MB: a factor of ten is missing.
# 4. A sort must keep 525 million values somewhere: at least 2.1 GB for a sorted copy in float32, and
#    as `torch.sort` does it 4.2 GB more for the positions.
# 5. 16.1 GB at 500 MB/s take 32 s.
#
# Possible is the third line: 525,336,576 × 4 bytes × 3 work copies = 6.3 GB.
#
# </details>

# %% [markdown]
# ## Look back
#
# How good were your guesses?

# %%
predictions.calibration()

# %% [markdown]
# **What you can now do.** Work out the memory of a merge before you start it. Say why "load all,
# then merge" fails, and what to do. Tell what rounding does to a small change. Predict a time from
# bytes. Read a kernel: programs, tiles, masks. Find a threshold by counting. Say why random numbers
# for merging should come from a counter.
#
# **Your playbook.** Answer in the cell below: What do I compute before I start a merge on a new
# machine? In which type do I merge, in which do I store? What do I do with a quantised base? What do
# I hold a measured time against? Which sign tells me that a tool holds more in memory than it
# needs? How would I test that a fast version gives the same as the plain one?

# %% [markdown]
# *My playbook, memory and kernels:* …

# %% [markdown]
# **Three prompts to try with an AI assistant**
#
# 1. "I want to merge two 8B adapters on a laptop with 16 GB and no GPU. Ask me what you need to
#    know, then give me the peak memory of three ways to do it, with the arithmetic." *Trains:*
#    planning. Check every product with your `peak_bytes`.
# 2. "Here is a Triton kernel: … Let me find the bug: ask me which offsets the last program reads."
#    *Trains:* reading masks and edges. Run the kernel in the interpreter before you believe either
#    of you.
# 3. "This tool says that its merge is ten times as fast as another. Which questions would a sceptic
#    ask?" *Trains:* reading benchmarks. Did it ask whether the outputs agree, and for a plain copy?
#
# **Before you use a merge.** A merged model can behave in ways that none of its sources did, and a
# merge that was stored in fewer bits is another model again. Evaluate both skills on the very files
# that you will use. The licences of base and sources carry over to the merge.
#
# **Go further**
#
# - Add a third task vector to `merge_kernel`. Then let it take any number (look at
#   `tl.static_range` in `mergelab/kernels/triton_kernels.py`).
# - Count the bytes of a fused TIES with thresholds by counting: how many passes over each source?
# - On a Linux machine with a GPU: time `merge_kernel` against `torch.Tensor.copy_` for 2**28
#   entries, and compare with `merge_seconds`.
# - Make `nb.round_trip` unbiased: round up or down at random, with Philox. What happens to the
#   error, and to the score?
#
# **References.** Philox: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3". Bytes
# against arithmetic: Williams et al. 2009, "Roofline" (a plot of which of the two limits a program).
# Triton: Tillet et al. 2019. Adapters on a quantised base: QLoRA,
# [2305.14314](https://arxiv.org/abs/2305.14314). The merge methods:
# [2203.05482](https://arxiv.org/abs/2203.05482), [2212.04089](https://arxiv.org/abs/2212.04089),
# [2306.01708](https://arxiv.org/abs/2306.01708), [2311.03099](https://arxiv.org/abs/2311.03099).
# mergekit: [2403.13257](https://arxiv.org/abs/2403.13257).
#
# **Next**: lesson 8, where everything comes together: three adapters under a memory limit, and a
# method of your own.
