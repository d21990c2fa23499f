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
# # Interference: two adapters, one weight
#
# Two adapters change the same weights of one model. You will measure how often they get in each
# other's way, and find out what such a measurement can tell you about a merge.
#
# | | |
# |---|---|
# | **Time** | about 75 minutes, 26 of them for the four exercises |
# | **Difficulty** | ●●○ |
# | **You need** | Python and a little PyTorch; that an adapter (LoRA) is a small file that changes a model. What a merge is: arithmetic on weights, without training (lesson 0). |
# | **Short of time?** | Do the parts marked ▸, about 30 minutes: the problem, the explorer, and whether counting conflicts predicts a merge. |
# | **How to work** | Run the cells in order, also those of exercises that you leave open: later cells use their names. |
#
# **When you have finished, you can**
#
# | | level | how you can tell |
# |---|---|---|
# | say how interference arises, and why averaging can hurt both sides | explain | your written answer, 5 points |
# | compute a task vector, from two models or from an adapter's factors | apply | two exercises, 8 points |
# | measure where two task vectors meet, agree and oppose | apply | two exercises, 10 points |
# | carry ten parameters through an average by hand | apply | the table in section 2, with its solution |
# | judge a published share of "conflicting parameters" | analyse | the verdict in section 5 |
# | decide whether such a share predicts a merge | evaluate | your predictions, and the verdict in section 7 |
#
# **Where this lesson stands.** Every method of this course answers one problem, and this lesson
# is about the problem: **interference**. Linear merges (lesson 2) ignore it, SLERP (lesson 3)
# avoids bad geometry, TIES (lesson 4) resolves it, DARE (lesson 5) tries to pre-empt it by
# deleting entries at random.

# %%
import json

import torch

# %%
from IPython.display import display
from safetensors.torch import load_file

import mergelab
from autograder import check, grade
from mergelab import notebook as nb
from mergelab.evaluation.results import compare

torch.set_num_threads(1)  # the model is small: sharing its work out costs more than it saves
predictions = nb.Predictions()

# The task vectors of two pairs of adapters: the first pair, and one that you meet in section 6.
pair, conflict_pair = nb.changes(*nb.LOW), nb.changes(*nb.CONFLICT)

# %% [markdown]
# ## 1 ▸ One weight
#
# A small language model is the **base**. Two adapters were trained on it, each for itself:
# `task_api_persona` makes it a warm, encouraging task coach, `task_api_agentic` makes it answer
# requests with tool calls in JSON.
#
# Look at a single weight. In the base it is .15. Training the persona adapter moved it by **+.08**
# to .23. Training the agentic adapter moved it by **−.05** to .10. Now somebody wants one model
# with both skills. The model has only one place for this weight. What shall we write there?
#
# The simplest answer is the average of .23 and .10.

# %%
nb.one_weight_plot(
    0.15, {"persona": 0.08, "agentic": -0.05}, title="One weight, two adapters, one place"
)

# %% [markdown]
# The average is **.165**. Read it as a change: .165 − .15 = +.015.
#
# - Persona wanted +.08 and gets +.015, less than a fifth of it.
# - Agentic wanted −.05 and gets +.015: a move in the *wrong direction*.
#
# .165 is a compromise in the arithmetic only. It serves neither. When changes that different
# models need get in each other's way like this, we speak of **interference**.

# %% [markdown]
# ## 2 ▸ Two kinds of interference
#
# What an adapter changes in the base is its **task vector**: fine-tuned weights minus base
# weights. Below are the task vectors of two adapters on ten parameters. These ten accompany you
# through the whole course: every lesson takes them through its own method by hand.

# %%
nb.pair_plot(*nb.ten_parameters(), title="Ten parameters: what two adapters change")

# %% [markdown]
# Yadav et al. (2023) name two kinds of interference. Find both in the picture:
#
# 1. **Sign disagreement.** Where × stands, one adapter wants up and the other wants down. In an
#    average they cancel, in part or whole. It matters where both are large (entries 1, 5, 9); in
#    2, 7 and 10 one or both want next to nothing.
# 2. **Redundancy.** Some changes are so small that they may be left-overs of training that nobody
#    needs. They still count in an average. In entry 8, agentic has learned +.17, persona has
#    +.004, which is next to nothing. The average halves what agentic learned, because persona had
#    *almost no opinion*. So a flood of tiny changes dilutes the few that matter. Entry 3 is the
#    same the other way round.
#
# Where both want the same (entries 4 and 6), an average does no harm.
#
# ### ▸ Ten parameters by hand
#
# Take a pencil. Fill in the average and, for each entry, what happened. Take the first word that
# fits, without a look at the rest: *both tiny* (both below .01 in size); *one large and one small*
# (one is less than a fifth of the other, whatever the signs; write which comes first); *agree*;
# *oppose*.
#
# | entry | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 |
# |---|---|---|---|---|---|---|---|---|---|---|
# | persona | +.08 | +.002 | +.15 | −.20 | +.06 | −.07 | −.001 | +.004 | −.04 | +.005 |
# | agentic | −.05 | −.001 | +.02 | −.11 | −.06 | −.06 | +.02 | +.17 | +.03 | −.006 |
# | *what happened* | | | | | | | | | | |
# | *average* | | | | | | | | | | |
#
# <details><summary>Solution</summary>
#
# | entry | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 |
# |---|---|---|---|---|---|---|---|---|---|---|
# | *what happened* | oppose | both tiny | large, small | agree | oppose, a draw | agree | small, large | small, large | oppose | both tiny |
# | *average* | +.015 | +.0005 | +.085 | −.155 | 0 | −.065 | +.0095 | +.087 | −.005 | −.0005 |
#
# Entry 1 is the weight of section 1. Entry 5: an exact draw, and all that either of them learned
# is gone.
#
# </details>

# %% [markdown]
# ### Is much of a task vector redundant?
#
# Words like "left-overs" ask for a measurement. We take the real persona adapter and keep only the
# larger half of its changes, then the largest fifth; the rest is set to zero. If the small changes
# matter to nobody, the model should still be a good coach.
#
# The score is the share of prompts with a fully correct reply. Before you run the cell, guess
# it: with all changes, persona scores close to 1. Write a range in which you expect the answer
# four times out of five, as in `low=0.4, high=0.6`.

# %%
predictions.range("persona's score with its largest fifth only", low=None, high=None)


# %%
def persona_with(density):
    """The persona adapter with only its largest changes, scored on 150 chats of the dev split."""
    kept = nb.recipe("magnitude_prune", models=["task_api_persona"], density=density)
    return nb.measure(f"largest {density:.0%}", kept, skills=["persona"])


whole, half, fifth = (persona_with(density) for density in (1.0, 0.5, 0.2))
display(
    predictions.reveal(
        "persona's score with its largest fifth only", fifth[0].skills["persona"].rate.estimate
    )
)
nb.Table(
    ["changes kept", "score", "norm left"],
    [
        [each.model, each.skills["persona"].rate, f"{size:.0%}"]
        for each, size in (whole, half, fifth)
    ],
    caption="Persona alone, 150 chats of the dev split, 95% intervals",
)

# %%
nb.Note(
    nb.difference_sentence(
        "the larger half", "the whole adapter", compare(half[0], whole[0])["persona"]
    )
    + " "
    + nb.difference_sentence(
        "the largest fifth", "the whole adapter", compare(fifth[0], whole[0])["persona"]
    )
)

# %% [markdown]
# *Norm* is the overall size of a task vector: the square root of the sum of the squares. How far
# one can go with such cuts is the subject of lessons 4 and 5.

# %% [markdown]
# ## 3 Task vectors
#
# If we have the fine-tuned model and the base, a task vector is a subtraction for each tensor.
# Three decisions make it safe:
#
# - **Subtract in float32.** Models are stored in half precision, where numbers have few digits,
#   and the changes are small beside the weights.
# - **Leave out what did not change.** Our adapters leave the embeddings alone, for example.
# - **Leave out what only one model has.** Two models with different tensors may still share most
#   of them.

# %% [markdown]
# <!-- exercise: interference/task_vector -->


# %% nbgrader={"grade": false, "grade_id": "task_vector", "locked": false, "schema_version": 3, "solution": true, "task": false}
def task_vector(finetuned, base):
    """What training changed: for each name, fine-tuned minus base, in float32."""
    ### BEGIN SOLUTION
    result = {}
    for name in finetuned.keys() & base.keys():
        change = finetuned[name].float() - base[name].float()
        if change.any():
            result[name] = change
    return result
    ### END SOLUTION


# %%
check("interference/task_vector", task_vector)

# %% nbgrader={"grade": true, "grade_id": "task_vector_visible", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
grade("interference/task_vector", task_vector, part="visible")

# %% nbgrader={"grade": true, "grade_id": "task_vector_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# Hidden cases run when you submit: the same contract on other shapes, number types and values.
### BEGIN HIDDEN TESTS
grade("interference/task_vector", task_vector, part="hidden")
### END HIDDEN TESTS

# %% [markdown]
# Your function on the real models: which tensors did the persona adapter change?

# %%
base_model, persona_model = (mergelab.load_model(name)[0] for name in ("base", "task_api_persona"))
yours = nb.attempt(task_vector, persona_model.state_dict(), base_model.state_dict())
if isinstance(yours, dict):
    touched = sorted({name.split(".")[-2] for name in yours})
    print(f"{len(yours)} of {len(base_model.state_dict())} tensors changed: {', '.join(touched)}")

# %% [markdown]
# (Lesson 0 counts one tensor less: `state_dict` lists the embedding twice, as the matrix that reads
# tokens and as `lm_head`, which writes them. Both names stand for one tensor.)

# %% [markdown]
# ## 4 An adapter stores factors
#
# An adapter's file holds no task vector. For each weight matrix it holds two thin matrices, `A`
# and `B`, and a scaling:
#
# $$ \Delta W = \text{scaling} \cdot B A, \qquad A: (r, \text{in}), \quad B: (\text{out}, r) $$
#
# The number $r$ is the **rank**. Why so? Fine-tuning seems to need only few directions of change
# (Hu et al. 2021, the LoRA paper, bets on it), and the file gets small. For a matrix of 128 × 384
# and rank 8, that is 8 · (128 + 384) = 4,096 numbers instead of 49,152: one twelfth.
#
# Look at one pair of factors of the real adapter.

# %%
folder = mergelab.data_path("adapters", "task_api_persona")
settings = json.loads((folder / "adapter_config.json").read_text())
factors = load_file(folder / "adapter_model.safetensors")
where = "base_model.model.model.layers.1.mlp.down_proj"
a, b = factors[f"{where}.lora_A.weight"], factors[f"{where}.lora_B.weight"]
print("A:", tuple(a.shape), "  B:", tuple(b.shape))
print({key: settings[key] for key in ("r", "lora_alpha", "use_rslora", "fan_in_fan_out")})

# %% [markdown]
# <!-- exercise: interference/lora_delta -->


# %% nbgrader={"grade": false, "grade_id": "lora_delta", "locked": false, "schema_version": 3, "solution": true, "task": false}
def lora_delta(a, b, alpha, use_rslora=False, fan_in_fan_out=False):
    """The change of one weight matrix from the two factors of a LoRA adapter, in float32."""
    ### BEGIN SOLUTION
    r = a.shape[0]
    scaling = alpha / r**0.5 if use_rslora else alpha / r
    change = scaling * (b.float() @ a.float())
    return change.T if fan_in_fan_out else change
    ### END SOLUTION


# %%
check("interference/lora_delta", lora_delta)

# %% nbgrader={"grade": true, "grade_id": "lora_delta_visible", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
grade("interference/lora_delta", lora_delta, part="visible")

# %% nbgrader={"grade": true, "grade_id": "lora_delta_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# Hidden cases run when you submit: the same contract on other shapes, number types and values.
### BEGIN HIDDEN TESTS
grade("interference/lora_delta", lora_delta, part="hidden")
### END HIDDEN TESTS

# %% [markdown]
# Low rank does not mean that few weights change. How many entries of this matrix are exactly zero?
# And how many of its directions (singular values) are? First your function, then the tool.

# %%
delta = pair.deltas["model.layers.1.mlp.down_proj.weight"][0]
mine = nb.attempt(lora_delta, a, b, settings["lora_alpha"])
if isinstance(mine, torch.Tensor) and mine.shape == delta.shape:
    print(
        f"Largest difference between yours and the tool's: {float((mine - delta).abs().max()):.0e}"
    )
directions = torch.linalg.svdvals(delta)
used = int((directions > 1e-5 * directions[0]).sum())
nb.Note(
    f"{used} of {len(directions)} directions are in use, and {float((delta != 0).float().mean()):.0%}"
    f" of the {delta.numel():,} entries are not zero."
)

# %% [markdown]
# This matters for all that follows. If nearly every entry is changed by *both* adapters, then
# "parameters that both changed" is not a useful idea, until somebody says **how much counts as
# changed**.

# %% [markdown]
# ## 5 ▸ Do they change the same weights?
#
# A figure that you can find in texts about merging: for two adapters, about **70%** of the
# parameters have no overlap, **15%** move in the same direction, **15%** in opposite directions.
#
# Let us say it precisely. An entry is *changed* by an adapter if it belongs to the top share $q$
# of that adapter's magnitudes in this tensor. Then every entry is changed by *neither*, by *one
# only*, by both in the *same direction*, or by both in *opposite* directions. *No overlap* is
# neither and one only together.
#
# By hand, with the ten parameters and $q$ = 50%: persona's top five are the entries 1, 3, 4, 5, 6,
# agentic's are 1, 4, 5, 6, 8. Both: 1 and 5 (opposite), 4 and 6 (same). One only: 3 and 8. So the
# shares are 40% neither, 20% one only, 20% same direction, 20% opposite.
#
# And **chance**? Two task vectors that know nothing of each other, each with its own top share
# $q$, meet in $q \cdot q$ of the entries, and agree in half of these. For $q$ = 20% that is 4%: 2%
# same direction, 2% opposite.

# %% [markdown]
# <!-- exercise: interference/overlap_shares -->


# %% nbgrader={"grade": false, "grade_id": "overlap_shares", "locked": false, "schema_version": 3, "solution": true, "task": false}
def overlap_shares(first, second, share):
    """Shares of all entries: changed by neither, one only, both alike, both in opposition."""
    ### BEGIN SOLUTION
    n = first.numel()
    k = 0 if share == 0 else max(1, int(share * n + 0.5))
    masks = []
    for delta in (first, second):
        magnitude = delta.abs().flatten()
        if k == 0:
            masks.append(torch.zeros(n, dtype=torch.bool))
            continue
        threshold = magnitude.sort(descending=True).values[k - 1]
        masks.append((magnitude >= threshold) & (magnitude > 0))
    x, y = masks
    alike = first.flatten().sign() == second.flatten().sign()
    return {
        "neither": float((~x & ~y).float().mean()),
        "one only": float((x ^ y).float().mean()),
        "same direction": float((x & y & alike).float().mean()),
        "opposite": float((x & y & ~alike).float().mean()),
    }
    ### END SOLUTION


# %%
check("interference/overlap_shares", overlap_shares)

# %% nbgrader={"grade": true, "grade_id": "overlap_shares_visible", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
grade("interference/overlap_shares", overlap_shares, part="visible")

# %% nbgrader={"grade": true, "grade_id": "overlap_shares_hidden", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
# Hidden cases run when you submit: the same contract on other shapes, number types and values.
### BEGIN HIDDEN TESTS
grade("interference/overlap_shares", overlap_shares, part="hidden")
### END HIDDEN TESTS

# %% [markdown]
# ▸ Now the real adapters, all 28 matrices. With the top 20% of each adapter, what share of the
# weights will be changed in *opposite* directions? (In percent. Chance gives 2.)

# %%
predictions.range("opposite at top 20%, in percent", low=None, high=None, form="{:.1f}")

# %%
shares = [n / 100 for n in range(5, 61)]
curve = nb.overlap_curve(pair, shares)
display(predictions.reveal("opposite at top 20%, in percent", 100 * curve[0.2].opposite))
nb.Note(nb.chance_sentence(curve, 0.2))

# %%
marks = shares[::5]
layers = {name: nb.overlap_curve(part, marks) for name, part in nb.by_layer(pair).items()}
nb.overlap_plot(
    {q: curve[q] for q in marks}, layers, title="Where persona and agentic meet, by definition"
)

# %% [markdown]
# Three things to look at: how far each curve lies from the dotted one; how far the layers differ
# from each other; and where, if anywhere, the curves cross the dashed published figures.

# %%
nb.Note(nb.overlap_verdict(curve))

# %% [markdown]
# So a share of overlap without its definition says very little. Whenever you read one, ask two
# questions: **what counts as changed, and what would chance give?**

# %% [markdown]
# ### ▸ The interference explorer
#
# Pick a layer and a matrix, and say what counts as changed. The upper row shows a patch of 12 × 12
# weights: the two task vectors, where they meet, and the patch after a merge. Below: the shares of
# the whole matrix beside chance, and what each method would do to one entry. You can use the mouse
# or the Tab and arrow keys; the sentence under the figure says in words what it shows.
#
# TIES and DARE are for later lessons. For now it is enough to know that both keep a share of each
# task vector's entries (here the same share): TIES the largest and settles conflicts, DARE a
# random choice that depends on the seed.
#
# 1. Lower the share from 50% to 5%. What happens to the × squares, and what does chance do?
# 2. Find a × square and follow it: which method gives one adapter what it wanted?
# 3. Find a grey square with one large change. Which methods keep it, which halve it?
# 4. Choose *ten parameters* as the layer and check your table of section 2.
# 5. Change the seed of DARE. What changes, and what stays?

# %%
nb.InterferenceExplorer(pair)

# %% [markdown]
# If you only read this page, here is one state of it as a picture:

# %%
view = nb.look(*pair.deltas["model.layers.1.self_attn.q_proj.weight"], share=0.5)
nb.explorer_figure(view, "average", (3, 3), title="Layer 1, query projection")

# %% [markdown]
# ## 6 Count, mass, and direction
#
# Counting treats a conflict between .08 and −.05 like one between .002 and −.001. In the ten
# parameters, 6 of 10 entries have opposite signs. That sounds terrible. Yet in three of the six,
# one side or both want next to nothing.
#
# The **conflict mass** weighs them. Where signs are opposite, a sum cancels the *smaller* of the
# two magnitudes. (It takes as much away from the larger one; we count it once.) Add up what is
# cancelled, and divide by all magnitudes together.
#
# By hand: .05 + .001 + .06 + .001 + .03 + .005 = .147. All magnitudes: .612 + .527 = 1.139. So
# the conflict mass is **12.9%**.

# %% [markdown]
# <!-- exercise: interference/conflict_mass -->


# %% nbgrader={"grade": false, "grade_id": "conflict_mass", "locked": false, "schema_version": 3, "solution": true, "task": false}
def conflict_mass(first, second):
    """Share of all magnitudes that a sum cancels because the other one wants the opposite."""
    ### BEGIN SOLUTION
    a, b = first.float(), second.float()
    total = float(a.abs().sum() + b.abs().sum())
    if total == 0:
        return 0.0
    smaller = torch.minimum(a.abs(), b.abs())
    return float(smaller[a * b < 0].sum()) / total
    ### END SOLUTION


# %%
check("interference/conflict_mass", conflict_mass)

# %% nbgrader={"grade": true, "grade_id": "conflict_mass_visible", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
grade("interference/conflict_mass", conflict_mass, part="visible")

# %% nbgrader={"grade": true, "grade_id": "conflict_mass_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# Hidden cases run when you submit: the same contract on other shapes, number types and values.
### BEGIN HIDDEN TESTS
grade("interference/conflict_mass", conflict_mass, part="hidden")
### END HIDDEN TESTS

# %%
ten = nb.attempt_number(conflict_mass, *nb.ten_parameters())
if ten is not None:
    print(f"Your function on the ten parameters: {ten:.1%}")

# %% [markdown]
# Next to the conflicts there are agreements. What opposite signs take away from a sum, equal signs
# may give back. A ledger of the squared norm shows both sides. We add a second pair of adapters,
# the **conflict pair**. Both were also trained to answer some of the other one's prompts in their
# own style, so there the two skills compete.

# %%
accounts = {"first pair": nb.ledger(pair), "conflict pair": nb.ledger(conflict_pair)}
nb.ledger_plot(accounts, title="What a sum of two task vectors loses and gains")

# %%
for name, account in accounts.items():
    display(nb.Note(f"{name}. {nb.ledger_sentence(account)}"))

# %% [markdown]
# The balance has a well-known name. Take all entries as two long arrows: the **cosine** of the
# angle between them is +1 if they point the same way, 0 at a right angle, −1 if they are opposite.
# (The squared norm of a sum is the two squared norms, plus twice the product of the two norms and
# the cosine.)
# By chance it is 0, give or take a little; the more entries, the less.

# %%
display(nb.layer_table(pair, share=0.2))
cosines = [nb.cosine(part, name) for name, part in nb.by_layer(pair).items()]
nb.Note(nb.cosine_sentence(cosines, nb.cosine(pair)))

# %% [markdown]
# `mergelab inspect task_api_persona task_api_agentic` prints such a table for any models of one
# base, in a terminal.

# %% [markdown]
# ## 7 ▸ Does it predict the merge?
#
# Now the question that matters. We have two pairs of adapters: the first pair, and the **conflict
# pair**, whose adapters were also trained to answer some of the other one's prompts in their own
# style. Put what their weights say side by side. (Section 6 explains the last columns: the
# *conflict mass* is the share of all magnitudes that a sum cancels; a *cosine* of 0 is a right
# angle. *Sizes* are the norms of the two task vectors.)

# %%
hard_curve = nb.overlap_curve(conflict_pair, [0.2])
rows = []
for name, shares_of, found in (
    ("first pair", curve, pair),
    ("conflict pair", hard_curve, conflict_pair),
):
    here = shares_of[0.2]
    sizes = [sum(d[i].square().sum() for d in found.deltas.values()) ** 0.5 for i in (0, 1)]
    rows.append(
        [name, f"{here.same:.1%}", f"{here.opposite:.1%}", f"{nb.ledger(found).mass:.1%}",
         f"{nb.cosine(found).value:+.3f}", f"{sizes[0]:.1f} and {sizes[1]:.1f}"]
    )  # fmt: skip
nb.Table(
    ["", "same direction", "opposite", "conflict mass", "cosine", "sizes (persona, agentic)"],
    rows,
    caption="Two pairs, top 20% of each tensor",
)

# %% [markdown]
# We average each pair (weights .5 and .5) and measure the merged model on 150 chats and 150 tool
# requests. What do you expect?

# %%
predictions.choice(
    "better average",
    None,
    among=("first pair", "conflict pair", "no clear difference"),
)

# %%
averages = [
    nb.measure(f"average, {name}", nb.recipe("linear", models, weights=(0.5, 0.5)))[0]
    for name, models in (("first pair", nb.LOW), ("conflict pair", nb.CONFLICT))
]
gap = compare(averages[0], averages[1])["combined"]
answer = {1: "first pair", -1: "conflict pair", 0: "no clear difference"}[nb.beyond_noise(gap)]
display(predictions.reveal("better average", answer))
nb.scores_table(averages)

# %%
nb.Note(
    nb.shares_and_scores(
        [curve[0.2], hard_curve[0.2]], [nb.ledger(pair), nb.ledger(conflict_pair)], averages, gap
    )
)

# %% [markdown]
# ### ▸ A first look at behaviour
#
# Is there anything else to look at *before* a merge? Ask each adapter the prompts that are the
# **other** one's business. Does the agentic adapter answer a chat with JSON? Does the persona
# adapter answer a tool request like a coach? On such prompts the two skills compete.

# %%
predictions.range("chats that agentic of the conflict pair answers with JSON, in percent",
                  low=None, high=None, form="{:.0f}")  # fmt: skip

# %%
alone = [
    nb.measure_alone(f"task_api_{skill}{pair_name}", name=f"{skill}{label}", skills=[other])
    for pair_name, label in (("", ", first pair"), ("_conflict", ", conflict pair"))
    for skill, other in (("persona", "agentic"), ("agentic", "persona"))
]
nb.manner_table(alone + averages, caption="How often a reply has the other skill's manner")

# %%
in_chat = nb.wrong_manner(alone[3])["chats answered with JSON"]
display(
    predictions.reveal(
        "chats that agentic of the conflict pair answers with JSON, in percent", 100 * in_chat
    )
)
nb.Note(nb.manner_sentence(alone[:2], alone[2:]))

# %% [markdown]
# (That persona alone answers every request without JSON is no fault: nobody taught it tool calls.)
#
# Now look at the last row of the table, the average of the conflict pair. Its first and its last
# column show next to nothing of the wrong manner, and yet its scores are low. What does it say, then,
# where it is wrong? Perhaps what the base says: an average halves each change.

# %%
base_alone = nb.measure_alone("base", name="base")
rows = []
for each in averages:
    cells = [each.model]
    for skill, result in each.skills.items():
        theirs = [outcome.reply for outcome in base_alone.skills[skill].outcomes]
        wrong = [
            outcome.reply == reply
            for outcome, reply in zip(result.outcomes, theirs, strict=True)
            if not outcome.score.strict
        ]
        cells.append(f"{sum(wrong)} of {len(wrong)}")
    rows.append(cells)
nb.Table(
    ["", "persona", "agentic"],
    rows,
    caption="Of the wrong replies, those that are the base's, word for word",
)

# %% [markdown]
# So what a merge does wrong need not look like what its adapters do wrong. That the weaker pair is
# the one with the wrong manner was to be seen beforehand; *how* its average fails was not. Whether
# a larger scale brings the skills back is a question for lesson 2.
#
# Keep three questions apart. The **count** says how *often* two adapters oppose each other, the
# **mass** says how *much* that is, and only **behaviour** says whether it *matters*. Two pairs are
# not a proof, and these two differ in more than their conflicts, as the column of sizes shows. But
# they are enough to test a rule such as "few conflicts, so the merge will be good".

# %% [markdown]
# ## 8 Outlook: the same ten parameters, five methods
#
# What will the methods of the next lessons do to the ten parameters? The tool can say it already.
# You know the average already; each of the next lessons takes one of the other rows apart by hand.
# Copy the table into your notes and leave room beside it. (TIES and DARE keep 50% here; DARE with
# seed 0.)

# %%
nb.ten_table(nb.merged_by_each(*nb.ten_parameters(), density=0.5, seed=0))

# %% [markdown]
# Four questions for the next lessons:
#
# - The *sum* is twice the average everywhere. When is more better? (Lesson 2)
# - *SLERP* is a little larger than the average, at every entry by the same factor. Why? (Lesson 3)
# - Entry 1: *TIES* gives persona all it wanted, and agentic nothing. Who decides that? (Lesson 4)
# - Entry 8: *DARE* doubles what it keeps. Why would that be right on average? (Lesson 5)

# %% [markdown]
# ## In your own words · 5 points · read by a person
#
# A colleague says: "Averaging two adapters is safe. In the worst case each skill is half as
# strong." **How does interference arise, and why can an average hurt both skills?** Write five or
# six sentences, without formulas and without symbols.
#
# A full answer says why two adapters that were trained apart can want different things of one
# weight; what the average does where they want opposite things; what it does where only one of
# them has a strong opinion; why the number of such conflicts alone does not tell how good the
# merge will be; and one measurement of this lesson that supports you.

# %% [markdown] nbgrader={"grade": true, "grade_id": "how_interference_arises", "locked": false, "points": 5, "schema_version": 3, "solution": true, "task": false}
# Each adapter was trained alone, on the same starting model, and none knew what the other would
# need, so both have changed nearly all of the same weights, each for its own purpose. Where one of
# them moved a weight up and the other moved it down, the average lands in between, near the
# starting value or even on the wrong side of it, so neither gets what it learned: that is worse
# than half. Where only one of them made a large change and the other a tiny accidental one, the
# average halves the large change, although nobody was against it. Whether this does harm depends
# on how large the changes are and on what the model does with them, not on how many there are:
# two unrelated adapters oppose each other by pure chance in half of the places where both made
# changes. In this lesson two pairs of adapters had nearly the same shares of opposite changes,
# and yet the averages of the two pairs differed clearly on the same prompts. What did differ
# beforehand was how the adapters answered each other's prompts.
#
# **Rubric, one point each:** (1) the adapters were trained apart and change the same weights, each
# for its own task; (2) opposite changes cancel, and the result can lie where neither wanted to be
# or on the wrong side; (3) a strong change is diluted by a tiny or missing one; (4) the count of
# conflicts does not predict the merge: chance, size, or behaviour is named as the reason; (5)
# refers to a measurement of this lesson and reads it correctly. Formulas or unexplained symbols:
# at most 4 points.

# %% [markdown]
# ## Look back
#
# How good were your guesses?

# %%
predictions.calibration()

# %% [markdown]
# **What you can now do.** Explain interference and its two kinds. Compute a task vector from two
# models or from an adapter's factors. Measure overlap, conflict mass and cosine, each beside
# chance. Ask a published share of conflicts for its definition. Look at behaviour before you trust
# any of them.
#
# **Your playbook.** Start it here; every lesson adds a page. Answer in the cell below, in your own
# words: What will I look at before I merge two adapters? Which figure about weights would I report,
# with which definition, and beside which chance value? How do I test *both* skills, and the
# manner of the replies? Which warning sign would make me stop (for instance: an adapter answers
# the other's prompts in its own manner)?

# %% [markdown]
# *My playbook, interference:* …

# %% [markdown]
# **Three prompts to try with an AI assistant**
#
# 1. "Here are two task vectors with ten entries each: … For each entry, let me say first whether
#    they agree, oppose, or one is negligible; then tell me what the average does." *Trains:*
#    reading interference entry by entry. Check its arithmetic with your functions.
# 2. "I merged two adapters by averaging and the result is bland: replies are polite but general,
#    and tool calls lack their arguments. Ask me one question at a time to find out whether
#    cancelling or dilution is the cause." *Trains:* diagnosis of a linear merge.
# 3. "A paper says that 15% of the parameters of two adapters conflict. List every definition that
#    is missing before I can use this number, and what chance would give for each." *Trains:*
#    reading results as a sceptic.
#
# **Before you use a merge.** A merged model can behave in ways that none of its sources did.
# Evaluate both capabilities before use. A friendly persona can leak chat into JSON and break the
# program that reads it; section 7 counts such replies. The techniques of this course were developed
# on decoder-only models; other kinds may behave differently. And the licences of all sources carry
# over to the merge.
#
# **Go further**
#
# - *A ladder of pairs:* more pairs ship, trained alike but for the share of prompts that each
#   adapter answers in its own style: `task_api_persona_own02` with `task_api_agentic_own02` (2%),
#   and `_own05`, `_own10`. Fill one table: overlap and conflict mass, the manner of each adapter on
#   the other's prompts, the score of the average. Which column follows the score?
# - *Chance, by experiment:* shuffle the entries of one task vector (`torch.randperm`) and draw the
#   curves of section 5 again. What moves?
# - *Another granularity:* which matrices have the largest conflict mass, attention or MLP? Does it
#   differ from chance for each?
# - *A share of your own:* define "changed" as "larger than 1% of the base weight". Where do the
#   published shares fall then?
# - *The paper:* Yadav et al., section 3, shows both kinds of interference on models with many more
#   parameters. Which definition of "changed" do they use?
#
# **References.** Yadav et al. 2023, *TIES-Merging: Resolving Interference When Merging Models*,
# [arXiv 2306.01708](https://arxiv.org/abs/2306.01708). Ilharco et al. 2022, *Editing Models with
# Task Arithmetic*, [2212.04089](https://arxiv.org/abs/2212.04089). Hu et al. 2021, *LoRA*,
# [2106.09685](https://arxiv.org/abs/2106.09685). Wortsman et al. 2022, *Model Soups*,
# [2203.05482](https://arxiv.org/abs/2203.05482). Yu et al. 2023, *Language Models are Super Mario*
# (DARE), [2311.03099](https://arxiv.org/abs/2311.03099). Goddard et al. 2024, *Arcee's MergeKit*,
# [2403.13257](https://arxiv.org/abs/2403.13257),
# [mergekit](https://github.com/arcee-ai/mergekit).
#
# **Next:** lesson 2, linear merges and task arithmetic. They ignore interference; it is worth
# knowing how far that gets you.
