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
# # Start here: your first merge
#
# Two models were trained for different jobs. You will put both skills into one set of weights,
# without any training, and measure what you got.
#
# | | |
# |---|---|
# | **Time** | about 55 minutes, 16 of them for the three exercises |
# | **Difficulty** | ●○○ |
# | **You need** | Python and a little PyTorch. You have heard that an *adapter* (LoRA) is a small file that holds what fine-tuning changed in a model. |
# | **Short of time?** | Do the parts marked ▸, about 25 minutes: meet the models, the picture, one merge with its report, one evaluation, the map, the tour. Come back for the exercises. |
# | **How to work** | Run the cells in order, also those of exercises that you leave open: later cells use their names. |
#
# **When you have finished, you can**
#
# | | level | how you can tell |
# |---|---|---|
# | say what a merge is, and what it cannot do | explain | sections 2 and 10, your playbook |
# | add a skill to a model by arithmetic, and take one away | apply | two exercises, 7 points; section 8 |
# | find out whether two models can be merged at all | analyse | one exercise, 3 points; section 10 |
# | merge with a recipe and read the report | apply | sections 5 and 6 |
# | compare two models with intervals, not with single numbers | evaluate | your predictions, section 7 |
#
# **Where this lesson stands.** The methods of this course are answers to one problem,
# interference: two models want the same weight to be different things. This lesson does the
# simplest thing, it adds and averages, and ignores the problem. Section 12 has the map of all
# that follows.

# %%
import tempfile
from pathlib import Path

import torch

# %%
from IPython.display import display

import mergelab
from autograder import check, grade
from mergelab import notebook as nb
from mergelab.evaluation.results import compare, evaluate
from mergelab.evaluation.suites import load_suite

torch.set_num_threads(1)  # the model is small: sharing its work out costs more than it saves
predictions = nb.Predictions()

# %% [markdown]
# Run a cell with <kbd>Shift</kbd>+<kbd>Enter</kbd>. The two cells above loaded what this lesson
# needs. If something looks wrong later, choose *Kernel, Restart Kernel and Run All Cells*: every
# cell runs, whether your exercises are done or not.
#
# ## 1 ▸ Meet the models
#
# Three small models ship with the course. They have one million parameters each, so everything
# here runs on a laptop in seconds. They know one small world: people who talk about their work,
# and requests to a list of tasks.
#
# - `base` answers everything, politely and dryly.
# - `task_api_persona` was fine-tuned from it to be TaskMaster, a warm coach.
# - `task_api_agentic` was fine-tuned from it to answer requests with tool calls: JSON that a
#   program can read.
#
# Say the same four things to all three.

# %%
prompts = [item.input for skill in ("persona", "agentic") for item in load_suite(skill, "dev")[:2]]
trio = {"base": "base", "persona": "task_api_persona", "agentic": "task_api_agentic"}
nb.conversation(trio, prompts)

# %% [markdown]
# Each fine-tuned model has one skill, and for the other kind of prompt it still answers as the
# base does. Now say something yourself. Put your own words in place of these; stay close to the
# small world, such as *Add a task to buy milk.*

# %%
nb.conversation(trio, ["What can you do?", "Mark task 12 as done."])

# %% [markdown]
# **The aim:** one model that answers the first two prompts as the coach does and the last two as
# the agent does.
#
# One could train again, on both sets of examples at once. That needs the examples, which often are
# not public, and a training run. A **merge** needs neither. It takes the *weights* of the models
# that exist and computes new ones from them, one number at a time: no data, no gradients. It
# combines specialists. It does not make new ones: what no source has learned, no merge can be
# expected to do.

# %% [markdown]
# ## 2 ▸ A picture first: what training changed is an arrow
#
# A model is a long list of numbers, so it is a point in a space with as many axes as it has
# parameters. Fine-tuning moves the point. The move itself is called the **task vector**:
#
# $$ \tau = W_\text{fine-tuned} - W_\text{base} $$
#
# Here is that space with a million axes, drawn with two.

# %%
nb.arrows_plot()

# %% [markdown]
# Arrows can be added, shortened, and turned round. That is nearly everything that this lesson
# does:
#
# - **add** a task vector to the base: the model gains the skill;
# - add **two**: with luck it gains both;
# - add a **part** of one: `scale` × τ, with a number between 0 and 1;
# - **subtract** one: the model forgets the skill.
#
# *With luck*, because nobody promised that a point between two good models is a good model. We
# will measure it.
#
# How long are these arrows, compared with the weights they change? Time for your first
# **prediction**. The rule in this course is: first guess, then measure. A guess that was wrong
# makes the result stay in mind. Write a range in which you expect the answer four times out of
# five, in place of the two `None`, for example `low=0.3, high=0.6`. Nobody grades it.

# %%
predictions.range("length of persona's arrow over length of the weights", low=None, high=None)

# %%
base = nb.weights_of("base")
change = {name: nb.task_vector_of(name) for name in ("task_api_persona", "task_api_agentic")}


def length(tensors):
    """The length (norm) of many tensors taken as one long vector."""
    return sum(float(values.square().sum()) for values in tensors) ** 0.5


persona_change = change["task_api_persona"]
measured = length(persona_change.values()) / length(base[name] for name in persona_change)
predictions.reveal("length of persona's arrow over length of the weights", measured)

# %%
parameters = sum(values.numel() for values in base.values())
changed = sum(values.numel() for values in persona_change.values())
nb.Note(
    f"The base has {parameters:,} parameters in {len(base)} tensors. The persona adapter changes "
    f"{changed:,} of them, in {len(persona_change)} tensors; the others stay as they are."
)

# %% [markdown]
# ### One weight, then ten, by hand
#
# One weight of the base is .15. Persona changes it by +.08, to .23. Agentic changes it by −.05, to
# .10. So there are three numbers, and a merge must write one:
#
# - the **sum** of both changes gives .15 + .08 − .05 = **.18**;
# - the **average** of the two models is (.23 + .10) / 2 = **.165**: the base plus *half* of the sum.
#
# Neither is what persona wanted or what agentic wanted. That is interference, in one number.
# Lesson 1 begins there.
#
# Below are ten such changes. Every lesson carries these ten through its method. Fill in the last
# two rows.
#
# | entry | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 |
# |---|---|---|---|---|---|---|---|---|---|---|
# | persona | +.08 | +.002 | +.15 | −.20 | +.06 | −.07 | −.001 | +.004 | −.04 | +.005 |
# | agentic | −.05 | −.001 | +.02 | −.11 | −.06 | −.06 | +.02 | +.17 | +.03 | −.006 |
# | *sum of both, scale 1* | | | | | | | | | | |
# | *sum of both, scale .5: the average* | | | | | | | | | | |
#
# <details><summary>Solution</summary>
#
# | entry | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 |
# |---|---|---|---|---|---|---|---|---|---|---|
# | *scale 1* | +.03 | +.001 | +.17 | −.31 | 0 | −.13 | +.019 | +.174 | −.01 | −.001 |
# | *scale .5* | +.015 | +.0005 | +.085 | −.155 | 0 | −.065 | +.0095 | +.087 | −.005 | −.0005 |
#
# In entry 5 the two cancel. In entry 8 only agentic has much to say, and the average cuts that in
# half. Both will matter later.
#
# </details>

# %%
persona_ten, agentic_ten = nb.ten_parameters()
for scale in (1.0, 0.5):
    values = (scale * (persona_ten + agentic_ten)).tolist()
    row = [f"{value:+.4f}" if value else "0" for value in values]
    print(f"scale {scale}: {'  '.join(row)}")

# %% [markdown]
# ## 3 Write it: add a task vector
#
# Now your first exercise. This is how all exercises of the course work:
#
# 1. **Read** what the function must do. The text says everything that will be tested.
# 2. **Write** it in place of `raise NotImplementedError()`. The hints are folded; open them when
#    you are stuck.
# 3. **Check** it with the next cell. It says in plain words what is right and what is not yet, as
#    often as you like. (In a terminal, `mergelab check 00_start_here` does the same.)
# 4. The two cells after it give the **points**. The first counts the cases you can see. The last
#    one runs when you submit the lesson: the same contract, on cases you have not seen.

# %% [markdown]
# <!-- exercise: start/add_task_vector -->


# %% nbgrader={"grade": false, "grade_id": "add_task_vector", "locked": false, "schema_version": 3, "solution": true, "task": false}
def add_task_vector(base, delta, scale=1.0):
    """The base with `scale` times the task vector added, each tensor in the base's dtype."""
    ### BEGIN SOLUTION
    merged = {}
    for name, values in base.items():
        if name in delta:
            merged[name] = (values.float() + scale * delta[name]).to(values.dtype)
        else:
            merged[name] = values
    return merged
    ### END SOLUTION


# %%
check("start/add_task_vector", add_task_vector)

# %% nbgrader={"grade": true, "grade_id": "add_task_vector_visible", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
grade("start/add_task_vector", add_task_vector, part="visible")

# %% nbgrader={"grade": true, "grade_id": "add_task_vector_hidden", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
# Hidden cases run when you submit: the same contract on other shapes, number types and values.
### BEGIN HIDDEN TESTS
grade("start/add_task_vector", add_task_vector, part="hidden")
### END HIDDEN TESTS

# %% [markdown]
# **Your function on real weights.** Add persona's task vector to the base with your function, and
# talk to the result. If it works, it answers as the coach did in section 1.

# %%
nb.talk_to(nb.attempt(add_task_vector, base, persona_change, 1.0), prompts[:2])

# %% [markdown]
# ### How much of it?
#
# The scale is a dial. Choose a task vector and move the slider, with the mouse or with the Tab and
# arrow keys; every reply was computed when the cell ran. Try these:
#
# 1. Start at +1.00 and go down. At which scale does the tool call disappear? Is there a scale at
#    which only *some* replies have changed?
# 2. Go above 1. Do the replies get warmer, or do they break?
# 3. Go below 0. What does a model say that was pushed *away* from a skill?

# %%
nb.ScaleSlider(
    {"persona": "task_api_persona", "agentic": "task_api_agentic"},
    [*prompts, "What can you do?"],
)

# %% [markdown]
# The same as a curve, for those who read without running, and with more prompts: each task vector
# is added at several scales and scored on its own skill. A score is the share of replies that are
# right in every part, here of 50 prompts of the dev split (section 7 takes 100). The bars are 95%
# intervals; section 7 explains them.

# %%
curves = {}
for skill in ("persona", "agentic"):
    delta, curves[skill] = change[f"task_api_{skill}"], {}
    for scale in (0, 0.25, 0.5, 0.75, 1, 1.5):
        moved = base | {name: base[name] + scale * delta[name] for name in delta}
        curves[skill][scale] = nb.score(moved, skills=[skill], name=f"{scale} x {skill}")
nb.parts_plot(curves, title="A task vector, added in parts")

# %%
half = {skill: points[0.5].skills[skill].rate.estimate for skill, points in curves.items()}
whole = {skill: points[1].skills[skill].rate.estimate for skill, points in curves.items()}
nb.Note(
    "Half of a task vector gives "
    + " and ".join(f"{half[s]:.2f} of {whole[s]:.2f} ({s})" for s in half)
    + ". If skill grew in step with the scale, half of it would give half the score."
)

# %% [markdown]
# ## 4 Write it: merge two models
#
# Two task vectors, added to one base. In practice the sources are often given as whole models, so
# you first find out what each of them changed.

# %% [markdown]
# <!-- exercise: start/merge_two -->


# %% nbgrader={"grade": false, "grade_id": "merge_two", "locked": false, "schema_version": 3, "solution": true, "task": false}
def merge_two(base, first, second, scale=0.5):
    """The base plus `scale` times the sum of what two fine-tuned models changed in it."""
    ### BEGIN SOLUTION
    merged = {}
    for name, values in base.items():
        start = values.float()
        changed = (first[name].float() - start) + (second[name].float() - start)
        merged[name] = (start + scale * changed).to(values.dtype)
    return merged
    ### END SOLUTION


# %%
check("start/merge_two", merge_two)

# %% nbgrader={"grade": true, "grade_id": "merge_two_visible", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
grade("start/merge_two", merge_two, part="visible")

# %% nbgrader={"grade": true, "grade_id": "merge_two_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# Hidden cases run when you submit: the same contract on other shapes, number types and values.
### BEGIN HIDDEN TESTS
grade("start/merge_two", merge_two, part="hidden")
### END HIDDEN TESTS

# %% [markdown]
# **Your merge, at work.** The coach and the agent, joined by your function at scale .8:

# %%
persona = nb.weights_of("task_api_persona")
agentic = nb.weights_of("task_api_agentic")
nb.talk_to(nb.attempt(merge_two, base, persona, agentic, 0.8), prompts)

# %% [markdown]
# ## 5 ▸ Your first merge with a recipe
#
# In practice you do not write a merge in Python. You write a **recipe**: a short YAML file that says which
# models, which method, and with which settings. The format is that of mergekit, the best known
# tool for merging. This recipe takes the average of the two models. (`linear` is the name of the
# method; the weights are how much each model counts.)

# %%
print(mergelab.data_path("recipes", "linear.yaml").read_text())

# %% [markdown]
# In a terminal, in the folder of the course, the merge is one line:
#
# ```
# mergelab merge data/recipes/linear.yaml first_merge
# ```
#
# It writes `first_merge/`, an ordinary model folder. From Python it is one call, and without a
# folder the result stays in memory. The recipe's `dtype` is the number type in which the result is
# stored; bfloat16 takes half the room of float32 and has fewer digits. This lesson asks for float32
# in its place, so that no rounding comes between the merges that we compare.

# %%
merged = mergelab.merge(mergelab.data_path("recipes", "linear.yaml"), dtype="float32")
nb.conversation({"average": merged.tensors}, prompts)

# %% [markdown]
# ## 6 ▸ Read the report
#
# Every merge comes with a report of what it did. (In a terminal: `mergelab report first_merge`, or
# with `--html` for a page with plots.) Here is that of your merge.

# %%
nb.merge_report_table(merged.report)

# %% [markdown]
# Read it like this:
#
# - **entries**: the weights that the adapters change, layer by layer.
# - **sign conflicts**: entries where one adapter wants to go up and the other down. **Resolved**:
#   how many of these the method decided. A plain average decides none, it just adds.
# - **magnitude kept**: how long the merged arrow is, compared with the mean length of the two. 1.00
#   would be as long as one of them.
# - **angle** between the two arrows. 90° means that they have nothing to do with each other.
#
# The magnitude is worth a thought. Imagine two arrows of length 1 at a right angle (the picture in
# section 2 is only a sketch): the average reaches to the middle of the diagonal, √2 / 2 = .71. Does the report
# agree?

# %%
total = merged.report.total()
nb.Note(
    f"Angle {total.angle:.1f}°, magnitude kept {total.magnitude_kept:.2f}. For two equal arrows at "
    "exactly 90° it would be 0.71."
)

# %% [markdown]
# ## 7 ▸ Does it work? Measure it
#
# Four replies prove nothing. Two suites of prompts test the two skills:
#
# - `persona`: the reply must hold two expressions of the tone that the prompt calls for, none of a
#   wrong one, repeat the topic exactly, and contain no JSON;
# - `agentic`: the reply must be the expected tool call, with every argument exactly right.
#
# A reply scores 1 or 0. *Combined* is the mean of the two suites. Each suite has a **dev** split,
# for trying things out, and a **test** split, for the final figure only. This lesson uses dev.
#
# We ask 100 prompts of each suite. With other prompts the score would be a little different, so
# each number comes with a **95% interval**: a range that would catch the true score in 95 of 100
# such samples. When you compare two models, look at the ranges, not only at the numbers.
#
# What will the average of the two models reach, if each of them is near .95 on its own skill? And
# will the *sum at scale .8* be better?

# %%
predictions.range("combined score of the average", low=None, high=None)

# %%
predictions.choice(
    "better merge", None, among=("average", "sum at scale .8", "no clear difference")
)

# %%
ITEMS = 100
alone = [
    nb.measure_alone(reference, name=name, items=ITEMS)
    for name, reference in zip(
        ("base", "persona alone", "agentic alone"), trio.values(), strict=True
    )
]
average = evaluate(*merged.load(), split="dev", limit=ITEMS, name="average (linear)")
recipe = nb.recipe("task_arithmetic", **{"lambda": 0.8})  # lambda: the scale of the whole sum
both, both_size = nb.measure("sum at scale .8 (task arithmetic)", recipe, items=ITEMS)
nb.scores_table([*alone, average, both])

# %%
nb.score_plot([*alone, average, both], title="Two specialists and two merges")

# %%
lead = compare(both, average)["combined"]
answer = {1: "sum at scale .8", -1: "average", 0: "no clear difference"}[nb.beyond_noise(lead)]
display(predictions.reveal("combined score of the average", average.combined.estimate))
display(predictions.reveal("better merge", answer))
nb.Note(nb.difference_sentence("The sum at scale .8", "the average", lead))

# %% [markdown]
# The two merges point in the same direction; they only differ in how far they go. How far to go is
# the first thing to try in practice, and lesson 2 is about it.
#
# Also compare the merges with their sources. A merge below *both* sources on their own skills is a
# warning sign; a merge that is nearly as good as each specialist at its own job is what one hopes
# for.

# %%
for specialist, skill in ((alone[1], "persona"), (alone[2], "agentic")):
    gap = compare(both, specialist)[skill]
    display(nb.Note(f"On {skill}: {nb.difference_sentence('the sum', specialist.model, gap)}"))

# %% [markdown]
# ## 8 Negate to forget
#
# If adding a task vector teaches, subtracting it should make a model forget. The published example:
# a language model was fine-tuned on toxic text, and its task vector *subtracted* from the base. The
# result wrote less toxic text than the base (Ilharco et al.).
#
# Here is a fair test. Take the merge that has both skills, and subtract a persona task vector. Not
# the one that is inside: that would only undo the sum. A **second** persona adapter ships with the
# course (`task_api_persona_conflict`; later lessons explain its name). It was trained separately,
# from the same base, on other examples. We subtract .75 of it.
#
# What will be left of persona? And will agentic suffer?

# %%
predictions.range("persona after subtracting", low=None, high=None)

# %%
predictions.choice("agentic after subtracting", None, among=("clearly worse", "not clearly worse"))

# %%
forget = nb.recipe(
    "task_arithmetic",
    models=("task_api_persona", "task_api_agentic", "task_api_persona_conflict"),
    weights=(0.8, 0.8, -0.75),
)
forgot, _ = nb.measure("minus .75 x another persona", forget, items=ITEMS)
display(nb.scores_table([both, forgot]))
nb.replies_table([both, forgot])

# %%
differences = compare(forgot, both)
suffers = "clearly worse" if nb.beyond_noise(differences["agentic"]) < 0 else "not clearly worse"
display(
    predictions.reveal("persona after subtracting", forgot.skills["persona"].rate.estimate),
    predictions.reveal("agentic after subtracting", suffers),
)
for skill in ("persona", "agentic"):
    sentence = nb.difference_sentence(
        "the model after subtracting", "the one before", differences[skill]
    )
    display(nb.Note(f"On {skill}: {sentence}"))

# %% [markdown]
# ## 9 Why it can work: one valley
#
# It is strange that this works at all. Half way between two good programs, letter by letter, there
# is no good program. Why should there be a good model half way between two good models?
#
# The usual explanation looks at the **loss** (how wrong a model is) as a landscape: every point is
# a model, and low ground is good. All fine-tunes of one base start at the same place and do not
# move far. So they tend to end in the **same low basin**, and a straight line between two of them
# stays on low ground. The technical term is *linear mode connectivity*; lesson 2 goes deeper.
#
# That is a claim about a line, so we can walk along it. Two lines, both between two models that
# have the persona skill:
#
# - from the persona adapter to the **second persona adapter** of section 8: same base, trained
#   apart;
# - from the persona adapter to its **shuffled twin**: the same model with its neurons in another
#   order. Every neuron still has the same connections, so the twin gives the *same replies*. Only
#   its place in the space of weights is another one.
#
# Guess the score half way on each.

# %%
predictions.range("half way to another fine-tune", low=None, high=None)

# %%
predictions.range("half way to the shuffled twin", low=None, high=None)

# %%
second = nb.weights_of("task_api_persona_conflict")
twin = nb.neurons_shuffled(persona)
ends = {"two fine-tunes of one base": second, "a model and its shuffled twin": twin}
lines = {
    label: {
        share: nb.score(nb.on_the_line(persona, end, share), skills=["persona"], name=label)
        for share in (0, 0.25, 0.5, 0.75, 1)
    }
    for label, end in ends.items()
}
nb.basin_plot(lines, "persona", title="Walking in a straight line from one model to another")

# %%
fine, shuffled = lines.values()
for question, line in (
    ("half way to another fine-tune", fine),
    ("half way to the shuffled twin", shuffled),
):
    display(predictions.reveal(question, line[0.5].skills["persona"].rate.estimate))
    worse_end = min((line[0], line[1]), key=lambda each: each.skills["persona"].rate.estimate)
    gap = compare(line[0.5], worse_end)["persona"]
    display(nb.Note(nb.difference_sentence("the middle", "the worse of the two ends", gap)))

# %% [markdown]
# Compare the two lines at their ends first, then in their middles. The first line ends in a model
# that was trained separately, on other examples. The second ends in the *same* model with its
# neurons in another order, which gives the same replies. By what it says the twin is the nearer
# one, and yet it is the line to the twin that leaves good ground. So what decides is not how good
# the two ends are, or how alike their replies, but whether their neurons are in the same places.
#
# This is not a trick of small models. **Model soups** (Wortsman et al. 2022) start from dozens of
# fine-tunes of one large vision model, ViT-G, and average those of them that raise the score on
# held-out data (a *greedy* soup); published: 90.94% top-1 accuracy on ImageNet, the best at the
# time, at the cost of running *one* model.

# %% [markdown]
# ## 10 The hard limit: relatives only
#
# So the first rule of merging: models must be **homologous**. Same architecture, same vocabulary,
# and *fine-tuned from the same base*. Entry 17 of a tensor must mean the same thing in both.
#
# A first part of this is easy to check: do the tensors have the same names and shapes? Write that.

# %% [markdown]
# <!-- exercise: start/misfits -->


# %% nbgrader={"grade": false, "grade_id": "misfits", "locked": false, "schema_version": 3, "solution": true, "task": false}
def misfits(base, model):
    """Names of the tensors that only one of two models has, or that have two shapes, sorted."""
    ### BEGIN SOLUTION
    found = []
    for name in sorted(set(base) | set(model)):
        if name not in base or name not in model or base[name].shape != model[name].shape:
            found.append(name)
    return found
    ### END SOLUTION


# %%
check("start/misfits", misfits)

# %% nbgrader={"grade": true, "grade_id": "misfits_visible", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
grade("start/misfits", misfits, part="visible")

# %% nbgrader={"grade": true, "grade_id": "misfits_hidden", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
# Hidden cases run when you submit: the same contract on other names and shapes.
### BEGIN HIDDEN TESTS
grade("start/misfits", misfits, part="hidden")
### END HIDDEN TESTS

# %% [markdown]
# Now three models that do not belong to our base. What does the tool say when you want to average
# each of them with it?
#
# - **another shape**: half as wide;
# - **other words**: the same weights, but the tokens are numbered in another order;
# - **other neurons**: the shuffled twin of the base.
#
# Which of the three can your `misfits` see?


# %%
def average_of(*models):
    """A recipe for the plain average of models."""
    sources = [{"model": str(each), "parameters": {"weight": 1.0}} for each in models]
    return {"merge_method": "linear", "models": sources, "dtype": "float32"}


with tempfile.TemporaryDirectory() as folder:
    outsiders = nb.write_outsiders(Path(folder) / "models")
    rows, seen = [], []
    for what, path in outsiders.items():
        if seen is not None:  # an exercise that is still empty is pointed out once
            seen = nb.attempt(misfits, base, nb.weights_of(str(path)))
        count = len(seen) if isinstance(seen, list) else "?"
        rows.append([what, count, nb.answer_to(average_of("base", path))])
    stranger = nb.weights_of(str(outsiders["other neurons"]))
    forced = mergelab.merge(
        average_of("base", outsiders["other neurons"]), allow_unrelated=True
    ).tensors
nb.Table(["", "your misfits", "mergelab says"], rows, text_columns=(2,))

# %% [markdown]
# In the last two, every name and every shape fits. The second is found by its vocabulary. The third
# is the dangerous one: its vocabulary fits, too, so nothing *stops* you, and many
# tools do not look further: they average, and write a model that loads and runs. `mergelab` looks
# at the weights themselves and refuses. With `allow_unrelated` one can insist. What comes out?

# %%
nb.conversation({"base": base, "its twin": stranger, "their average": forced}, prompts)

# %% [markdown]
# The two sources say the same, word for word. Their average is noise. (Section 9 has measured how
# much of a skill is left half way between the *persona* model and its twin.)
#
# The same is expected of two models that were *trained* apart, such as two runs of one architecture
# from different starts: nothing puts their neurons in the same places. That is not measured here.
# (A Llama and a Qwen fail earlier, as the first two rows of the table do: their shapes and their
# tokens differ. There are methods that look for the right order of the neurons first, permutation
# matching and optimal transport. They are beyond this course.)

# %% [markdown]
# ## 11 A merge against its training
#
# How much cheaper is a merge than the training that made its sources? Guess: how many times longer
# did it take to train our two adapters than it takes to merge them?

# %%
predictions.choice(
    "training against merging",
    None,
    among=("less than ten times", "more than ten times", "more than a hundred times"),
)

# %%
ratio = nb.training_over_merging(nb.recipe("linear"))
predictions.reveal("training against merging", ratio)

# %% [markdown]
# The cell ran a few training steps, worked out from them how long all of them take, and held that
# against one merge, on the same processor. It says the ratio in words, because every run gives a
# slightly different number; `nb.training_ratio(nb.recipe("linear"))` in a cell of your own shows
# yours. For large models the merge is bound by reading and writing the weights: lesson 7 predicts
# its time from the bytes.
#
# Two costs remain. Someone has to train the sources. And a merge must be *evaluated*: compare how
# long the cells of sections 5 and 7 ran.

# %% [markdown]
# ## 12 ▸ The map of the course
#
# You have seen a merge work. You have also seen its weak spot: where two models want opposite
# changes in one weight, adding cancels both. This is **interference**, and it is the one problem
# behind all methods of this course. They are not a ladder from worse to better. They are different
# answers to it.

# %%
nb.spine_plot()

# %% [markdown]
# | lesson | the question |
# |---|---|
# | 1 Interference | Where do two models get into each other's way, and how much? |
# | 2 Linear and task arithmetic | How far does one get by adding, with the right scale? |
# | 3 SLERP | What does an average do to the length of an arrow? |
# | 4 TIES | What does a vote about every weight change? |
# | 5 DARE | How many changes can be deleted at random? |
# | 6 Evaluate, tune, choose | Is the winner better, or is it luck? |
# | 7 Memory and kernels | How to merge a model that is larger than the memory? |
# | 8 Capstone | Three adapters and more, with a method of your own. |
#
# Every lesson measures whether its method helps *here*, and sets that beside the published
# figures. Sometimes the two disagree. Then the lesson says so and shows why.

# %% [markdown]
# ## 13 ▸ A tour of the tools
#
# Open a terminal (File, New, Terminal) and try the first three. Each command explains itself with
# `--help`.
#
# | you want to | command |
# |---|---|
# | merge models as a recipe says | `mergelab merge data/recipes/ties.yaml OUT` |
# | talk to a model | `mergelab chat OUT`, or `mergelab chat task_api_persona` |
# | score models on the suites | `mergelab evaluate task_api_persona OUT --limit 100` |
# | see the report of a merge again | `mergelab report OUT --html` |
# | see how two models interfere before you merge | `mergelab inspect task_api_persona task_api_agentic` |
# | know how one weight came about | `mergelab explain OUT 'model.layers.2.mlp.up_proj.weight[10, 33]'` |
#
# And these four are for the course:
#
# | you want to | command |
# |---|---|
# | check your functions without opening the notebook | `mergelab check 00_start_here` |
# | submit a lesson and see every point and every lost point | `mergelab submit 00_start_here` |
# | see how far you are and where to go on | `mergelab progress` |
# | open the course again | `mergelab lab` |
#
# A submission is graded on hidden cases, too. Submit as often as you like; your notebook is never
# changed by it.

# %% [markdown]
# ## Look back
#
# How good were your guesses?

# %%
predictions.calibration()

# %% [markdown]
# **What you can now do.** Say what a merge is: arithmetic on weights, no data, no gradients. Add
# a task vector and take one away. Write a recipe, merge, read the report. Compare two models with
# intervals. Say which models can be merged, and why a straight line between two models can, or
# cannot, stay on good ground.
#
# **Your playbook.** Through the course you write your own guide to merging, a few lines after each
# lesson. Begin it here, in your own words: What would I check before I merge two models? What would
# I merge first, and what would I compare it with? How would I test *both* skills? Which sign would
# make me throw a merge away?

# %% [markdown]
# *My playbook, start:* …

# %% [markdown]
# **Three prompts to try with an AI assistant**
#
# 1. "I have a base model and two fine-tunes of it. Ask me questions, one at a time, until it is
#    clear whether I can merge them. Do not explain anything before I have answered." *Trains:* the
#    checks of section 10. Did it ask about the base, and about the vocabulary?
# 2. "Here are ten parameters of a base and what two adapters change in them: … I will compute the
#    average and the sum by hand. Check me entry by entry." *Trains:* the arithmetic. Check the
#    assistant with your `merge_two`; do not take its word.
# 3. "A merged model scores .80 and another one .83, on 100 prompts each. Argue that the second is
#    better. Then argue that this is luck." *Trains:* reading results as a sceptic.
#
# **Before you use a merge.** A merged model can behave in ways that none of its sources did.
# Evaluate every skill that you need, not only the average. A friendly persona can leak chat into
# JSON and break the program that reads it. The methods of this course are made for decoder-only
# language models; other kinds may behave differently. And the licences of all sources carry over
# to the merge.
#
# **Go further**
#
# - *Another scale:* in section 7, try lambda .6 and 1.0 for the sum. Which is best on dev? (Lesson
#   2 does this with more care.)
# - *Forget the other skill:* subtract `task_api_agentic_conflict` instead. Is it as clean?
# - *Undo the shuffle:* `nb.neurons_shuffled` draws its order from a seed. If you know the order,
#   you can put the twin's neurons back. Then the line of section 9 should be flat. Is it?
# - *Read:* the first three pages of Ilharco et al.
#
# **References.** Wortsman et al. 2022, *Model Soups*,
# [arXiv 2203.05482](https://arxiv.org/abs/2203.05482). Ilharco et al. 2022, *Editing Models with
# Task Arithmetic*, [2212.04089](https://arxiv.org/abs/2212.04089). Yadav et al. 2023,
# *TIES-Merging*, [2306.01708](https://arxiv.org/abs/2306.01708). Yu et al. 2023, *Language Models
# are Super Mario* (DARE), [2311.03099](https://arxiv.org/abs/2311.03099). Goddard et al. 2024,
# *Arcee's MergeKit*, [2403.13257](https://arxiv.org/abs/2403.13257),
# [mergekit](https://github.com/arcee-ai/mergekit).
#
# **Next:** lesson 1, interference. Two adapters, one weight, two wishes: where that happens, and
# how much of each adapter is at stake.
