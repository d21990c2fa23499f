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
# # DARE: drop most of it, and enlarge the rest
#
# DARE deletes most of what an adapter changed, at random, and multiplies what is left. That sounds
# like vandalism. You will find out why it can work, how far it goes here, and what it is good for.
#
# | | |
# |---|---|
# | **Time** | about 90 minutes, 30 of them for the six exercises |
# | **Difficulty** | ●●○ |
# | **You need** | Python and a little PyTorch; *task vector* (lesson 1), task arithmetic and its scale lambda (lesson 2), sign election (lesson 4). |
# | **Short of time?** | Do the parts marked ▸, about 35 minutes: the idea, why it works, one adapter, the pair. They need none of the exercises. |
# | **How to work** | Run the cells in order, also those of exercises that you leave open: later cells use their names. |
#
# **When you have finished, you can**
#
# | | level | how you can tell |
# |---|---|---|
# | say in plain words why most of a task vector can go, and why the rest must grow | explain | your written answer, 5 points |
# | carry ten parameters through DARE with given dice | apply | the table in section 4, with its solution |
# | write DARE, with a sum and with a vote, and estimate what it gives on average | apply | five exercises, 18 points |
# | drop 70% of a pair and lose less than 5% of each skill | evaluate | a judged exercise, 5 points |
# | tell noise between seeds from a difference between methods | analyse | your predictions, and the verdicts |
# | spot impossible figures in a log | analyse | the audit in section 11 |
# | say when to use DARE and when to leave it | select | your playbook at the end |
#
# **Where this lesson stands.** The methods of this course answer one problem, interference. Linear
# merges ignore it, SLERP avoids bad geometry, TIES resolves it. **DARE tries to pre-empt it**: what
# has been deleted can no longer be in anybody's way. It is a preprocessor. After it comes a sum
# (`dare_linear`) or a vote (`dare_ties`).

# %%
import math
import time

import torch

# %%
from IPython.display import display
from safetensors.torch import save

import mergelab
from autograder import check, grade
from mergelab import notebook as nb
from mergelab.evaluation.results import compare
from mergelab.methods import dare, task_arithmetic
from mergelab.methods import dare_linear as dare_linear_of_the_tool

torch.set_num_threads(1)  # the model is small: sharing its work out costs more than it saves
predictions = nb.Predictions()

# %% [markdown]
# ## 1 ▸ A picture first
#
# Here is a patch of one real layer: 12 × 12 weights, and what the persona adapter changes there. In
# the middle, dice have decided for every weight by itself: with a chance of 70% its change is
# deleted. On the right, what survived is multiplied by 1 / (1 − .7) = 3.33.

# %%
pair = nb.changes(*nb.LOW)
layer = "model.layers.1.self_attn.q_proj.weight"
nb.drop_plot(
    pair.deltas[layer][0], 0.7, title="144 weights of layer 1 (query projection), drop rate 70%"
)

# %% [markdown]
# Nothing was chosen. A large change goes as easily as a small one; that is the difference to trim
# in TIES. The mean sizes below the grids show what the second step is for: it brings the size back
# to about where it was.
#
# The words: the **drop rate** p is the chance that an entry goes. The **density** is the chance
# that it stays, 1 − p. A drop rate of 70% is a density of .3. Recipes use the density.

# %% [markdown]
# ## 2 ▸ One weight, by hand
#
# One change is **+.15**, and the drop rate is .9. With a chance of nine in ten it becomes 0. With
# one in ten it stays, and is divided by 1 − .9 = .1: it becomes **+1.50**. Ten times too much, or
# nothing at all. Never right.
#
# But on average it is exactly right: .9 × 0 + .1 × 1.50 = **.15**. That is the **expected value**,
# and it is the same for every p below 1. Without rescaling it would be .1 × .15 = .015: the change would
# shrink to a tenth.
#
# The price is noise. How far is a result from .15, in the root of the mean square? With chance .9
# it is off by .15, with chance .1 by 1.35: √(.9 × .15² + .1 × 1.35²) = .45, three times the change
# itself. In general it is √(p / (1 − p)) times the change: 1.0 at 50%, 1.5 at 70%, 3.0 at 90%, 9.9
# at 99%. As a variance, p / (1 − p).
#
# Now write the two steps. The dice are handed to your function, so that everybody gets the same
# result.

# %% [markdown]
# <!-- exercise: dare/drop -->


# %% nbgrader={"grade": false, "grade_id": "drop", "locked": false, "schema_version": 3, "solution": true, "task": false}
def drop(delta, drop_rate, dice):
    """Keep the entries of `delta` whose dice are at or above `drop_rate`, set the rest to zero."""
    ### BEGIN SOLUTION
    return torch.where(dice >= drop_rate, delta, torch.zeros_like(delta))
    ### END SOLUTION


# %%
check("dare/drop", drop)

# %% nbgrader={"grade": true, "grade_id": "drop_visible", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
grade("dare/drop", drop, part="visible")

# %% nbgrader={"grade": true, "grade_id": "drop_hidden", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
# Hidden cases run when you submit: the same contract on other shapes, number types and values.
### BEGIN HIDDEN TESTS
grade("dare/drop", drop, part="hidden")
### END HIDDEN TESTS

# %% [markdown]
# <!-- exercise: dare/rescale -->


# %% nbgrader={"grade": false, "grade_id": "rescale", "locked": false, "schema_version": 3, "solution": true, "task": false}
def rescale(kept, drop_rate):
    """Multiply what a drop has left by 1 / (1 - drop_rate)."""
    ### BEGIN SOLUTION
    if drop_rate == 1:
        return torch.zeros_like(kept)
    return (kept.float() / (1 - drop_rate)).to(kept.dtype)
    ### END SOLUTION


# %%
check("dare/rescale", rescale)

# %% nbgrader={"grade": true, "grade_id": "rescale_visible", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
grade("dare/rescale", rescale, part="visible")

# %% nbgrader={"grade": true, "grade_id": "rescale_hidden", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
# Hidden cases run when you submit: the same contract on other shapes, number types and values.
### BEGIN HIDDEN TESTS
grade("dare/rescale", rescale, part="hidden")
### END HIDDEN TESTS

# %% [markdown]
# ## 3 Roll the dice
#
# Below, the top row is a task vector, the middle row is one roll (dropped and rescaled), and the
# bottom row is the mean of all rolls so far, with the true values as black lines. Use the mouse, or
# Tab and Space. Try these:
#
# 1. Roll once more, and again. Does any single roll look like the top row?
# 2. Roll 20 times, a few times over. How fast do the green bars find their lines?
# 3. Set the density to 10% and do the same. What has changed?
# 4. Choose the ten real weights.

# %%
row = pair.deltas[layer][0][0, :10]
nb.DareDice({"ten parameters, persona": nb.ten_parameters()[0], "ten real weights": row})

# %% [markdown]
# A mean of n rolls is itself a little off. By how much is its **standard error**: the spread of
# single rolls divided by √n. Four times as many rolls halve it. You will need that whenever a
# method is random.

# %% [markdown]
# <!-- exercise: dare/estimate_expectation -->


# %% nbgrader={"grade": false, "grade_id": "estimate_expectation", "locked": false, "schema_version": 3, "solution": true, "task": false}
def estimate_expectation(samples):
    """The mean over samples, entry by entry, and its standard error."""
    ### BEGIN SOLUTION
    stacked = torch.stack(list(samples))
    mean = stacked.mean(0)
    if len(samples) == 1:
        return mean, torch.full_like(mean, math.inf)
    return mean, stacked.std(0) / math.sqrt(len(samples))
    ### END SOLUTION


# %%
check("dare/estimate_expectation", estimate_expectation)

# %% nbgrader={"grade": true, "grade_id": "estimate_expectation_visible", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
grade("dare/estimate_expectation", estimate_expectation, part="visible")

# %% nbgrader={"grade": true, "grade_id": "estimate_expectation_hidden", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
# Hidden cases run when you submit: the same contract on other shapes and values.
### BEGIN HIDDEN TESTS
grade("dare/estimate_expectation", estimate_expectation, part="hidden")
### END HIDDEN TESTS

# %% [markdown]
# Your function on 400 rolls of the real row: are the true values within three standard errors?

# %%
rolls = [dare(row, 0.3, seed=seed) for seed in range(400)]
estimate = nb.attempt(estimate_expectation, rolls)
if estimate is not None:
    near = (estimate[0] - row).abs() <= 3 * estimate[1]
    print(f"{int(near.sum())} of {len(row)} true values lie within three standard errors.")

# %% [markdown]
# ## 4 Ten parameters by hand
#
# The ten parameters of every lesson, with dice for each model and a drop rate of .5: an entry stays
# where its dice are .5 or more, and doubles. Fill in the last three rows with weights of 1.
#
# | entry | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 |
# |---|---|---|---|---|---|---|---|---|---|---|
# | persona | +.08 | +.002 | +.15 | −.20 | +.06 | −.07 | −.001 | +.004 | −.04 | +.005 |
# | *its dice* | .91 | .13 | .27 | .66 | .48 | .82 | .55 | .07 | .74 | .39 |
# | agentic | −.05 | −.001 | +.02 | −.11 | −.06 | −.06 | +.02 | +.17 | +.03 | −.006 |
# | *its dice* | .62 | .88 | .31 | .72 | .95 | .16 | .44 | .58 | .69 | .23 |
# | *left, rescaled* | | | | | | | | | | |
# | *dare_linear* | | | | | | | | | | |
# | *dare_ties* | | | | | | | | | | |
#
# <details><summary>Solution</summary>
#
# | entry | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 |
# |---|---|---|---|---|---|---|---|---|---|---|
# | *persona left* | +.16 | 0 | 0 | −.40 | 0 | −.14 | −.002 | 0 | −.08 | 0 |
# | *agentic left* | −.10 | −.002 | 0 | −.22 | −.12 | 0 | 0 | +.34 | +.06 | 0 |
# | *dare_linear* | +.06 | −.002 | 0 | −.62 | −.12 | −.14 | −.002 | +.34 | −.02 | 0 |
# | *dare_ties* | +.16 | −.002 | 0 | −.31 | −.12 | −.14 | −.002 | +.34 | −.08 | 0 |
# | *plain sum* | +.03 | +.001 | +.17 | −.31 | 0 | −.13 | +.019 | +.174 | −.01 | −.001 |
#
# Entry 3: the largest change that both agree on is gone, by bad luck. Entry 5: the exact draw is
# settled, by luck as well. Entry 8: agentic's large change has doubled. In entries 1 and 9 the
# conflict is still there and went to a vote.
#
# </details>

# %% [markdown]
# ## 5 ▸ How can a model survive that?
#
# In the widget no single roll resembled the original, and a model gets one roll only. Why should it
# work at all? Because a model never uses one weight alone. An output of a layer is a **sum** over
# many weights, each times its input. Some survivors are too large, the dropped ones are missing, and
# in a long sum these errors partly cancel. The rolls that you averaged one after the other in the
# widget, a sum averages within one roll.
#
# That can be measured. We send one prompt through the model, take what this layer gets as its input,
# and roll its drop 40 times. How large is the noise, in a single weight and in an output? Predict the
# noise in an output as a share of the *whole* output (base and adapter together), not of the part
# that the adapter adds.

# %%
predictions.range("noise at 90% dropped, as a share of the whole output", low=None, high=None)

# %%
model, tokenizer = mergelab.load_model(nb.LOW[0])
inputs = nb.layer_inputs(model, tokenizer, layer, "I finally finished the garden plan!")
noise = nb.layer_noise(pair.base[layer], pair.deltas[layer][0], inputs, [0.5, 0.7, 0.9, 0.95, 0.99])
nb.noise_plot(noise, title="Noise of a drop: query projection of layer 1, 40 rolls")

# %%
display(predictions.reveal("noise at 90% dropped, as a share of the whole output", noise[2].output))
nb.Note(nb.noise_sentence(noise[2]))

# %% [markdown]
# Two things help, and the plot shows both. The sum averages (from the upper curve to the middle
# one). And the adapter is a small correction to a large base: noise in a small correction is small
# beside the whole output (from the middle curve to the lower one). What matters in the end is the
# noise **compared with the whole weight**, roughly √(p / (1 − p)) times the size of the change
# relative to the base. How large are our changes?


# %%
def norm(tensors):
    """The norm of many tensors taken as one long vector."""
    return math.sqrt(sum(float(each.double().square().sum()) for each in tensors))


relative = [
    norm(deltas[n] for deltas in pair.deltas.values()) / norm(pair.base.values()) for n in (0, 1)
]
sizes = {"persona, here": relative[0], "agentic, here": relative[1]}
sizes |= {"if it were 2%": 0.02, "if it were 1%": 0.01}
rates = (0.5, 0.7, 0.9, 0.99)
nb.Table(
    ["size of the change / base", *(f"noise at {p:.0%} dropped" for p in rates)],
    [
        [f"{name}: {size:.1%}", *(f"{size * math.sqrt(p / (1 - p)):.1%}" for p in rates)]
        for name, size in sizes.items()
    ],
    caption="Expected noise as a share of the base's weights: size × √(p / (1 − p))",
)

# %% [markdown]
# Changes of 1% or 2% are common for adapters of models with billions of parameters. Compare their
# last column with our first ones before you read what others report.

# %% [markdown]
# ## 6 ▸ How much of one adapter can go?
#
# The paper (Yu et al.) reports that 90%, and for large models in places 99%, of a fine-tuned
# model's changes can go with little loss. One adapter, no merge yet: how much of persona's skill is
# left after 70% and after 90% have been dropped? A score is the share of items answered right.

# %%
predictions.range("persona's score with 70% dropped", low=None, high=None)

# %%
predictions.range("persona's score with 90% dropped", low=None, high=None)

# %%
alone = (nb.LOW[0],)
single = [nb.roll("whole", nb.recipe("dare_linear", alone), seeds=[0], skills=["persona"])]
for name, density, rescaled in (
    ("70% dropped", 0.3, True),
    ("90% dropped", 0.1, True),
    ("70% dropped, not rescaled", 0.3, False),
):
    recipe = nb.recipe("dare_linear", alone, density=density, rescale=rescaled)
    single.append(nb.roll(name, recipe, seeds=range(3), skills=["persona"]))
nb.rolls_table(single)

# %%
display(predictions.reveal("persona's score with 70% dropped", single[1].mean()))
predictions.reveal("persona's score with 90% dropped", single[2].mean())

# %% [markdown]
# DARE is random, so every number is a mean over seeds. All drop rates with three seeds each, for
# both adapters, take longer than a lesson has. They are in `data/tables/dare.csv`; `mergelab tables`
# makes that table again.

# %%
rows = nb.drops_table_rows()
of_one = [row for row in rows if row.models != "pair" and row.scale == 1]
nb.survival_plot(of_one, title="One adapter after a drop: mean of 3 seeds, worst and best seed")

# %%
nb.Note(nb.ninety_verdict(of_one))

# %% [markdown]
# Without rescaling the adapter shrinks to the share that stays, and the skill goes with it: that is
# why the second step is there. (At density .3 its *expected value* is .3 of what it was, entry by
# entry. The *size* in the table above is a norm, and that is about √.3 = .55 of what it was: the
# entries that stay keep their full length.)
#
# Does the size of the change decide how much can go, as section 5 suggests? We make both adapters
# twice as large (lambda 2) and drop again. The curves are relative to the same adapter with nothing
# dropped.

# %%
of_sizes = [row for row in rows if row.models != "pair"]
display(nb.scaled_plot(of_sizes, title="The same drop, adapters of two sizes"))
nb.Note(nb.scaled_verdict(of_sizes))

# %% [markdown]
# ## 7 DARE, then a merge
#
# As a preprocessor, DARE prepares each task vector with dice of its own. Then **dare_linear** adds
# them up like task arithmetic, and **dare_ties** elects signs and averages what agrees, like TIES
# without its trim.
#
# One difference to keep in mind. The sum of unbiased parts is unbiased: over many rolls,
# dare_linear's mean is the plain sum. A vote is not a sum. Where the other model was dropped, nobody
# is left to disagree or to share a mean with, so dare_ties gets *larger* as more is dropped.

# %% [markdown]
# <!-- exercise: dare/dare_linear -->


# %% nbgrader={"grade": false, "grade_id": "dare_linear", "locked": false, "schema_version": 3, "solution": true, "task": false}
def dare_linear(deltas, drop_rate, dice, weights=None, lam=1.0):
    """Drop and rescale each task vector by its own dice, then their weighted sum times `lam`."""
    ### BEGIN SOLUTION
    weights = [1.0] * len(deltas) if weights is None else weights
    total = torch.zeros_like(deltas[0], dtype=torch.float32)
    for weight, delta, rolled in zip(weights, deltas, dice, strict=True):
        total = total + weight * rescale(drop(delta.float(), drop_rate, rolled), drop_rate)
    return (lam * total).to(deltas[0].dtype)
    ### END SOLUTION


# %%
check("dare/dare_linear", dare_linear)

# %% nbgrader={"grade": true, "grade_id": "dare_linear_visible", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
grade("dare/dare_linear", dare_linear, part="visible")

# %% nbgrader={"grade": true, "grade_id": "dare_linear_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# Hidden cases run when you submit: the same contract on other shapes, number types and values.
### BEGIN HIDDEN TESTS
grade("dare/dare_linear", dare_linear, part="hidden")
### END HIDDEN TESTS

# %% [markdown]
# <!-- exercise: dare/dare_ties -->


# %% nbgrader={"grade": false, "grade_id": "dare_ties", "locked": false, "schema_version": 3, "solution": true, "task": false}
def dare_ties(deltas, drop_rate, dice, weights=None, lam=1.0):
    """Drop and rescale each task vector, elect signs, average what agrees, times `lam`."""
    ### BEGIN SOLUTION
    weights = [1.0] * len(deltas) if weights is None else weights
    terms, shares = [], []
    for weight, delta, rolled in zip(weights, deltas, dice, strict=True):
        terms.append(weight * rescale(drop(delta.float(), drop_rate, rolled), drop_rate))
        shares.append(torch.full_like(terms[-1], abs(weight)))
    terms, shares = torch.stack(terms), torch.stack(shares)
    agrees = (terms.sign() == terms.sum(0).sign()) & (terms != 0)
    share = (shares * agrees).sum(0)
    mean = torch.where(share > 0, (terms * agrees).sum(0) / share, torch.zeros_like(share))
    return (lam * mean).to(deltas[0].dtype)
    ### END SOLUTION


# %%
check("dare/dare_ties", dare_ties)

# %% nbgrader={"grade": true, "grade_id": "dare_ties_visible", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
grade("dare/dare_ties", dare_ties, part="visible")

# %% nbgrader={"grade": true, "grade_id": "dare_ties_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# Hidden cases run when you submit: the same contract on other shapes, number types and values.
### BEGIN HIDDEN TESTS
grade("dare/dare_ties", dare_ties, part="hidden")
### END HIDDEN TESTS

# %% [markdown]
# ### Read the report
#
# In practice you write a recipe. `density: 0.3` keeps 30%. The seed belongs to the run, not to the
# recipe: `mergelab merge recipe.yaml OUT --seed 7`, or `mergelab.merge(recipe, seed=7)`.

# %%
dropped = nb.recipe("dare_ties", density=0.3)
result = mergelab.merge(dropped, seed=7)
nb.merge_report_table(result.report)

# %% [markdown]
# The counts of dropped entries are close to 70%, but not equal to it: every entry has dice of its
# own. The rescale factor is 1 / .3 everywhere, whatever the count. And **magnitude kept** is far
# above 1: the enlarged survivors make a long vector, most of it noise. So with DARE you cannot read
# the strength of a merge from its norm.

# %% [markdown]
# ## 8 ▸ The pair
#
# Now both adapters. Each method is compared with *itself at density 1*: same method, same lambda,
# nothing dropped. dare_linear runs with lambda .85, where a plain sum does well on this pair
# (lesson 4), dare_ties with lambda 1. Five seeds each, 60 items a suite, dev split.

# %%
predictions.range("combined score of dare_linear, 70% dropped", low=None, high=None)

# %%
predictions.choice(
    "better of the two at 70% dropped", None, among=("dare_linear", "dare_ties", "cannot tell")
)

# %%
PLANS = {"dare_linear": {"lambda": 0.85}, "dare_ties": {"lambda": 1.0}}
whole, rolled = {}, {}
for method, options in PLANS.items():
    recipe = nb.recipe(method, density=1.0, **options)
    whole[method] = nb.roll(f"{method}, nothing dropped", recipe, seeds=[0])
    recipe = nb.recipe(method, density=0.3, **options)
    rolled[method] = nb.roll(f"{method}, 70% dropped", recipe)
nb.rolls_table([*whole.values(), *rolled.values()])

# %%
first, second = rolled.values()
display(predictions.reveal("combined score of dare_linear, 70% dropped", first.mean()))
gap = nb.lead(first, second)
better = {1: "dare_linear", -1: "dare_ties", 0: "cannot tell"}[nb.beyond_noise(gap)]
display(predictions.reveal("better of the two at 70% dropped", better))
display(nb.Note(nb.difference_sentence("dare_linear", "dare_ties", gap)))
nb.Note(nb.spread_sentence(first, second))

# %% [markdown]
# The interval counts two chances: which items were asked, and which seeds were drawn. So part of what
# looks like a difference between methods may be a difference between seeds. A single DARE run in a
# results table says little.
#
# The published sweep, on a 3-billion-parameter model, beside ours (`data/tables/dare.csv`, five
# seeds; the bars run from the worst to the best seed):

# %%
published = {
    "persona": {0.1: 0.72, 0.2: 0.81, 0.3: 0.88, 0.4: 0.90, 0.5: 0.91},
    "agentic": {0.1: 0.68, 0.2: 0.79, 0.3: 0.87, 0.4: 0.89, 0.5: 0.90},
}
of_pair = [row for row in rows if row.models == "pair"]
nb.drop_sweep_plot(of_pair, published, title="The pair by density: here and published")

# %%
nb.Note(nb.pair_verdict(of_pair, published))

# %% [markdown]
# The published sentence is "70% dropped retains 88 and 87%". These are the scores themselves, .88
# and .87. Nothing says what they are relative to; the source without a drop is not in that table.
# Our percentages are relative to the same merge at density 1, so that they say what the *drop* cost.

# %% [markdown]
# ## 9 Four claims, tested
#
# ### "Extreme compression"
#
# If 90% of a task vector is zero, does it take a tenth of the space? We store the persona adapter's
# change in several forms and count bytes: as a **dense** file (one number per entry, zeros too), as
# the numbers that are left with their positions (**indices**), the same with one bit per entry
# instead of positions (**bit mask**), and as the adapter's own **LoRA factors**. Which is smallest?

# %%
forms = ("dense", "indices", "bit mask", "LoRA factors")
predictions.choice("smallest form with 90% dropped", None, among=forms)


# %%
def stored(density):
    """Bytes of the persona adapter's change after a drop, by form; 32-bit numbers everywhere."""
    kept = [dare(deltas[0], density, seed=n) for n, deltas in enumerate(pair.deltas.values())]
    values = [each[each != 0] for each in kept]
    places = [each.flatten().nonzero().flatten().int() for each in kept]
    masks = [torch.zeros(-(-each.numel() // 8), dtype=torch.uint8) for each in kept]

    def file(*groups):
        return len(
            save({f"{g}.{n}": t for g, group in enumerate(groups) for n, t in enumerate(group)})
        )

    return {
        "dense": file(kept),
        "indices": file(values, places),
        "bit mask": file(values, masks),
        "LoRA factors": factors.stat().st_size,
    }


factors = mergelab.data_path("adapters", "task_api_persona", "adapter_model.safetensors")
sizes = {density: stored(density) for density in (1.0, 0.3, 0.1)}
display(
    nb.Table(
        ["share dropped", *forms],
        [[f"{1 - d:.0%}", *(f"{size[form]:,}" for form in forms)] for d, size in sizes.items()],
        caption="Bytes",
    )
)
smallest = min(sizes[0.1], key=sizes[0.1].get)
display(predictions.reveal("smallest form with 90% dropped", smallest))
ratio = sizes[0.1]["dense"] / sizes[1.0]["dense"]
nb.Note(
    f"With 90% dropped the dense file has {ratio:.0%} of its former size: a zero is a number like "
    f"any other. Smallest is the form '{smallest}'."
)

# %% [markdown]
# And a file of zeros can be compressed by a general program, but an adapter was never stored dense
# in the first place: its factors need no drop at all. DARE can save space where a model was
# fine-tuned *in full* and has no factors.
#
# ### "Fewer conflicts"
#
# A conflict needs both models. If each keeps 30%, both keep an entry in 9% of the cases. So there
# are fewer conflicts, certainly. But what do they *cost*? We add up what the two take from each
# other (the smaller of the two opposing changes), before and after, at the same expected size.

# %%
before, after = nb.clashes(pair), nb.clashes(pair, 0.3)
nb.Note(nb.clash_sentence(before, after, 0.3))

# %% [markdown]
# For a sum this changes nothing on average: dare_linear's expected merge *is* the plain sum, with
# every cancellation in it, plus noise. Only a method that looks at conflicts, such as dare_ties, can
# gain from fewer of them.
#
# ### "Faster merging"

# %%
predictions.choice("a merge with a drop is", None, among=("faster", "slower", "as fast"))


# %%
def quickest(merge, times=5):
    """Seconds that merging every tensor takes, the best of several tries."""
    tries = []
    for _ in range(times):
        began = time.process_time()
        for deltas in pair.deltas.values():
            merge(deltas)
        tries.append(time.process_time() - began)
    return min(tries)


plain = quickest(task_arithmetic)
with_drop = quickest(lambda deltas: dare_linear_of_the_tool(deltas, 0.3))
verdict = (
    "slower" if with_drop > 1.1 * plain else "faster" if with_drop < 0.9 * plain else "as fast"
)
display(predictions.reveal("a merge with a drop is", verdict))
nb.Note(nb.speed_sentence(plain, with_drop))

# %% [markdown]
# ### "Random, so nobody can repeat it"
#
# With a common generator the dice depend on the order in which models and tensors are visited. This
# course's tool draws each number from a *counter*: seed, the source's content, tensor, entry. So the
# order of the models and the number of workers must not matter. Do they?

# %%
turned = nb.recipe("dare_linear", nb.LOW[::-1], density=0.3)
runs = {
    "same recipe again": mergelab.merge(nb.recipe("dare_linear", density=0.3), seed=7),
    "models in the other order": mergelab.merge(turned, seed=7),
    "two workers": mergelab.merge(nb.recipe("dare_linear", density=0.3), seed=7, workers=2),
    "another seed": mergelab.merge(nb.recipe("dare_linear", density=0.3), seed=8),
}
once = mergelab.merge(nb.recipe("dare_linear", density=0.3), seed=7, workers=1)
for name, run in runs.items():
    same = all(torch.equal(run.tensors[key], once.tensors[key]) for key in once.tensors)
    print(f"{name}: {'every weight is the same' if same else 'the weights differ'}")

# %% [markdown]
# ## 10 Drop 70%, lose less than 5%
#
# Your turn to choose. Find a recipe that drops at least 70% of each adapter and still loses less
# than 5% of each skill, held against the same merge with nothing dropped. The settings in the table
# of section 8 are close to the bar, and on other items they can fall below it. So look for a smaller
# scale, and leave room. The dials are the method, lambda, and the models' weights.

# %% [markdown]
# <!-- exercise: dare/seventy_percent -->


# %% nbgrader={"grade": false, "grade_id": "seventy_percent", "locked": false, "schema_version": 3, "solution": true, "task": false}
def seventy_percent():
    """A recipe that drops 70% of both adapters and keeps both skills."""
    ### BEGIN SOLUTION
    return {
        "merge_method": "dare_ties",
        "base_model": "base",
        "models": [{"model": "task_api_persona"}, {"model": "task_api_agentic"}],
        "parameters": {"density": 0.3, "lambda": 0.8},
    }
    ### END SOLUTION


# %%
check("dare/seventy_percent", seventy_percent)

# %% nbgrader={"grade": true, "grade_id": "seventy_percent_visible", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
grade("dare/seventy_percent", seventy_percent, part="visible")

# %% nbgrader={"grade": true, "grade_id": "seventy_percent_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# The hidden case runs when you submit: the same trial on new items.
### BEGIN HIDDEN TESTS
grade("dare/seventy_percent", seventy_percent, part="hidden")
### END HIDDEN TESTS

# %% [markdown]
# Passing is one question. Another is whether the drop was worth anything: is the merge better than
# a plain sum? The dev split was for choosing. So now, **once**, on the test split: the better DARE
# merge of section 8 against the sum with nothing dropped, three seeds.

# %%
best = max(rolled, key=lambda method: rolled[method].mean())
final = nb.roll(
    f"{best}, 70% dropped",
    nb.recipe(best, density=0.3, **PLANS[best]),
    seeds=range(3),
    split="test",
)
plain_sum = nb.roll(
    "sum, nothing dropped",
    nb.recipe("task_arithmetic", **PLANS["dare_linear"]),
    seeds=[0],
    split="test",
)
display(nb.rolls_table([final, plain_sum]))
typical = sorted(final.results, key=lambda each: each.combined.estimate)[1]
difference = compare(typical, plain_sum.results[0])["combined"]
nb.Note(nb.difference_sentence(f"the middle seed of {best}", "the plain sum", difference))

# %% [markdown]
# ## 11 Spot the invented output
#
# This log was made up for this course: DARE-TIES of two adapters, 28 layers, 5 seeds. At least six
# things in it cannot be true. One line is possible: which?
#
# ```text
# dare_ties: 2 models, drop rate 0.7, rescale 1/(1-p)
# layer  7  q_proj  3072 x 3072   dropped 6,606,030 per model   rescale 3.31
# layer  8  q_proj  3072 x 3072   dropped 6,605,391 per model   rescale 3.33
# layer  9  q_proj  3072 x 3072   dropped 2,831,155 per model   rescale 3.33
# layer 10  q_proj  3072 x 3072   sign conflicts 3,104,220
# expected size of a change after rescaling: 0.30 of what it was
# density 0.1: agentic .68 | 0.3: agentic .87 | 0.5: agentic .90
# summary: at density 0.3 agentic .891, persona .88; persona alone .95: quality loss 1.0%
# written: dense fp16 checkpoint, 6.4 GB before the drop, 1.9 GB after it
# ```
#
# <details><summary>What cannot be true</summary>
#
# 1. **Layer 7.** The factor is 1 / (1 − .7) = 3.333 in every layer. It does not depend on how many
#    entries happened to stay. A factor that wanders from 3.31 to 3.33 comes from another rule (for
#    instance matching norms), or from nowhere.
# 2. **Layer 9.** 9,437,184 entries at a drop rate of .7 lose about 6,606,029. The log's number is
#    what *stays*: the two were swapped. Chance moves the count by about √(9,437,184 × .7 × .3) ≈
#    1,400, not by millions.
# 3. **Layer 10.** Each model keeps about 2,831,155 entries, and a conflict needs both. 3,104,220 is
#    more than there can be. Chance gives .3 × .3 × .5 = 4.5%, some 425,000.
# 4. **The expected size** after rescaling is 1.00 of what it was. That is what rescaling is for.
# 5. **The summary contradicts the sweep**: agentic .87 and .891 at the same density.
# 6. From .95 to .88 is 7 points, or 7.4% of the score, not 1.0%.
# 7. **A dense file** does not shrink when numbers become zero.
#
# Possible is layer 8: 638 away from the expected number, and the right factor (rounded).
#
# </details>

# %% [markdown]
# ## 12 When it goes wrong, and what to turn
#
# **What DARE does badly**
#
# - It is *random*. One run is one draw; a bad seed is a bad model. Section 8 shows by how much.
# - *Too much of it loses the skill*, and how much is too much depends on the size of the changes
#   (section 6). It has to be tried out.
# - It *needs tuning*: density and lambda, and for dare_ties the two hang together.
# - For a sum it *only adds noise*. A gain has to come from the step after it.
#
# **The usual advice**: density .3 for distinct models and a compressed result, dare_ties when both
# skills are weak; raise the density if a skill is lost; more than one seed, always.
#
# **Implementations disagree.** mergekit's DARE does not multiply by 1 / density. It matches the sum
# of magnitudes (the L1 norm) instead. On a large tensor that is nearly the same. On a small one it
# follows luck: here are 200 rolls of one vector of 64 entries at density .1.

# %%
values = torch.randn(64, generator=torch.Generator().manual_seed(0))
found = []
for seed in range(200):
    kept = dare(values, 0.1, seed=seed, rescale=False)
    if kept.any():
        found.append(float(values.abs().sum() / kept.abs().sum()))
print(f"1/density: 10.0 in every roll. L1 matching: from {min(found):.1f} to {max(found):.1f}.")

# %% [markdown]
# PEFT drops and rescales the two LoRA factors A and B, each by 1 / density, and multiplies them
# afterwards. Every entry of the product B·A then has a drop from either side, and noise from both:

# %%
draw = torch.Generator().manual_seed(0)
a, b = torch.randn(8, 128, generator=draw), torch.randn(128, 8, generator=draw)
product = b @ a
on_product = dare(product, 0.5, seed=1)
on_factors = dare(b, 0.5, seed=2) @ dare(a, 0.5, seed=3)
for name, each in (("dropped in the product", on_product), ("dropped in A and B", on_factors)):
    print(f"{name}, density .5: norm {float(each.norm() / product.norm()):.2f} times the original")

# %% [markdown]
# `compat: mergekit` or `compat: peft` in a recipe makes this course's tool follow either of them.

# %% [markdown]
# ## In your own words · 5 points · read by a person
#
# A colleague has heard that one can delete most of what training changed, at random, and does not
# believe it. **Why does dropping most of a task vector work, and when does it stop working?** Write
# five or six sentences, without formulas and without symbols.
#
# A full answer says what is done to a change and what is done to those that survive; what stays the
# same on average and what does not; why a layer hardly notices although every single weight is
# wrong; what decides how much can go; and one measurement from this lesson.

# %% [markdown] nbgrader={"grade": true, "grade_id": "why_dropping_works", "locked": false, "points": 5, "schema_version": 3, "solution": true, "task": false}
# For every weight, dice decide whether its change is deleted, and the few changes that survive are
# made larger by just so much that on average each change is what it was. So nothing is lost on
# average, but every single weight is now wrong: it has lost its change, or it has far too much of
# it. A model does not notice much of that, because each output of a layer is a sum over many
# weights, and in a sum the errors partly cancel; besides, the changes are small beside the base
# that they correct. The more is dropped, the larger the survivors and the noise, and at some point
# the noise is as large as the signal: how soon depends on how large the changes are beside the
# base. In this lesson persona stood 50% well, lost visibly at 90% and was gone at 99%, and an
# adapter twice as large stood much less. Without making the survivors larger, the adapter shrinks
# and its skill goes already at 70%.
#
# **Rubric, one point each:** (1) changes are deleted at random, not by size, and survivors are
# enlarged; (2) the average is kept, single weights are not; (3) outputs are sums over many weights,
# so errors cancel there; (4) names the limit: noise grows with the share dropped and counts beside
# the size of the base (or: larger changes stand less); (5) refers to a measurement of this lesson
# and reads it correctly (survival curves, no rescaling, seeds, or the noise plot). Formulas or
# unexplained symbols: at most 4 points.

# %% [markdown]
# ## Look back
#
# How good were your guesses?

# %%
predictions.calibration()

# %% [markdown]
# **What you can now do.** Explain why a random drop can leave a model intact. Take a vector through
# drop and rescale by hand. Write DARE before a sum and before a vote. Say what a seed can move.
# Test a claim about compression, conflicts or speed. Find the impossible number in a log.
#
# **Your playbook.** Answer in your own words: When would I try DARE, and what would I compare it
# with? Which densities (the usual range is .3 to .7)? How many seeds? What would I measure first,
# before I drop anything (the size of the change beside the base)? How would I test *both* skills?
# Which warning sign would make me throw the merge away (for instance: it is below both sources, or
# two seeds disagree)?

# %% [markdown]
# *My playbook, DARE:* …

# %% [markdown]
# **Three prompts to try with an AI assistant**
#
# 1. "Walk me through drop and rescale on these ten parameters with these dice: … Stop before each
#    result so that I can answer first." *Trains:* doing the steps without looking. Check the
#    arithmetic with your `dare_linear`.
# 2. "Help me to write the section on DARE of my merging playbook. Ask me for the evidence behind
#    every sentence." *Trains:* separating what you measured from what you heard.
# 3. "Here is a results table with one DARE run per row: … What can I conclude, and what not?"
#    *Trains:* reading a random method's results. Did it ask for seeds?
#
# **Before you use a merge.** A merged model can behave in ways that none of its sources did, and
# with DARE every seed is another model: evaluate the one you ship, both capabilities. A friendly
# persona can leak chat into JSON and break the program that reads it. The tools of this course are
# made for decoder-only models; other kinds may behave differently. The licences of all sources carry
# over to the merge.
#
# **Go further**
#
# - *Drop by size of the change:* DELLA keeps large entries with a higher chance. Try
#   `nb.recipe("della", density=0.3)` with five seeds beside dare_ties.
# - *A density per layer:* `density: [0.5, 0.2]` runs from .5 in the first layer to .2 in the last.
#   Which end of this model stands more?
# - *The conflict pair:* repeat section 8 with `nb.CONFLICT`. Its persona changes are larger.
# - *A norm instead of an average:* `rescale: l2` brings the norm back instead of the expected value.
#   What does that do to the size of the useful part?
# - *The paper:* equations 1 and 2 are the two functions that you wrote.
#
# **References.** Yu et al. 2023, *Language Models are Super Mario: Absorbing Abilities from
# Homologous Models as a Free Lunch*, [arXiv 2311.03099](https://arxiv.org/abs/2311.03099). Yadav et
# al. 2023, *TIES-Merging*, [2306.01708](https://arxiv.org/abs/2306.01708). Ilharco et al. 2022,
# *Editing Models with Task Arithmetic*, [2212.04089](https://arxiv.org/abs/2212.04089). Wortsman et
# al. 2022, *Model Soups*, [2203.05482](https://arxiv.org/abs/2203.05482). Goddard et al. 2024,
# *Arcee's MergeKit*, [2403.13257](https://arxiv.org/abs/2403.13257),
# [mergekit](https://github.com/arcee-ai/mergekit).
#
# **Next:** lesson 6, evaluate and tune. Which of all these differences are real?
