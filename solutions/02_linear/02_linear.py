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
# # Linear merges: average, or add up
#
# The simplest merge is a weighted average of two models. The second simplest is the sum of what
# they learned. You will measure what both keep of two skills, and find out that one number, the
# scale, decides most of it.
#
# | | |
# |---|---|
# | **Time** | about 70 minutes, 19 of them for the four exercises |
# | **Difficulty** | ●○○ |
# | **You need** | Python and a little PyTorch; what an adapter (LoRA) is. A *task vector* is what training changed in the weights: fine-tuned minus base (lesson 1). |
# | **Short of time?** | Do the parts marked ▸, about 35 minutes: the picture, the average, ten parameters, the two lines, the explorer, when to use what. Skip the exercises in them, nothing else needs them. |
# | **How to work** | Run the cells in order, also those of exercises that you leave open: later cells use their names. |
#
# **When you have finished, you can**
#
# | | level | how you can tell |
# |---|---|---|
# | merge ten parameters by hand, as an average and as a sum | apply | the table in section 3, with its solution |
# | write the weighted average, task arithmetic and forgetting | apply | three exercises, 14 points |
# | say what a tool really does with the weights in a recipe | analyse | an exercise, 4 points, and the measurement in section 7 |
# | explain why an average of N models is weaker than its sources | explain | your prediction and the plot in section 6 |
# | measure a merge along a line, by score and by loss | evaluate | your predictions, and the verdicts under the plots |
# | choose alpha or lambda, and say when a linear merge is enough | select | your playbook at the end |
#
# **Where this lesson stands.** The methods of this course are not a ladder from worse to better.
# They are answers to one problem, interference. **Linear merges ignore it**, SLERP avoids bad
# geometry, TIES resolves it, DARE tries to pre-empt it by deleting entries at random. So a linear
# merge is what every other method must beat.

# %%
from functools import partial

import torch
from IPython.display import display

import mergelab
from autograder import check, grade
from mergelab import UserError, methods
from mergelab import notebook as nb
from mergelab.evaluation.results import compare

torch.set_num_threads(1)  # the model is small: sharing its work out costs more than it saves
predictions = nb.Predictions()
measure = partial(nb.measure, items=100)  # merge, then 100 prompts for each skill

# %% [markdown]
# ## 1 ▸ A picture first
#
# Two adapters sit on one small language model. `task_api_persona` made it a warm task coach.
# `task_api_agentic` made it answer requests with tool calls in JSON. Each of them moved the weights
# away from the base, in its own direction.
#
# A model has about a million weights, so these are directions in a space with a million dimensions.
# But two arrows always lie in one plane, and a plane can be drawn. Lengths and angle below are those
# of the real adapters.

# %%
pair = nb.changes(*nb.LOW)
persona_length, agentic_length, angle = nb.plane_of(pair)
nb.plane_plot((persona_length, agentic_length), angle, title="Two adapters, seen from the base")

# %% [markdown]
# Every linear merge of the two is a point in this plane. Two roads through it have names.
#
# - The **alpha line** runs from one adapter to the other. **Alpha** is the share of the second
#   model. At 0 you have persona, at 1 agentic, at .5 the plain average.
# - The **lambda line** starts at the base. You add both changes and multiply by **lambda**. At .5
#   you are at the average again, at 1 at the full sum.
#
# Look at the lengths. The average is *shorter* than either arrow: half of each change is gone. The
# sum is longer than both. Which point is the best model? Nobody can see that in the picture. The
# rest of the lesson measures it.

# %% [markdown]
# ## 2 ▸ One weight, by hand
#
# One weight of the base is .15. Persona made it .23, agentic made it .10.
#
# - **Average of the weights:** (.23 + .10) / 2 = **.165**.
# - **Average of the changes:** persona changed it by +.08, agentic by −.05. The average change is
#   (.08 − .05) / 2 = +.015, and .15 + .015 = **.165**.
#
# The same number, and not by luck. Both models contain the base, and an average with shares that
# add up to 1 contains it exactly once. As a formula, with $w_i$ for the weights of the models:
#
# $$ \frac{\sum_i w_i (W_0 + \tau_i)}{\sum_i w_i} = W_0 + \frac{\sum_i w_i \tau_i}{\sum_i w_i} $$
#
# Let us check it on all the weights of the real models: once we average whole weights, once task
# vectors.

# %%
ways = {
    space: mergelab.merge(nb.recipe("linear", weights=(0.5, 0.5), space=space)).tensors
    for space in ("weights", "task_vectors")
}
gap = max(float((ways["weights"][n] - ways["task_vectors"][n]).abs().max()) for n in pair.base)
largest = max(float(tensor.abs().max()) for tensor in ways["weights"].values())
same = "the same model, up to rounding" if gap < 1e-6 * largest else "not the same model"
nb.Note(
    f"Largest difference between the two: {gap:.0e}. Largest weight: {largest:.1f}. So: {same}."
)

# %% [markdown]
# (The two would differ if the models had different bases. Then a task vector of one means nothing
# to the other, and the average is garbage.)
#
# Now write the average yourself.

# %% [markdown]
# <!-- exercise: linear/linear -->


# %% nbgrader={"grade": false, "grade_id": "linear", "locked": false, "schema_version": 3, "solution": true, "task": false}
def linear(tensors, weights=None, normalize=True):
    """The weighted average of tensors, or their weighted sum."""
    ### BEGIN SOLUTION
    if weights is None:
        weights = [1.0] * len(tensors)
    total = torch.zeros_like(tensors[0], dtype=torch.float32)
    for weight, tensor in zip(weights, tensors, strict=True):
        total = total + weight * tensor.float()
    if normalize:
        total = total / sum(weights)
    return total.to(tensors[0].dtype)
    ### END SOLUTION


# %%
check("linear/linear", linear)

# %% nbgrader={"grade": true, "grade_id": "linear_visible", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
grade("linear/linear", linear, part="visible")

# %% nbgrader={"grade": true, "grade_id": "linear_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# Hidden cases run when you submit: the same contract on other shapes, number types and values.
### BEGIN HIDDEN TESTS
grade("linear/linear", linear, part="hidden")
### END HIDDEN TESTS

# %% [markdown]
# In the next cell *your* function merges every layer of the two real adapters. The tool does the
# same from a recipe. This is the recipe, as it ships with the course:

# %%
print(mergelab.data_path("recipes", "linear.yaml").read_text())
yours = nb.merge_with(linear, pair, weights=[0.5, 0.5])
if yours is not None:
    gap = max(float((yours[n] - ways["weights"][n]).abs().max()) for n in yours)
    print(f"Largest difference between your weights and the tool's: {gap:.0e}")

# %% [markdown]
# ## 3 ▸ Ten parameters by hand
#
# These are the ten parameters that every lesson carries through its method. Take a pencil and fill
# in the three empty rows. The last one, persona *minus* agentic, prepares section 9.
#
# | entry | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 |
# |---|---|---|---|---|---|---|---|---|---|---|
# | persona | +.08 | +.002 | +.15 | −.20 | +.06 | −.07 | −.001 | +.004 | −.04 | +.005 |
# | agentic | −.05 | −.001 | +.02 | −.11 | −.06 | −.06 | +.02 | +.17 | +.03 | −.006 |
# | *average* | | | | | | | | | | |
# | *sum* | | | | | | | | | | |
# | *persona − agentic* | | | | | | | | | | |
#
# <details><summary>Solution</summary>
#
# | entry | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 |
# |---|---|---|---|---|---|---|---|---|---|---|
# | *average* | +.015 | +.0005 | +.085 | −.155 | 0 | −.065 | +.0095 | +.087 | −.005 | −.0005 |
# | *sum* | +.03 | +.001 | +.17 | −.31 | 0 | −.13 | +.019 | +.174 | −.01 | −.001 |
# | *persona − agentic* | +.13 | +.003 | +.13 | −.09 | +.12 | −.01 | −.021 | −.166 | −.07 | +.011 |
#
# Entry 8: only agentic has something to say here, and the average keeps half of it. Nobody asked for
# +.087. Entry 5: the two changes cancel, in the average and in the sum. Entry 4: both agree. The
# average is between them, which is fine, but the sum is larger than either wanted. Entry 10: noise
# of two models. It stays in the merge, because nothing sorts it out.
#
# </details>
#
# The same by the tool's functions, for comparison:

# %%
ten = nb.ten_parameters()
by_tool = {
    "average": methods.linear(ten),
    "sum": methods.task_arithmetic(ten),
    "persona − agentic": methods.task_arithmetic(ten, [1.0, -1.0]),
}
rows = [
    [name, *(f"{v:+.4g}".replace("-", "−") if v else "0" for v in row.tolist())]
    for name, row in by_tool.items()
]
nb.Table(["entry", *range(1, 11)], rows)

# %% [markdown]
# ## 4 ▸ The alpha line
#
# Two suites test the two skills. Scores are strict: a reply is right in every part, or it is wrong.
# *Combined* is the mean of both. We use 100 prompts a suite of the **dev** split, the one for
# making choices. Every score has a 95% interval: the range that fits the data. Differences smaller
# than that may be luck.
#
# Alone, persona is right on 95% of its own prompts and on no request for a tool call (test split,
# `data/tables/overview.csv`, made by `mergelab tables`). What will the plain average score on the
# persona suite? And what is left of persona at alpha .8, with 80% of the weight on agentic? Write
# ranges in which you expect the answers four times out of five.

# %%
predictions.range("persona score of the plain average", low=None, high=None)

# %%
predictions.range("persona score at alpha .8", low=None, high=None)

# %%
alpha, alpha_size = {}, {}
for a in (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0):
    alpha[a], alpha_size[a] = measure(f"alpha {a}", nb.recipe("linear", weights=(1 - a, a)))
average = alpha[0.5]
display(predictions.reveal("persona score of the plain average",
                           average.skills["persona"].rate.estimate))  # fmt: skip
predictions.reveal("persona score at alpha .8", alpha[0.8].skills["persona"].rate.estimate)

# %%
published = {0.3: 0.851, 0.5: 0.878, 0.7: 0.859}
nb.line_plot(
    alpha,
    knob="alpha: share of agentic (0 = persona alone, 1 = agentic alone)",
    published=published,
    title="First pair: both skills along the alpha line",
)

# %% [markdown]
# Read one coloured curve at a time, from its own adapter's end towards the other. It stays high for
# a while, then it falls. The combined score is good only where *both* curves are still high.

# %%
nb.Note(nb.tenable_sentence(alpha))

# %% [markdown]
# A popular rule says: *use a linear merge with alpha .8 or more when one adapter dominates*, that is
# when one skill matters much more than the other. The rule promises that a little of the second
# skill is left. Is it, here?

# %%
nb.Note(nb.dominated_sentence(alpha, 0.8))

# %% [markdown]
# ### Beside the published figures
#
# Published for a linear merge of two adapters of this kind on a 3-billion-parameter model: .851,
# .878 and .859 combined at alpha .3, .5 and .7. The curve above shows them with hollow markers. In
# another table of the same source the linear merge has .862 (persona), .871 (agentic) and .867
# (combined), and the advice is "best for a quick baseline".

# %%
rows = [["published, comparison table", ".862", ".871", ".867"]]
for a, theirs in published.items():
    own = [f"{result.rate.estimate:.3f}" for result in alpha[a].skills.values()]
    rows.append([f"published, alpha {a:g}", "", "", f"{theirs:.3f}".removeprefix("0")])
    rows.append([f"here, alpha {a:g}", *own, alpha[a].combined])
display(nb.Table(["", "persona", "agentic", "combined"], rows))
nb.Note(nb.density_verdict(alpha, published))

# %% [markdown]
# Two more things to notice.
#
# - The published source gives the average two different scores, .878 in one table and .867 in the
#   other. With 50 prompts a suite, chance alone moves the mean of two suites by about .03, so both
#   can be honest. But then .851 and .859 cannot be told from .878 either.
# - Compare the *spread*, too: how much the published scores change from .3 to .7, and how much ours
#   do. Where the spread is large, a skill depends on how much of its change is left. Section 6 looks
#   into that.

# %% [markdown]
# ## 5 What lies between: the loss along the line
#
# A score is coarse. A reply with one wrong word counts as much as nonsense. The **loss** is finer:
# how surprised is the model, on average per token, by the *right* reply? 0 means no surprise at all.
# It is the number that training makes small.
#
# Training is a long curved walk. Should a model half way between two trained models work at all?
# You might expect a hill in between, a **barrier**. For fine-tunes of one base the usual finding is
# that there is none: they lie in one wide valley. That is called **linear mode connectivity**, and
# it is the usual explanation of why merging works at all.
#
# What do you expect of the loss, as the mean over the right replies of both suites, half way between
# our two adapters?

# %%
predictions.choice(
    "loss half way between the adapters",
    None,
    among=("above both ends", "between the ends", "below both ends"),
)

# %%
cousins = ("task_api_persona", "task_api_persona_own02", "task_api_persona_own05")
first_and_last = cousins[::2]
between = {
    a: nb.measure_loss(nb.recipe("linear", weights=(1 - a, a))) for a in (0, 0.25, 0.5, 0.75, 1)
}
soup_line = {0: {"persona": between[0]["persona"]}} | {
    a: nb.measure_loss(nb.recipe("linear", first_and_last, weights=(1 - a, a)), skills=("persona",))
    for a in (0.5, 1)
}
nb.loss_plot({"persona to agentic": between, "persona to another persona": soup_line})

# %%
mean = {a: sum(losses.values()) / 2 for a, losses in between.items()}
side = (
    "below both ends"
    if mean[0.5] < min(mean[0], mean[1])
    else "above both ends" if mean[0.5] > max(mean[0], mean[1]) else "between the ends"
)  # fmt: skip
display(predictions.reveal("loss half way between the adapters", side))
nb.Note(
    nb.barrier_sentence("Persona to agentic", between)
    + " "
    + nb.barrier_sentence("Persona to another persona, persona replies only", soup_line)
)

# %% [markdown]
# Now compare the left panel with the plot in section 4. Look at the persona curve at .5 in both. A
# small rise of the loss can cost many points of a strict score, because one wrong token is enough. If
# each of twenty tokens is right with a chance of 98%, the whole reply is right with a chance of
# .98²⁰ = 67%. So the loss answers "is there a barrier?", and the score answers "can I use it?".
#
# ### Soups
#
# The right panel averages two models of *one* task, and shows that task only. That is a **soup**
# (Wortsman et al. 2022). The published result: dozens of models are fine-tuned on the same data,
# each with other settings, and the average of those that raise the score on held-out data (a
# *greedy* soup) is better than the best single one. With ViT-G it reached 90.94% top-1 on ImageNet,
# at the running cost of a single model.
#
# Dozens of adapters of one task do not ship with this course. The nearest we have are three persona
# adapters. They had the same settings and nearly the same data: in 0, 2 and 5% of their examples
# they answered a request for a tool call in the coach's style. So this is a small relative of a soup,
# not a soup as published. "Similar data" is one of the cases in which linear merging is recommended.
# Does the average of the three lose anything, or gain?

# %%
only_persona = {"skills": ("persona",)}
soup = [
    measure(name.removeprefix("task_api_"), nb.recipe("linear", (name,)), **only_persona)[0]
    for name in cousins
]
soup.append(measure("average of the three", nb.recipe("linear", cousins), **only_persona)[0])
rows = [[each.model, each.skills["persona"].rate] for each in soup]
display(nb.Table(["", "persona score, 95% interval"], rows))
best = max(soup[:-1], key=lambda each: each.combined.estimate)
difference = compare(soup[-1], best)["persona"]
nb.Note(nb.difference_sentence(soup[-1].model, f"the best of them, {best.model},", difference))

# %% [markdown]
# ## 6 ▸ Task arithmetic: add, and choose the scale
#
# The average has one knob too few. Alpha moves weight from one model to the other: the weight that
# one gains the other loses. **Task arithmetic** (Ilharco et al. 2022) has no such rule. It adds
# the task vectors, each with a weight of its own, and multiplies by one scale, **lambda**:
#
# $$ W = W_0 + \lambda \sum_i w_i \tau_i $$
#
# Add a task vector to gain a skill, subtract it to lose one. For two models with weights of 1,
# lambda .5 is the average.

# %% [markdown]
# <!-- exercise: linear/task_arithmetic -->


# %% nbgrader={"grade": false, "grade_id": "task_arithmetic", "locked": false, "schema_version": 3, "solution": true, "task": false}
def task_arithmetic(base, deltas, weights=None, lam=1.0):
    """The base plus the scaled, weighted sum of the task vectors."""
    ### BEGIN SOLUTION
    if weights is None:
        weights = [1.0] * len(deltas)
    change = torch.zeros_like(base, dtype=torch.float32)
    for weight, delta in zip(weights, deltas, strict=True):
        change = change + weight * delta.float()
    return (base.float() + lam * change).to(base.dtype)
    ### END SOLUTION


# %%
check("linear/task_arithmetic", task_arithmetic)

# %% nbgrader={"grade": true, "grade_id": "task_arithmetic_visible", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
grade("linear/task_arithmetic", task_arithmetic, part="visible")

# %% nbgrader={"grade": true, "grade_id": "task_arithmetic_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# Hidden cases run when you submit: the same contract on other shapes, number types and values.
### BEGIN HIDDEN TESTS
grade("linear/task_arithmetic", task_arithmetic, part="hidden")
### END HIDDEN TESTS

# %% [markdown]
# ### ▸ The lambda line
#
# We walk from .3 (less than the average) over 1 (the full sum) to 2 (twice what the adapters
# learned). Where will the combined score be best?

# %%
predictions.choice(
    "best lambda for the first pair", None, among=("0.3 or 0.5", "0.7 to 1", "1.5 or 2")
)

# %%
lam, lam_size = {0.5: average}, {0.5: alpha_size[0.5]}
for x in (0.3, 0.7, 0.85, 1.0, 1.5, 2.0):
    lam[x], lam_size[x] = measure(f"lambda {x:g}", nb.recipe("task_arithmetic", **{"lambda": x}))
best_lam = max(lam, key=lambda x: lam[x].combined.estimate)
where = "0.3 or 0.5" if best_lam <= 0.5 else "0.7 to 1" if best_lam <= 1 else "1.5 or 2"
display(predictions.reveal("best lambda for the first pair", where))
nb.line_plot(
    lam, knob="lambda: scale of the sum", title="First pair: both skills along the lambda line"
)

# %%
nb.sweep_table(lam, lam_size, knob="lambda")

# %%
display(nb.Note(
    nb.plateau_sentence(lam) + " "
    + nb.difference_sentence(f"lambda {best_lam:g}", "the average",
                             compare(lam[best_lam], average)["combined"])
))  # fmt: skip
nb.Note(
    "Overshooting? "
    + " ".join(
        nb.difference_sentence(f"lambda {x:g}", f"lambda {best_lam:g}",
                               compare(lam[x], lam[best_lam])["combined"])
        for x in (1.5, 2.0)
    )
)  # fmt: skip

# %% [markdown]
# ### ▸ Why the average is weak: the halving
#
# An average of N models leaves 1/N of each. With two models, half of each change is gone before the
# two meet at all. This **dilution** is the first weakness of linear merging. How small is the merged
# change then? If the task vectors are unrelated (at right angles), an average of N of them has about
# 1/√N of the size of one. Measured on the adapters that ship:

# %%
everyone = [*nb.LOW, "task_api_digest"]  # digest sums up a task in one line: a third skill
rows = []
for n in (1, 2, 3):
    found = mergelab.merge(nb.recipe("linear", everyone[:n])).report.total()
    rows.append([n, f"1/{n}", f"{found.magnitude_kept:.2f}", f"{n**-0.5:.2f}"])
nb.Table(["models averaged", "of each change", "size measured", "1/√N"], rows)

# %% [markdown]
# (1/√N is for arrows of one length at right angles. A measured size above it can mean that the task
# vectors are related, or only that their lengths differ.)
#
# Size is one thing, skill another. Two causes could make a skill fail in the average: its own change
# is only half as strong, or the other adapter disturbs it. They can be told apart: scale one adapter
# **by itself**, with no other in the merge. What is lost there is lost to the scale alone.
#
# Persona in the average scores less than persona at full strength. What takes more of it?

# %%
predictions.choice(
    "takes more of persona in the average", None, among=("half strength", "the other adapter")
)

# %%
alone, by_itself = {"persona": {}, "agentic": {}}, {}
for skill, points in alone.items():
    for x in (0.3, 0.5, 0.7):
        scaled = nb.recipe("task_arithmetic", (f"task_api_{skill}",), **{"lambda": x})
        scores, _ = measure(f"{skill} at {x}", scaled, skills=(skill,))
        points[x], by_itself[skill, x] = scores.skills[skill].rate, scores
    points[1.0] = alpha[0.0 if skill == "persona" else 1.0].skills[skill].rate
nb.scale_plot(alone, lam)

# %%
full = nb.one_skill(alpha[0.0], "persona")
half = by_itself["persona", 0.5]
together = nb.one_skill(average, "persona")
by_scale, by_other = compare(half, full)["persona"], compare(together, half)["persona"]
larger = "half strength" if by_scale.estimate < by_other.estimate else "the other adapter"
display(predictions.reveal("takes more of persona in the average", larger))
nb.Note(
    nb.difference_sentence("half strength, alone,", "full strength, alone,", by_scale)
    + " Now the other adapter comes in: "
    + nb.difference_sentence("persona in the average", "half strength, alone,", by_other)
)

# %% [markdown]
# Keep this picture. Before you say that a method is better than the average, give the average the
# same size: **match the scale first.** Lesson 4 is built on this.
#
# Everything so far was measured on dev, and lambda was chosen there. Now one look at the **test**
# split, which nothing was chosen on:

# %%
final = [
    measure(name, nb.recipe("task_arithmetic", **{"lambda": x}), split="test")[0]
    for name, x in (("the average", 0.5), (f"lambda {best_lam:g}", best_lam))
]
display(nb.scores_table(final))
nb.Note(
    nb.difference_sentence(final[1].model, final[0].model, compare(final[1], final[0])["combined"])
)

# %% [markdown]
# ## 7 The weights that are really used
#
# Somebody writes the weights .1 and 1.0 into a recipe. What will the tool multiply by?
#
# - **Normalised**, they are divided by their sum 1.1: they become .09 and .91. This is a weighted
#   average, and the merge stays between the two models.
# - **Plain**, they are used as written. They add up to 1.1, so on the whole more is added than one
#   adapter's worth. With more models or larger weights this **overshoots**.
#
# Which one you get depends on the method and on a switch called `normalize`. In mergelab, as in
# mergekit, `linear` normalises and `task_arithmetic` does not, unless the recipe says so. Users of
# the tools are regularly surprised: weights 2 and 2 are the plain average in one method and lambda 2
# in the other.

# %% [markdown]
# <!-- exercise: linear/effective_weights -->


# %% nbgrader={"grade": false, "grade_id": "effective_weights", "locked": false, "schema_version": 3, "solution": true, "task": false}
def effective_weights(weights, normalize=True, lam=1.0):
    """The factor by which each task vector is multiplied, or None if there is no average."""
    ### BEGIN SOLUTION
    divisor = sum(weights) if normalize else 1.0
    if divisor == 0:
        return None
    return [lam * weight / divisor for weight in weights]
    ### END SOLUTION


# %%
check("linear/effective_weights", effective_weights)

# %% nbgrader={"grade": true, "grade_id": "effective_weights_visible", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
grade("linear/effective_weights", effective_weights, part="visible")

# %% nbgrader={"grade": true, "grade_id": "effective_weights_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# Hidden cases run when you submit: the same contract on other values.
### BEGIN HIDDEN TESTS
grade("linear/effective_weights", effective_weights, part="hidden")
### END HIDDEN TESTS

# %% [markdown]
# On the real models: .1 and 1.0 for persona and agentic, normalised and plain. Does the extra tenth
# show in the score? (For weights 2 and 2 we already have both merges: they are the average and
# lambda 2.)

# %%
predictions.choice(
    "plain against normalised, weights .1 and 1.0",
    None,
    among=("better", "worse", "no clear difference"),
)

# %%
shares, shares_size = measure(".1 and 1.0, normalised", nb.recipe("linear", weights=(0.1, 1.0)))
plain, plain_size = measure(
    ".1 and 1.0, plain", nb.recipe("linear", weights=(0.1, 1.0), normalize=False)
)
pairs_of_two = [
    ("2 and 2, normalised", average, alpha_size[0.5]),
    ("2 and 2, plain", lam[2.0], lam_size[2.0]),
]
rows = [
    [name, *(f"{r.rate.estimate:.3f}" for r in each.skills.values()), each.combined, f"{size:.2f}"]
    for name, each, size in (
        (shares.model, shares, shares_size), (plain.model, plain, plain_size), *pairs_of_two
    )
]  # fmt: skip
nb.Table(["weights", "persona", "agentic", "combined", "size"], rows)

# %%
difference = compare(plain, shares)["combined"]
answer = {1: "better", -1: "worse", 0: "no clear difference"}[nb.beyond_noise(difference)]
display(predictions.reveal("plain against normalised, weights .1 and 1.0", answer))
nb.Note(
    f"Plain weights make the change {plain_size / shares_size - 1:.0%} larger. "
    + nb.difference_sentence("plain", "normalised", difference)
    + " With 2 and 2: "
    + nb.difference_sentence("plain", "normalised", compare(lam[2.0], average)["combined"])
)

# %% [markdown]
# The table shows a second thing: .1 and .09 are both very little persona. Whether the weights are
# shares or not, a small weight is a small scale, and section 6 says what that does to a skill.
#
# One case has no answer at all. Weights of 1 and −1 sum to 0, and nothing can be divided by 0. A
# good tool does not return infinities. It stops:

# %%
try:
    mergelab.merge(nb.recipe("linear", weights=(1, -1)))
except UserError as problem:
    print(problem)

# %% [markdown]
# ## 8 ▸ Move along the lines
#
# The explorer shows the merges you have measured. Choose a line, then move the slider, with the
# mouse or with the Tab and arrow keys. The sentence under the figure says in words what it shows.
# Try these:
#
# 1. On the alpha line, compare the sizes at 0, .5 and 1. Where is the merge smallest, and why? (Look
#    again at the first picture.)
# 2. Stay on the alpha line and follow parameter 8. How much of +.17 is left at .3? And how does the
#    agentic score look there?
# 3. Go to the lambda line. Which is the first lambda at which parameter 8 gets at least all that
#    agentic wanted? Which parameters are then larger than *either* adapter wanted?
# 4. Parameter 5 stays at 0 at every lambda. Which method could change that?

# %%
alpha_line = nb.Line("alpha", alpha, alpha_size)
lambda_line = nb.Line("lambda", lam, lam_size)
display(nb.lines_figure(alpha_line, 0.5))
nb.LinearLines(alpha_line, lambda_line)

# %% [markdown]
# ## 9 Subtract to forget
#
# A negative weight turns a task vector around. If adding `tau` teaches a skill, subtracting it should
# make the model *worse* at it, and ideally at nothing else. That is **negation**. It is used, for
# example, to make a model less toxic: fine-tune it on toxic text, then subtract that task vector.

# %% [markdown]
# <!-- exercise: linear/forget -->


# %% nbgrader={"grade": false, "grade_id": "forget", "locked": false, "schema_version": 3, "solution": true, "task": false}
def forget(base, deltas, index, strength=1.0):
    """The base plus all task vectors but one, minus `strength` times that one."""
    ### BEGIN SOLUTION
    merged = base.float()
    for i, delta in enumerate(deltas):
        weight = -strength if i == index else 1.0
        merged = merged + weight * delta.float()
    return merged.to(base.dtype)
    ### END SOLUTION


# %%
check("linear/forget", forget)

# %% nbgrader={"grade": true, "grade_id": "forget_visible", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
grade("linear/forget", forget, part="visible")

# %% nbgrader={"grade": true, "grade_id": "forget_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# Hidden cases run when you submit: the same contract on other shapes, number types and values.
### BEGIN HIDDEN TESTS
grade("linear/forget", forget, part="hidden")
### END HIDDEN TESTS

# %% [markdown]
# We make persona forget tool calls: persona minus agentic. Persona's *score* on tool calls is about 0
# already, and a score cannot fall below that. The loss can show more: how surprised is the model by
# a right tool call? And what does the subtraction do to the skill we want to keep?

# %%
predictions.range("persona score with agentic subtracted", low=None, high=None)

# %%
subtracted = nb.recipe("task_arithmetic", weights=(1.0, -1.0))
without, _ = measure("persona − agentic", subtracted, **only_persona)
losses = {
    "base": nb.measure_loss(nb.recipe("task_arithmetic", weights=(0, 0))),
    "persona": between[0],
    "persona − agentic": nb.measure_loss(subtracted),
    "persona + agentic": nb.measure_loss(nb.recipe("task_arithmetic")),
}
display(predictions.reveal("persona score with agentic subtracted", without.combined.estimate))
nb.Table(
    ["loss per token", *between[0]],
    [[name, *(f"{value:.3f}" for value in each.values())] for name, each in losses.items()],
)

# %%
before, after = losses["persona"], losses["persona − agentic"]
more = after["agentic"] > before["agentic"]
nb.Note(
    f"Right tool calls surprise the model {'more' if more else 'less'} after the subtraction "
    f"({before['agentic']:.2f} before, {after['agentic']:.2f} after). On persona: "
    + nb.difference_sentence(
        "persona − agentic", "persona alone", compare(without, soup[0])["persona"]
    )
)

# %% [markdown]
# Two warnings. Forgetting by subtraction damages whatever shares those weights, so measure the rest
# as well. And it is no proof of safety: a skill that a model no longer shows can come back with
# another prompt or a little training.

# %% [markdown]
# ## 10 The conflict pair
#
# A second pair ships with the course. Its adapters were also trained to answer *some of the other's
# prompts in their own style*: a little JSON where chat was right, a little chat where JSON was right.
# A linear merge ignores such conflicts. How far does it get with the right scale?

# %%
hard = {
    x: measure(f"lambda {x:g}", nb.recipe("task_arithmetic", nb.CONFLICT, **{"lambda": x}))[0]
    for x in (0.5, 0.7, 0.85, 1.0, 1.5)
}
nb.line_plot(
    hard, knob="lambda: scale of the sum", title="Conflict pair: both skills along the lambda line"
)

# %%
best_hard = max(hard, key=lambda x: hard[x].combined.estimate)
rows = [
    [title, f"{line[0.5].combined.estimate:.3f}", f"{best:g}", line[best].combined]
    for title, line, best in (("first pair", lam, best_lam), ("conflict pair", hard, best_hard))
]
display(nb.Table(["", "average", "best lambda", "combined there"], rows))
nb.Note(
    nb.difference_sentence("the conflict pair at its best lambda", "the first pair at its own",
                           compare(hard[best_hard], lam[best_lam])["combined"])
    + " Inside the conflict pair: "
    + nb.difference_sentence(f"lambda {best_hard:g}", "the average",
                             compare(hard[best_hard], hard[0.5])["combined"])
    + " First pair: " + nb.plateau_sentence(lam)
    + " Conflict pair: " + nb.plateau_sentence(hard)
)  # fmt: skip

# %% [markdown]
# Scale and conflict are two different things. A better lambda gives back what dilution has taken.
# What is still missing after that, in the second row of the table, is not a matter of one common
# scale: it is what lessons 3 to 5 work on. Compare also how wide the flat part is in the two plots.
# How much room does lambda have with conflicts, and without?

# %% [markdown]
# ## 11 ▸ Strengths, weaknesses, and when
#
# **Strengths.** It is simple: one line of arithmetic that anybody can check. It is one pass over the
# weights, with no sorting and no random numbers. It is adjustable: one knob, which a search on dev
# can set.
#
# **Weaknesses.** Dilution you have measured. The other two are these: it *ignores conflicts*, so
# opposite changes cancel, and it *keeps redundancy*, so every small change of every model goes in.

# %%
opposite, mass = nb.cancelled(pair)
persona_tau, agentic_tau = zip(*pair.deltas.values(), strict=True)
small = [1 - nb.norm_kept(tau, [0.5])[0] ** 2 for tau in (persona_tau, agentic_tau)]
nb.Note(
    f"Conflicts ignored: at {opposite:.0%} of the entries the two changes have opposite signs, and "
    f"the smaller sides, {mass:.0%} of all the change, cancel as much of the larger ones. Redundancy kept: the smaller half of "
    f"the entries, which holds {small[0]:.0%} (persona) and {small[1]:.0%} (agentic) of the squared "
    "size, goes in like the rest."
)

# %% [markdown]
# Is that bad? About half of the signs differ in any two unrelated vectors, so the number alone
# proves nothing. Lesson 1 compares it with chance, and lesson 4 measures what it costs.
#
# **When to use a linear merge**, as it is usually advised, and where you have tested it:
#
# | advice | tested in |
# |---|---|
# | as a quick baseline, always | sections 4 and 6. Note that a baseline needs the best lambda, not only .5. |
# | for models trained on similar data | section 5, the soup |
# | when one adapter dominates, alpha .8 or more | section 4, the note under the plot |
#
# ### Spot the invented output
#
# Here is a log, made up for this course. At least four things in it cannot be true. Find them.
#
# ```text
# linear merge, normalize: true
# weights in the recipe: 0.3  0.9      used: 0.30  0.90
# task vectors: norms 6.0 and 8.0, angle 90 degrees
# the same two with weights 1 and 1, normalised: norm of the merged change 9.2
# task_arithmetic of the same two, weights 1 and 1, lambda 1.0: norm 10.0
# lambda 2.0: norm 14.1
# persona .91  agentic .87  combined .92
# ```
#
# <details><summary>What cannot be true</summary>
#
# 1. Normalised, .3 and .9 become .25 and .75. They are divided by 1.2.
# 2. An average cannot be longer than its longest part, 8. At right angles the average of 6 and 8 is
#    √(3² + 4²) = 5.
# 3. Lambda is a plain factor. Twice 10 is 20, not 14.1.
# 4. The mean of .91 and .87 is .89.
#
# Possible is the sum at lambda 1: √(6² + 8²) = 10.
#
# </details>

# %% [markdown]
# ## Look back
#
# How good were your guesses?

# %%
predictions.calibration()

# %% [markdown]
# **What you can now do.** Merge by average and by sum, by hand and in code. Say what a recipe's
# weights really mean. Tell dilution from interference by scaling one adapter alone. Measure a line
# of merges by loss and by score. Choose lambda on dev and report on test. Make a model forget, and
# check what else it forgot.
#
# **Your playbook.** Answer in the cell below, in your own words: With which lambda would I start, and
# which range would I try (for alpha the usual one is .3 to .7)? When is a linear merge enough? How
# would I test *both* skills? Which warning sign would make me throw a merge away (for instance: one
# skill below half of its source)? What would I check about `normalize` in a tool I do not know?

# %% [markdown]
# *My playbook, linear merges:* …

# %% [markdown]
# **Three prompts to try with an AI assistant**
#
# 1. "Here are two task vectors with ten entries each: … Walk me through their average and their sum
#    at lambda .8, entry by entry, and stop before each result so that I can answer first." *Trains:*
#    doing the steps without looking. Check the assistant's arithmetic with your functions.
# 2. "My linear merge of two adapters is bland: it does both jobs, but weakly. Ask me one question at
#    a time until you can name the likely cause." *Trains:* diagnosis. Did it ask about the scale?
# 3. "Here is a merge recipe: … Tell me by which factor each model is really multiplied, and what
#    would change with `normalize: false`." *Trains:* reading recipes. Check with your
#    `effective_weights`.
#
# **Before you use a merge.** A merged model can behave in ways that none of its sources did.
# Evaluate both capabilities, not only their mean: at the ends of the alpha line the combined score
# is near .5, and one skill is gone. The tools of this course are made for decoder-only models; other
# kinds may behave differently. And the licences of all sources carry over to the merge.
#
# **Go further**
#
# - *A soup of many, in little memory:* with $k$ models already in the average, the next one comes in
#   as `average + (new - average) / (k + 1)`. Only two models are in memory at any time. Write it, and
#   compare with `linear`.
# - *Two lambdas:* give each task vector its own scale in place of one for both. Does the conflict pair
#   gain?
# - *A lambda per layer:* in a recipe, `weight: [0.5, 1.0]` runs from .5 in the first layer to 1.0 in
#   the last. Which end needs more?
# - *The curved line:* measure the loss from the base along lambda, from 0 to 2. Where does it turn?
# - *The paper on task arithmetic* has analogies, too: "A is to B as C is to D" with task vectors.
#
# **References.** Wortsman et al. 2022, *Model Soups*,
# [arXiv 2203.05482](https://arxiv.org/abs/2203.05482). Ilharco et al. 2022, *Editing Models with
# Task Arithmetic*, [2212.04089](https://arxiv.org/abs/2212.04089). Yadav et al. 2023,
# *TIES-Merging*, [2306.01708](https://arxiv.org/abs/2306.01708). Yu et al. 2023, *Language Models
# are Super Mario* (DARE), [2311.03099](https://arxiv.org/abs/2311.03099). Goddard et al. 2024,
# *Arcee's MergeKit*, [2403.13257](https://arxiv.org/abs/2403.13257),
# [mergekit](https://github.com/arcee-ai/mergekit). Frankle et al. 2019, *Linear Mode Connectivity
# and the Lottery Ticket Hypothesis*, [1912.05671](https://arxiv.org/abs/1912.05671).
#
# **Next:** lesson 3, SLERP. It goes from one model to the other on an arc in place of a straight
# line, so that nothing of the size is lost on the way.
