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
# # TIES: settle the conflicts, then merge
#
# Two adapters pull some weights in opposite directions; TIES decides each of these conflicts
# before it averages, and you will measure whether that helps.
#
# | | |
# |---|---|
# | **Time** | about 90 minutes, 30 of them for the six exercises; the parts marked ☆ can wait for a second sitting |
# | **Difficulty** | ●●○ |
# | **You need** | Python and a little PyTorch; what an adapter (LoRA) is. From lessons 1 and 2: a *task vector* is what training changed in the weights (fine-tuned minus base), and a *linear merge* is the average of two models. |
# | **Short of time?** | Do the parts marked ▸, about 35 minutes: the idea, the three steps in short, one merge with default settings, TIES against the average. They need none of the exercises; come back for those. |
# | **How to work** | Run the cells in order, also those of exercises that you leave open: later cells use their names. |
#
# **When you have finished, you can**
#
# | | level | how you can tell |
# |---|---|---|
# | say in plain words why averaging hurts where models disagree, and what sign election does about it | explain | your written answer, 5 points |
# | carry ten parameters through TIES by hand | apply | the table in section 5, with its solution |
# | write TIES from its three steps | apply | four exercises, 20 points |
# | say whether a pair gives TIES anything to resolve, and why | analyse | an exercise, 3 points |
# | read a merge report, and spot figures in it that cannot be true | analyse | an exercise, 3 points, and the audit in section 11 |
# | find out whether sign election helped, or only the size of the merge | evaluate | your predictions, and the verdicts under the plots |
# | choose density and weights for a pair, and say when TIES is the wrong tool | select | your playbook at the end |
#
# **Where this lesson stands.** The methods of this course are not a ladder from worse to better.
# They are answers to one problem, interference: linear merges ignore it, SLERP avoids bad
# geometry, **TIES resolves it**, DARE tries to pre-empt it by deleting entries at random.

# %%
import math

import torch

# %%
from IPython.display import display

import mergelab
from autograder import check, grade
from mergelab import methods
from mergelab import notebook as nb
from mergelab.evaluation.generation import generate_replies
from mergelab.evaluation.ladder import read_ladder
from mergelab.evaluation.results import compare
from mergelab.evaluation.suites import load_suite
from mergelab.interference import inspect_models

torch.set_num_threads(1)  # the model is small: sharing its work out costs more than it saves
predictions = nb.Predictions()

# %% [markdown]
# ## 1 ▸ A picture first
#
# Our two adapters sit on one small language model. `task_api_persona` made it a warm, encouraging
# task coach. `task_api_agentic` made it answer requests with tool calls in JSON. We want both
# skills in one set of weights.
#
# Below is a small patch of one real layer: 12 × 12 of its weights. On the left is what each
# adapter changes there. On the right we look only at the larger half of each adapter's changes,
# and ask: do the two agree?

# %%
pair = nb.changes(*nb.LOW)
layer = "model.layers.1.self_attn.q_proj.weight"
nb.patch_plot(
    *pair.deltas[layer],
    names=("persona", "agentic"),
    title="144 weights of layer 1 (query projection): what two adapters change",
)

# %% [markdown]
# In the squares marked **=** both adapters want the same thing. In the squares marked **×** one
# wants to go up where the other wants to go down. Whatever number we write there, one of the two
# will not get what it learned.
#
# Lesson 1 named two kinds of interference, and the picture shows both:
#
# 1. **Sign disagreement.** The × squares. An average there lands somewhere in the middle, where
#    neither adapter wanted to be.
# 2. **Redundancy.** The pale squares. Most changes are small, and many may be left-overs of
#    training that matter to nobody. In a sum they still move the other adapter's weights.
#    (Whether they matter can be measured; section 9 does.)
#
# TIES has one step against each, and a third one to finish.

# %% [markdown]
# ## 2 ▸ One weight, by hand
#
# One weight of the base is .15. Three fine-tuned models want to change it by **+.08**, **−.05**
# and **+.12**.
#
# - The plain average of the changes is (.08 − .05 + .12) / 3 = **+.05**. The first model wanted
#   more, the third much more, the second the opposite. Nobody asked for +.05.
# - TIES holds a vote first. Together, .08 + .12 = .20 stands for *up* and .05 stands for *down*.
#   Up wins. Only the models that agree with the result are averaged: (.08 + .12) / 2 = **+.10**.
#   The weight becomes .25.
#
# The second plot is a different weight, with changes −.07, −.06 and +.21. Two models say down,
# one says up. TIES does not count heads. It adds up how much each side wants, the **mass**: .21
# against .13, so up wins.

# %%
nb.vote_plot(
    {
        "Two of three want up": {"persona": 0.08, "agentic": -0.05, "third": 0.12},
        "One of three wants up, strongly": {"persona": -0.07, "agentic": -0.06, "third": 0.21},
    }
)

# %% [markdown]
# Why mass and not heads? It is a bet: a large change is one that training pushed hard for, a
# small one may be noise. And with two models, as in our pair, counting heads cannot decide
# anything: every conflict is one against one. Mass decides all but exact draws.
#
# ### ▸ The three steps in short
#
# The name says the order: **T**r**I**m, **E**lect **S**ign and merge.
#
# 1. **Trim** each task vector by itself: keep its largest changes by *magnitude* (size without the
#    sign), set the rest to 0. **Density** is the share that is kept. Of +.002, −.001, +.150 and
#    −.200, density 50% keeps +.150 and −.200.
# 2. **Elect a sign** for each entry, by mass, from what is left. An exact draw elects nobody, and
#    the entry does not change.
# 3. **Disjoint merge:** average the changes that have the elected sign, and divide by how many
#    these are. A change that stands alone is kept whole, not halved.
#
# With this you can go on to section 5. Sections 3, 4 and 6 take the steps one by one, and you
# write them.

# %% [markdown]
# ## 3 Trim: keep what matters
#
# Take the four changes +.002, −.001, +.150, −.200 once more. Sorted by magnitude they are .200,
# .150, .002, .001. At density 50% we keep two of four: −.200 and +.150. Density is always the share
# that is *kept*, never the share that goes.
#
# How much do we lose? Before you look, guess. The *norm* of a task vector is its overall size
# (the square root of the sum of the squares). Suppose we keep only the largest 20% of the
# entries. If all entries were equally large, √.2 = .45 of the norm would be left. How much is
# left for our persona adapter?
#
# Write your guess as a range in which you expect the answer four times out of five, as in
# `low=0.4, high=0.6`.

# %%
predictions.range("share of the norm left at density 0.2", low=None, high=None)

# %%
densities = [n / 100 for n in range(1, 101)]
persona_tau, agentic_tau = zip(*pair.deltas.values(), strict=True)
kept = {
    "persona": nb.norm_kept(persona_tau, densities),
    "agentic": nb.norm_kept(agentic_tau, densities),
}
left_at_20 = kept["persona"][densities.index(0.2)]
predictions.reveal("share of the norm left at density 0.2", left_at_20)

# %%
nb.trim_plot(densities, kept, marked=(0.2, 0.5))

# %% [markdown]
# The curve rises steeply and then runs flat: a small share of the entries carries most of the size.
# Does that prove that the small entries are useless? Compare with numbers that carry no skill at
# all, drawn at random from a bell curve:

# %%
noise = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
of_noise = nb.norm_kept([noise], [0.2])[0]
nb.Note(f"Kept at density .2: persona {left_at_20:.2f}, random numbers {of_noise:.2f}.")

# %% [markdown]
# The two are close, so the curve alone proves nothing about redundancy. Whether the model *behaves*
# as well without the small entries is the question that counts. Section 9 measures it. (Trim picks
# the largest. DARE, in lesson 5, picks at random: then even a bell curve has nothing to offer.)
#
# Now write it yourself.

# %% [markdown]
# <!-- exercise: ties/trim -->


# %% nbgrader={"grade": false, "grade_id": "trim", "locked": false, "schema_version": 3, "solution": true, "task": false}
def trim(delta, density):
    """Keep the entries of `delta` with the largest magnitude and set the rest to zero."""
    ### BEGIN SOLUTION
    n = delta.numel()
    if density == 0 or n == 0:
        return torch.zeros_like(delta)
    k = max(1, math.floor(density * n + 0.5))
    magnitude = delta.abs()
    threshold = magnitude.flatten().sort(descending=True).values[k - 1]
    return torch.where(magnitude >= threshold, delta, torch.zeros_like(delta))
    ### END SOLUTION


# %%
check("ties/trim", trim)

# %% nbgrader={"grade": true, "grade_id": "trim_visible", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
grade("ties/trim", trim, part="visible")

# %% nbgrader={"grade": true, "grade_id": "trim_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# Hidden cases run when you submit: the same contract on other shapes, number types and values.
### BEGIN HIDDEN TESTS
grade("ties/trim", trim, part="hidden")
### END HIDDEN TESTS

# %% [markdown]
# ## 4 Elect and merge: settle what is left
#
# After trimming, fewer conflicts are left, and each one is between changes that mattered to
# somebody. Now every entry gets **one sign**. Two rules are worth a second look:
#
# - A model's weight counts in the vote. With weight 2, a change of .05 has a mass of .10. With a
#   negative weight, a model votes for the opposite: that is how you make a merge *forget*
#   something.
# - When the two sides are exactly equal, nobody is elected, the sign is 0, and the entry will not
#   change. Some tools elect plus here. Then a merge of the negatives is not the negative of the
#   merge, which is odd for a method that should not prefer any direction.

# %% [markdown]
# <!-- exercise: ties/elect_sign -->


# %% nbgrader={"grade": false, "grade_id": "elect_sign", "locked": false, "schema_version": 3, "solution": true, "task": false}
def elect_sign(deltas, weights=None):
    """One sign per entry, -1, 0 or +1: the side with the greater mass."""
    ### BEGIN SOLUTION
    if weights is None:
        weights = [1.0] * len(deltas)
    total = torch.zeros_like(deltas[0], dtype=torch.float32)
    for weight, delta in zip(weights, deltas, strict=True):
        total = total + weight * delta.float()
    return torch.sign(total)
    ### END SOLUTION


# %%
check("ties/elect_sign", elect_sign)

# %% nbgrader={"grade": true, "grade_id": "elect_sign_visible", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
grade("ties/elect_sign", elect_sign, part="visible")

# %% nbgrader={"grade": true, "grade_id": "elect_sign_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# Hidden cases run when you submit: the same contract on other shapes, number types and values.
### BEGIN HIDDEN TESTS
grade("ties/elect_sign", elect_sign, part="hidden")
### END HIDDEN TESTS

# %% [markdown]
# The vote is over; now the **disjoint merge**. "Disjoint" because each entry has its own group of
# models: those with the elected sign. Their changes are averaged, and the others do not take
# part.
#
# The important detail is what we divide by. In section 2 the result was (.08 + .12) / 2. We
# divide by **two**, the number of models that agree, not by three. The same holds when only one
# model has a change left at an entry: its change is kept whole, not halved. Remember this. It
# will explain most of what we measure later.

# %% [markdown]
# <!-- exercise: ties/disjoint_merge -->


# %% nbgrader={"grade": false, "grade_id": "disjoint_merge", "locked": false, "schema_version": 3, "solution": true, "task": false}
def disjoint_merge(deltas, sign, weights=None):
    """Entry by entry, the weighted mean of the task vectors that have the elected sign."""
    ### BEGIN SOLUTION
    if weights is None:
        weights = [1.0] * len(deltas)
    sign = sign.float()
    total = torch.zeros_like(sign)
    share = torch.zeros_like(sign)
    for weight, delta in zip(weights, deltas, strict=True):
        term = weight * delta.float()
        agrees = (torch.sign(term) == sign) & (sign != 0)
        total = total + torch.where(agrees, term, torch.zeros_like(term))
        share = share + agrees.float() * abs(weight)
    mean = torch.where(share > 0, total / share, torch.zeros_like(total))
    return mean.to(deltas[0].dtype)
    ### END SOLUTION


# %%
check("ties/disjoint_merge", disjoint_merge)

# %% nbgrader={"grade": true, "grade_id": "disjoint_merge_visible", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
grade("ties/disjoint_merge", disjoint_merge, part="visible")

# %% nbgrader={"grade": true, "grade_id": "disjoint_merge_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# Hidden cases run when you submit: the same contract on other shapes, number types and values.
### BEGIN HIDDEN TESTS
grade("ties/disjoint_merge", disjoint_merge, part="hidden")
### END HIDDEN TESTS

# %% [markdown]
# ## 5 ▸ Ten parameters by hand
#
# These are the ten parameters that every lesson carries through its method. Take a pencil and
# fill in the last three rows, with density 50% (five of ten stay in each row) and weights of 1.
#
# | entry | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 |
# |---|---|---|---|---|---|---|---|---|---|---|
# | persona | +.08 | +.002 | +.15 | −.20 | +.06 | −.07 | −.001 | +.004 | −.04 | +.005 |
# | agentic | −.05 | −.001 | +.02 | −.11 | −.06 | −.06 | +.02 | +.17 | +.03 | −.006 |
# | third | +.12 | +.003 | −.01 | −.05 | +.001 | +.21 | +.14 | +.002 | +.09 | −.004 |
# | *trimmed away* | | | | | | | | | | |
# | *elected sign* | | | | | | | | | | |
# | *merged change* | | | | | | | | | | |
#
# <details><summary>Solution</summary>
#
# | entry | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 |
# |---|---|---|---|---|---|---|---|---|---|---|
# | *trimmed away* | nobody | all | agentic, third | nobody | third | nobody | persona, agentic | persona, third | persona, agentic | all |
# | *elected sign* | + | 0 | + | − | 0 | + | + | + | + | 0 |
# | *merged change* | +.10 | 0 | +.15 | −.12 | 0 | +.21 | +.14 | +.17 | +.09 | 0 |
# | *plain average* | +.05 | +.001 | +.053 | −.12 | +.0003 | +.027 | +.053 | +.059 | +.027 | −.002 |
#
# Entry 3: the two small changes are trimmed, so persona's +.15 stays whole; the average keeps a
# third of it. Entry 5: an exact draw. Entry 6: by count it would be minus, two against one. Entry
# 9: trim removed a conflict before there was anything to vote about, and with it what persona had
# to say.
#
# </details>
#
# When your rows are full, run the next cell and compare. Pale bars were trimmed. Hatched bars
# lost the vote.

# %%
nb.steps_figure(
    nb.follow(nb.ten_parameters(3), density=0.5, names=("persona", "agentic", "third")), entry=5
)

# %% [markdown]
# ### ▸ Step through it
#
# The stepper follows one entry through the three steps. Use the mouse, or the Tab and arrow keys.
# The sentence under the figure says in words what the figure shows. Try these:
#
# 1. Follow entry 6 to the last step. Then switch the election from mass to count.
# 2. Follow entry 9 and raise the density until its conflict comes back. Who wins it then?
# 3. Choose two models and follow entry 1. How large must the weight of `agentic` be before minus
#    is elected?
# 4. Choose the ten weights of the real layer. They are the row of the first picture with the most
#    × squares. Which conflicts does trim remove, and which go to the vote? (The whole layer is
#    trimmed, not only the ten weights you see.)

# %%
real = nb.layer_example(*pair.deltas[layer], names=("persona", "agentic"))
nb.TiesStepper({**nb.ten_examples(), "ten weights of the real layer": real})

# %% [markdown]
# ## 6 The method in three lines
#
# You have the three parts. TIES is one after the other:
#
# 1. **trim** every task vector by itself;
# 2. **elect** a sign for each entry, from what is left;
# 3. **merge** what agrees with it, and multiply by one overall scale, called **lambda**.
#
# As a formula, for one entry, with $\hat\tau_i$ for the trimmed change of model $i$, $w_i$ for
# its weight, and $A$ for the models that agree with the elected sign:
#
# $$ \text{merged} = \lambda \cdot \frac{\sum_{i \in A} w_i \hat\tau_i}{\sum_{i \in A} |w_i|} $$

# %% [markdown]
# <!-- exercise: ties/ties -->


# %% nbgrader={"grade": false, "grade_id": "ties", "locked": false, "schema_version": 3, "solution": true, "task": false}
def ties(deltas, density=1.0, weights=None, lam=1.0):
    """Trim each task vector, elect a sign per entry, average what agrees, scale by `lam`."""
    ### BEGIN SOLUTION
    trimmed = [trim(delta.float(), density) for delta in deltas]
    sign = elect_sign(trimmed, weights)
    merged = disjoint_merge(trimmed, sign, weights) * lam
    return merged.to(deltas[0].dtype)
    ### END SOLUTION


# %%
check("ties/ties", ties)

# %% nbgrader={"grade": true, "grade_id": "ties_visible", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
grade("ties/ties", ties, part="visible")

# %% nbgrader={"grade": true, "grade_id": "ties_hidden", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
# Hidden cases run when you submit: the same contract on other shapes, number types and values.
### BEGIN HIDDEN TESTS
grade("ties/ties", ties, part="hidden")
### END HIDDEN TESTS

# %% [markdown]
# ## 7 ▸ Merge real adapters, and read the report
#
# In practice you do not call functions. You write a **recipe**, a short YAML file, and hand it to
# a tool. This one ships with the course. The format is mergekit's; that a model may be a bare
# adapter, or go by a short name, is an extra of this course's tool.

# %%
print(mergelab.data_path("recipes", "ties.yaml").read_text())

# %% [markdown]
# In a terminal you would write `mergelab merge data/recipes/ties.yaml OUT`. From Python it is one
# call. The report comes with it.

# %%
result = mergelab.merge(mergelab.data_path("recipes", "ties.yaml"), dtype="float32")
nb.merge_report_table(result.report)

# %% [markdown]
# How to read it, column by column:
#
# - **entries**: weights in this layer that an adapter changes.
# - **trimmed**: entries of each task vector that were set to 0. At density .5 it must be half. If
#   it is not, the recipe did not do what you think.
# - **sign conflicts**: entries at which both adapters still had a change after the trim, in
#   opposite directions. **Resolved**: how many of them an election decided. The rest were exact
#   draws.
# - **magnitude kept**: the size (norm) of the merged change, compared with the mean size of the
#   two task vectors. 1.0 means "as large as one adapter".
# - **angle** between the two task vectors. Near 90° they are unrelated.
#
# Are that many conflicts a sign of two hostile adapters? Do as in lesson 1, which held the shares of
# opposite signs against chance: two unrelated task vectors, trimmed to one half each, meet in
# .5 × .5 of the entries, and oppose in half of these.

# %%
nb.Note(nb.conflicts_sentence(result.report, density=0.5))

# %% [markdown]
# A report counts entries. What was *lost* is a question of size: did the losers have much to say?
# The next plot follows each adapter's change (its squared norm) to where it ended.

# %%
found = nb.fates(pair, density=0.5, names=("persona", "agentic"))
nb.fate_plot(found, title="What TIES at density .5 makes of each adapter's change")

# %%
nb.Note(nb.overruled_sentence(found))

# %% [markdown]
# ### Did your function do this?
#
# For those who wrote `ties` in section 6. The next cell puts *your* `ties` in the place of the
# tool's, for every layer, and compares the two merged models. Then your model gets two prompts of
# each kind.

# %%
yours = nb.merge_with(ties, pair, density=0.5)
if yours is not None:
    gap = max(float((yours[name] - result.tensors[name]).abs().max()) for name in yours)
    print(f"Largest difference between your weights and the tool's: {gap:.0e}")
    model, tokenizer = result.load()
    model.load_state_dict(yours, strict=False)
    items = [item for skill in ("persona", "agentic") for item in load_suite(skill, "dev")[:2]]
    for item, reply in zip(items, generate_replies(model, tokenizer, items), strict=True):
        print(f"\nYou:        {item.input}\nYour merge: {reply}")

# %% [markdown]
# ## 8 ▸ Does it help?
#
# Two suites test the two skills: prompts for the coach (`persona`) and requests for tool calls
# (`agentic`). Scores are strict: 1 for a reply that is right in every part, else 0. *Combined* is
# the mean of the two suites.
#
# We use 150 items of each suite's **dev** split, so every score carries a 95% interval: a range
# that would catch the true score in 95 of 100 such samples. Differences smaller than that may be
# luck. The **test** split stays closed until every choice is made.
#
# `nb.recipe` writes a recipe as a dictionary, exactly what the YAML file would hold; `nb.measure`
# merges and scores. We set the average (linear, weights .5 and .5) against TIES (density .5). In
# the published comparison, on a 3-billion-parameter model, the average reached .867 combined and
# TIES .897. (The published sweep in section 9 has .891 for TIES at density .5: two published tables
# with different numbers for the same setting, shown as found.)
#
# What will the two reach here? And which is ahead?

# %%
predictions.range("combined score of the average", low=None, high=None)

# %%
predictions.choice(
    "better merge of the first pair", None, among=("average", "TIES", "no clear difference")
)

# %%
skills = ("persona", "agentic")
average, average_size = nb.measure("linear .5/.5", nb.recipe("linear", weights=(0.5, 0.5)))
ties_low, ties_size = nb.measure("TIES, density .5", nb.recipe("ties", density=0.5))
alone = [nb.measure_alone(f"task_api_{skill}", name=f"{skill} alone") for skill in skills]
nb.score_plot([*alone, average, ties_low])

# %%
lead = compare(ties_low, average)["combined"]
answer = {1: "TIES", -1: "average", 0: "no clear difference"}[nb.beyond_noise(lead)]
display(predictions.reveal("combined score of the average", average.combined.estimate))
display(predictions.reveal("better merge of the first pair", answer))
display(nb.scores_table([*alone, average, ties_low]))
nb.Note(
    nb.difference_sentence("TIES", "the average", lead)
    + " Published: TIES .03 above the average, from 50 items a suite, where chance alone moves "
    "the score of one suite by about .045."
)

# %% [markdown]
# ### ▸ Match the scale first, then ask whether sign election helps
#
# It is tempting to stop here. But look at what else differs between these two merges. The average
# *halves* every change that only one adapter makes. TIES keeps it whole: that was the third of the
# steps in section 2. So TIES is not only a vote, it is also simply *more*.
#
# A fair opponent needs the same size. **Task arithmetic** adds the task vectors and multiplies by
# lambda; no trim, no vote. We choose its lambda so that the merged change has exactly the norm of
# the TIES merge.


# %%
same_size = nb.sized(ties_size, nb.recipe("task_arithmetic"))
matched, matched_size = nb.measure("task arithmetic, same size", same_size)
nb.Table(
    ["", "lambda", "size (magnitude kept)", "combined"],
    [
        ["linear .5/.5", "", f"{average_size:.2f}", average.combined],
        ["task arithmetic, same size", f"{same_size['parameters']['lambda']:.2f}",
         f"{matched_size:.2f}", matched.combined],
        ["TIES, density .5", "1.00", f"{ties_size:.2f}", ties_low.combined],
    ],
)  # fmt: skip

# %% [markdown]
# Now the lead of TIES can be taken apart: from the average to the sum of the same size (that is
# *size*), and from there to TIES (that is *trim and election*). Which part will be larger?

# %%
predictions.choice(
    "larger part of TIES' lead, first pair", None, among=("size", "trim and election")
)

# %%
by_size = compare(matched, average)["combined"]
by_election = compare(ties_low, matched)["combined"]
larger = "size" if by_size.estimate > by_election.estimate else "trim and election"
display(predictions.reveal("larger part of TIES' lead, first pair", larger))
nb.Note(nb.scale_or_election(by_size, by_election))

# %% [markdown]
# ### A pair that was trained into each other's way
#
# Maybe this pair is too peaceful for a vote to matter. In the **conflict pair** of lesson 1 both
# adapters were also trained to answer some of the other's prompts in their own style. If sign
# election helps where skills compete, it may show here.

# %%
predictions.choice(
    "best merge of the conflict pair",
    None,
    among=("linear .5/.5", "task arithmetic, same size", "TIES, density .5"),
)

# %%
hard_alone = [
    nb.measure_alone(f"task_api_{skill}_conflict", name=f"{skill} alone") for skill in skills
]
hard_average, _ = nb.measure("linear .5/.5", nb.recipe("linear", nb.CONFLICT, weights=(0.5, 0.5)))
hard_ties, hard_size = nb.measure("TIES, density .5", nb.recipe("ties", nb.CONFLICT, density=0.5))
hard_matched, _ = nb.measure(
    "task arithmetic, same size", nb.sized(hard_size, nb.recipe("task_arithmetic", nb.CONFLICT))
)
hard_merges = [hard_average, hard_matched, hard_ties]
nb.scores_table([*hard_alone, *hard_merges], caption="Conflict pair")

# %%
best = max(hard_merges, key=lambda each: each.combined.estimate)
hard_by_size = compare(hard_matched, hard_average)["combined"]
hard_by_election = compare(hard_ties, hard_matched)["combined"]
display(predictions.reveal("best merge of the conflict pair", best.model))
nb.differences_plot(
    {
        "first pair": [("size", by_size), ("trim and election", by_election)],
        "conflict pair": [("size", hard_by_size), ("trim and election", hard_by_election)],
    },
    title="Where the lead of TIES over the average comes from",
)

# %%
hard_pair = nb.changes(*nb.CONFLICT)
display(nb.Note("Conflict pair. " + nb.scale_or_election(hard_by_size, hard_by_election)))
nb.Note(nb.overruled_sentence(nb.fates(hard_pair, 0.5, names=skills)))

# %% [markdown]
# The second sentence says who was outvoted in the conflict pair, counted as in section 7.
#
# ### The conflict dial
#
# Two pairs are two points, and one size is only one size. A ladder of pairs ships with the course:
# trained alike, but with an *own-style share* of 0, 2, 5 or 10%: how many of the other's prompts
# each adapter learned to answer in its own style. Their scores are in `data/tables/ladder.csv`,
# made by `mergelab tables`. There, *best on dev* means that each method chose its scale on the dev
# split and was then measured once on the test split.
#
# Move the slider, or use Tab and the arrow keys. Ask at each rung: which method is ahead, at the
# default scale and at its best one? Do the cosine and the sizes in the sentence tell you that in
# advance?

# %%
nb.ConflictDial()

# %% [markdown]
# If you only read this page, here are two states of the dial, and the last rung in words.

# %%
display(nb.ladder_plot(scale="default", rung=10))
display(nb.ladder_plot(scale="best", rung=10))
nb.Note(nb.rung_sentence(read_ladder(), 10, "best"))

# %% [markdown]
# This is the habit to take home: **match the scale first, then ask whether sign election helps.**
# On other pairs the answer can be different.

# %% [markdown]
# ## 9 ☆ How much to trim
#
# Usual advice: density .2 to .3 is aggressive, .5 balanced, .7 light, and 1.0 is election only.
# The published sweep, on the 3-billion-parameter model:
#
# | density | .3 | .4 | .5 | .6 | .7 |
# |---|---|---|---|---|---|
# | combined score, published | .823 | .867 | .891 | .879 | .854 |
#
# It has a clear peak: .068 between the best and the worst value. We repeat it on the first pair,
# and go further out at both ends.

# %%
predictions.range("gap between best and worst density, .3 to .7", low=None, high=None)

# %%
published = {0.3: 0.823, 0.4: 0.867, 0.5: 0.891, 0.6: 0.879, 0.7: 0.854}
sweep, size_at = {0.5: ties_low}, {0.5: ties_size}
for density in (0.05, 0.2, 0.3, 0.4, 0.6, 0.7, 1.0):
    sweep[density], size_at[density] = nb.measure(
        f"TIES, density {density}", nb.recipe("ties", density=density)
    )
nb.sweep_plot(sweep, published, title="TIES on the first pair: how much to keep")

# %%
middle = [sweep[density].combined.estimate for density in published]
display(
    predictions.reveal("gap between best and worst density, .3 to .7", max(middle) - min(middle))
)
nb.Note(f"{nb.density_verdict(sweep, published)} {nb.ends_verdict(sweep)}")

# %%
nb.sweep_table(sweep, size_at, published)

# %% [markdown]
# Two things to notice in the table.
#
# - The published values have no interval. With 50 items a suite, chance alone moves the score of one
#   suite by about .045 (its standard error), and the mean of two suites by about .03. So most of
#   their differences could be luck as well.
# - The **size** column: density changes the size of the merge too. At the lowest densities it is
#   smaller, and at 1.0 it is smaller again, because there more conflicts are fought out and the
#   losers' share is gone. Part of what looks like an effect of trimming is an effect of size.

# %% [markdown]
# ## 10 What do the merges say?
#
# Scores hide how a merge fails. Read some replies before you trust any number: the same prompts,
# both sources, and two merges of the conflict pair.


# %%
nb.replies_table([*hard_alone, hard_average, hard_ties])

# %% [markdown]
# The most damaging mistake is the wrong *kind* of answer: JSON for somebody who wanted to talk,
# or friendly words for a program that waits for JSON. A parser breaks at the first friendly word.
# In the tables, *answered as a coach* means that the reply to a request has a phrase of the coach's,
# as the persona suite counts them; *answered without JSON*, that it has no JSON at all.


# %%
display(nb.manner_table([*alone, average, matched, ties_low], caption="First pair"))
nb.manner_table([*hard_alone, *hard_merges], caption="Conflict pair")

# %% [markdown]
# ### Would a look at the weights have told us?
#
# A pair is *TIES-compatible* if both adapters sit on the same base, change some of the same weights
# (overlapping targets), and disagree in some of them (conflicts). Otherwise there is nothing to
# resolve. A few lines can answer that, with the reason.

# %% [markdown]
# <!-- exercise: ties/ties_compatible -->


# %% nbgrader={"grade": false, "grade_id": "ties_compatible", "locked": false, "schema_version": 3, "solution": true, "task": false}
def ties_compatible(first, second, bases):
    """Whether TIES has anything to resolve between two models, and the reason."""
    ### BEGIN SOLUTION
    if bases[0] != bases[1]:
        return False, "different base"
    shared = first.keys() & second.keys()
    if not shared:
        return False, "no shared target"
    if any(first[name].shape != second[name].shape for name in shared):
        return False, "different shapes"
    for name in shared:
        if (first[name].sign() * second[name].sign() < 0).any():
            return True, "conflicts"
    return False, "no conflict"
    ### END SOLUTION


# %%
check("ties/ties_compatible", ties_compatible)

# %% nbgrader={"grade": true, "grade_id": "ties_compatible_visible", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
grade("ties/ties_compatible", ties_compatible, part="visible")

# %% nbgrader={"grade": true, "grade_id": "ties_compatible_hidden", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
# Hidden cases run when you submit: the same contract on other shapes, number types and values.
### BEGIN HIDDEN TESTS
grade("ties/ties_compatible", ties_compatible, part="hidden")
### END HIDDEN TESTS

# %% [markdown]
# Your function on our pairs, each task vector trimmed to its largest 20% in each tensor:


# %%
def largest(found):
    """The two task vectors of a pair as dicts, trimmed to density .2."""
    return [
        {name: methods.trim(deltas[which], 0.2) for name, deltas in found.deltas.items()}
        for which in (0, 1)
    ]


for name, found in (("First pair", pair), ("Conflict pair", hard_pair)):
    print(f"{name}: {nb.attempt(ties_compatible, *largest(found), ['base', 'base'])}")

# %% [markdown]
# Now put what the weights say beside what the merges do.

# %%
views = [inspect_models(models).total for models in (nb.LOW, nb.CONFLICT)]
nb.Note(
    f"Opposite signs among the largest 20%: {views[0].opposite_sign:.1%} in the first pair, {views[1].opposite_sign:.1%} "
    f"in the conflict pair. Their TIES merges score {ties_low.combined.estimate:.2f} and "
    f"{hard_ties.combined.estimate:.2f}."
)

# %% [markdown]
# Counting opposite signs tells you that there is something to resolve. It does not tell you how
# good the merge will be. Only an evaluation does. Both pairs are called "compatible", and look how
# far apart their TIES merges score: the word names conflicts in the weights, and does not say that
# TIES suits the pair.

# %% [markdown]
# ## 11 Spot the invented output
#
# Some figures in a report can be checked against each other, without the models. You know the three
# rules already, from section 7. Write them down as a function.

# %% [markdown]
# <!-- exercise: ties/read_report -->


# %% nbgrader={"grade": false, "grade_id": "read_report", "locked": false, "schema_version": 3, "solution": true, "task": false}
def read_report(rows, density):
    """Rows of a report that cannot be true, and their faults."""
    ### BEGIN SOLUTION
    result = {}
    for row in rows:
        faults = []
        if abs(row["trimmed"] / row["entries"] - (1 - density)) > 0.01:
            faults.append("trimmed")
        if row["conflicts"] > row["entries"] - row["trimmed"]:
            faults.append("conflicts")
        if row["resolved"] > row["conflicts"]:
            faults.append("resolved")
        if faults:
            result[row["layer"]] = faults
    return result
    ### END SOLUTION


# %%
check("ties/read_report", read_report)

# %% nbgrader={"grade": true, "grade_id": "read_report_visible", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
grade("ties/read_report", read_report, part="visible")

# %% nbgrader={"grade": true, "grade_id": "read_report_hidden", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
# Hidden cases run when you submit: the same contract on other shapes, number types and values.
### BEGIN HIDDEN TESTS
grade("ties/read_report", read_report, part="hidden")
### END HIDDEN TESTS

# %% [markdown]
# Your function on the report of section 7: no row should be left.

# %%
rows = [
    {"layer": layer.label, "entries": layer.entries, "trimmed": layer.removed[0],
     "conflicts": layer.conflicts, "resolved": layer.resolved}
    for layer in result.report.per_layer()
]  # fmt: skip
print("Rows that cannot be true:", nb.attempt(read_report, rows, 0.5))

# %% [markdown]
# ### The audit
#
# Tutorials sometimes print logs that nobody ever ran. Here is one, made up for this course: TIES
# of two adapters on a model with 28 layers. At least five things in it cannot be true. Find them,
# with a calculator or with your function. Which line about a layer is possible?
#
# ```text
# ties: 2 models, density 0.4
# layer  7  self_attn.q_proj   3072 x 3072   trimmed      1,310 per model   conflicts       412   resolved       655
# layer  7  mlp.down_proj      3072 x 8192   trimmed 15,099,494 per model   conflicts 1,903,118   resolved 1,903,118
# layer  8  self_attn.k_proj   1024 x 3072   trimmed  1,887,437 per model   conflicts 1,300,000   resolved 1,300,000
# kept in total: 61.0% of each task vector
# density 0.3: persona .861 agentic .874 | 0.4: persona .902 agentic .893 | 0.5: persona .884 agentic .871
# best density: 0.5
# persona adapter alone .945, merged .902: quality loss 1.0%
# ```
#
# <details><summary>What cannot be true</summary>
#
# 1. (A real tutorial prints "1,245 params trimmed" for such a layer at density .5.) `q_proj` has
#    3072 × 3072 = 9,437,184 entries. Density .4 keeps 40% of each task vector, so about 5,662,310
#    are trimmed, not 1,310.
# 2. In the same line, 655 conflicts are resolved out of 412. One cannot resolve more than there
#    are.
# 3. `k_proj` keeps 1,258,291 of its 3,145,728 entries per model. A conflict needs both, so there
#    cannot be more conflicts than that: 1,300,000 is too many.
# 4. Density .4 keeps 40%, so "61.0% kept" cannot be. (60% would be the share that is *dropped*, a
#    popular mix-up.)
# 5. The best density in the log's own numbers is .4, not .5.
# 6. From .945 to .902 is 4.3 points, or 4.6% of the score, not 1.0%.
#
# Possible is `down_proj`: 25,165,824 entries less 10,066,330 kept are 15,099,494, and the
# conflicts are fewer than the kept entries. (Chance alone would make it about .4 × .4 × .5 = 8%
# of the entries, some two million.)
#
# </details>

# %% [markdown]
# ## 12 ☆ When it goes wrong, and what to turn
#
# **What TIES does badly**
#
# - It *loses minority signals*. Whoever is outvoted is gone at that entry, however useful.
#   Sections 7 and 8 show who pays for it.
# - It *has dials*: density, weights, lambda. What the quietest of them, lambda, does to a score is
#   shown in section 8: for the sum in its tables, for TIES in the conflict dial.
# - It is *harder to debug* than an average. With an average you know what happened to every
#   weight.
#
# TIES also *scales to many models*: the vote only gets more voters. The paper merges up to eleven;
# with a plain average, each of eleven would keep a share of 1/11. A third adapter ships,
# `task_api_digest` (one-line summaries of a task); merging all three is a matter for lesson 8.
#
# **The usual advice**, as it is published:
#
# | you see | turn |
# |---|---|
# | persona is weak | raise its weight to .6, or lower the density to .3 |
# | tool calls drop | give agentic weight .6, or use DARE-TIES (lesson 5) |
# | both are weak | lower density, or DARE-TIES |
# | always | compare with linear |
#
# Advice can be tested as well. In the merge of the conflict pair one skill is weaker than the
# other. We try both dials, a weight of .6 for that skill and density .3, and look at that skill.
# (The mean is divided by the weights of those that agree, so where one adapter stands alone, its
# weight cancels out. But weights count in the vote as well: with a little more weight, the weaker
# adapter wins elections that it lost before.)

# %%
weak = min(hard_ties.skills, key=lambda skill: hard_ties.skills[skill].rate.estimate)
more = (0.6, 0.4) if weak == "persona" else (0.4, 0.6)
advice = [
    nb.measure(f"weight .6 to {weak}", nb.recipe("ties", nb.CONFLICT, weights=more, density=0.5))[
        0
    ],
    nb.measure("density .3", nb.recipe("ties", nb.CONFLICT, density=0.3))[0],
]
display(nb.scores_table([*hard_merges, *advice], caption="Conflict pair"))
nb.Note(
    f"The weaker skill is {weak}. On {weak}: "
    + " ".join(
        nb.difference_sentence(each.model, "the merge without it", compare(each, hard_ties)[weak])
        for each in advice
    )
)

# %% [markdown]
# If a dial helped the weak skill, look at what the other one paid for it.

# %% [markdown]
# ## In your own words · 5 points · read by a person
#
# A colleague knows fine-tuning, but not merging. **Why does TIES elect a sign before it
# averages?** Write five or six sentences, without formulas and without symbols.
#
# A full answer says what an average does to a weight that two models push in opposite directions;
# what the vote is about and who wins it; who takes part in the average afterwards, and what that
# means for the size of the result; what is lost; and one measurement from this lesson that shows
# that sign election helps, or that it does not.

# %% [markdown] nbgrader={"grade": true, "grade_id": "why_sign_election", "locked": false, "points": 5, "schema_version": 3, "solution": true, "task": false}
# When two models push the same weight in opposite directions, their average lands in between, at
# a value that serves neither, and the two changes partly cancel. TIES therefore first decides for
# every weight in which direction it should move at all: the direction that has the larger total
# of changes wins, so one strong push can beat two weak ones. After that, only the models that
# wanted this direction are averaged, and the others are left out at this weight. So a change is
# not shrunk by models that disagree or that have nothing to say there, and the merge stays about
# as strong as its sources. The price is that the outvoted model loses what it wanted at this
# weight, even if it was right. In this lesson we also compared it with a plain sum of the same
# size. That shows how much of its lead over the average is size alone, so I would always make
# this comparison first.
#
# **Rubric, one point each:** (1) opposite changes cancel or end where neither model wanted to be;
# (2) the vote is per weight and is won by the larger total, not by the number of models; (3) only
# those that agree are averaged, so changes are not diluted; (4) names a cost: minority signals
# are lost, or the louder model wins; (5) refers to a measurement of this lesson and reads it
# correctly (either way: size against election, the conflict pair, or the flat sweep). Formulas or
# unexplained symbols: at most 4 points.

# %% [markdown]
# ## Look back
#
# How good were your guesses?

# %%
predictions.calibration()

# %% [markdown]
# **What you can now do.** Explain interference and what a vote does about it. Take a vector
# through trim, elect and merge by hand. Write TIES. Read a merge report and catch an invented
# one. Separate the effect of size from the effect of a method. Tune density and weights on a dev
# split, and leave the test split alone until the end.
#
# **Your playbook.** Merging is a craft, and crafts live in notebooks. Answer in the cell below,
# in your own words: When would I try TIES first, and when not? Which density would I start from,
# and what range would I try (the usual one is .3 to .7)? What would I compare it with? How would
# I test *both* skills? Which warning sign would make me throw a merge away (for instance: it is
# below both of its sources)?

# %% [markdown]
# *My playbook, TIES:* …

# %% [markdown]
# **Three prompts to try with an AI assistant**
#
# 1. "Here are two task vectors with ten entries each: … Walk me through TIES at density .5, entry
#    by entry, and stop before each result so that I can answer first." *Trains:* doing the steps
#    without looking. Check the assistant's arithmetic with your `ties`; do not take its word.
# 2. "My TIES merge of two adapters scores below the linear merge. Ask me one question at a time
#    until you can name the likely cause." *Trains:* diagnosis. Did it ask about the scale?
# 3. "Here is my results table: … Argue that the winner's lead is noise. Then argue that it is
#    real. What would I need to measure to know?" *Trains:* reading results as a sceptic.
#
# **Before you use a merge.** A merged model can behave in ways that none of its sources did.
# Evaluate both capabilities, not only the average of them. A friendly persona can leak chat into
# JSON and break the program that reads it: section 10 has the numbers for our merges. The tools
# of this course are made for decoder-only models; other kinds may behave differently. And the
# licences of all sources carry over to the merge.
#
# **Go further**
#
# - *Score against size:* for either pair, measure `nb.sized(size, nb.recipe("ties", density=0.5))`
#   and the same with `task_arithmetic` at a few sizes, and draw both with `nb.size_plot`. Do the
#   curves lie on each other? Then size explains everything.
# - *A variant of your own:* elect the sign only where the mass is clearly on one side, and keep
#   the plain average elsewhere. Does it beat both?
# - *A density per layer:* in a recipe, `density: [0.3, 0.7]` runs from .3 in the first layer to
#   .7 in the last.
# - *Other people's TIES:* the paper's code trims over all layers together and elects without
#   weights; mergekit and PEFT elect plus at a draw; mergekit trims nothing unless you give a
#   density. `mergelab` trims per tensor and keeps ties at the threshold. Which of these choices
#   would you expect to matter?
# - *The paper:* Figure 1 and Algorithm 1 are on two pages, and you know every line of them now.
#
# **References.** Yadav et al. 2023, *TIES-Merging: Resolving Interference When Merging Models*,
# [arXiv 2306.01708](https://arxiv.org/abs/2306.01708). Ilharco et al. 2022, *Editing Models with
# Task Arithmetic*, [2212.04089](https://arxiv.org/abs/2212.04089). Wortsman et al. 2022, *Model
# Soups*, [2203.05482](https://arxiv.org/abs/2203.05482). Yu et al. 2023, *Language Models are
# Super Mario* (DARE), [2311.03099](https://arxiv.org/abs/2311.03099). Goddard et al. 2024,
# *Arcee's MergeKit*, [2403.13257](https://arxiv.org/abs/2403.13257),
# [mergekit](https://github.com/arcee-ai/mergekit).
#
# **Next:** lesson 5, DARE. It deletes changes at random instead of voting about them, and asks
# how many a model can lose.
