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
# # SLERP: walk along the arc, and keep the length
#
# A straight line between two models cuts a corner and gets shorter on the way; SLERP walks around
# the corner. You will measure what that is worth, and whether a single factor does the same.
#
# | | |
# |---|---|
# | **Time** | about 80 minutes, 28 of them for the four exercises |
# | **Difficulty** | ●●○ |
# | **You need** | Python and a little PyTorch; sine and cosine from school. A *task vector* is what training changed in the weights: fine-tuned minus base (lesson 1). A *linear merge* is the weighted average of two models (lesson 2). |
# | **Short of time?** | Run all cells, and read the sections marked ▸, about 35 minutes: the picture, weights against task vectors, and the test of the claim. They do not need the exercises. |
# | **How to work** | Run the cells in order, also those of exercises that you leave open: later cells use their names. |
#
# **When you have finished, you can**
#
# | | level | how you can tell |
# |---|---|---|
# | say in plain words when SLERP beats a linear merge, and why | explain | your written answer, 5 points |
# | carry two arrows and ten parameters along the arc by hand | apply | sections 2 and 5, with their solutions |
# | write `angle`, `slerp`, `magnitude_kept` and a fair rival for SLERP | apply | four exercises, 19 points |
# | tell what SLERP does to full weights, and what it does to task vectors | analyse | your predictions, and the tables in sections 6 and 7 |
# | test the claim that magnitude carries what was learned | evaluate | the verdicts in section 8 |
# | choose between SLERP, a linear merge, and a linear merge with a scale | select | your playbook at the end |
#
# **Where this lesson stands.** The methods of this course are not a ladder from worse to better.
# They are answers to one problem, interference: linear merges ignore it, **SLERP avoids bad
# geometry**, TIES resolves it, DARE tries to pre-empt it by deleting entries at random.

# %%
import math

import torch

# %%
from IPython.display import display

import mergelab
from autograder import check, grade
from mergelab import notebook as nb
from mergelab.evaluation.results import compare

torch.set_num_threads(1)  # the model is small: sharing its work out costs more than it saves
predictions = nb.Predictions()

# %% [markdown]
# ## 1 ▸ A picture first
#
# Take two arrows of the same length at a right angle. One stands for what the first model learned,
# the other for what the second one learned. A merge is a way from one tip to the other. The
# number **t** says how far we have gone: **t = 0 is the first model listed**, t = 1 the second.

# %%
nb.slerp_figure(nb.Walk((1.0, 1.0), 90.0, 0.5), title="Two ways from one arrow to the other")

# %% [markdown]
# The *linear* merge takes the straight line, the **chord**. Half way it is in the right direction,
# but too short: its length is 1/√2 = .707. Nobody asked for a weaker merge.
#
# *SLERP* (spherical linear interpolation) takes the **arc**. It turns from one direction to the
# other at a steady pace, and the length stays.
#
# How much the chord loses depends only on the angle. Half way between two arrows of equal length,
# the chord keeps the cosine of half the angle:
#
# | angle | 0° | 10° | 60° | 90° | 120° | 180° |
# |---|---|---|---|---|---|---|
# | length kept half way | 1 | .996 | .866 | .707 | .5 | 0 |
#
# So before anything else we must know **the angle**. Is it near 0°, where chord and arc are the
# same, or near 90°?

# %% [markdown]
# ## 2 ▸ Two arrows, by hand
#
# First arrow [1, 0], second arrow [0, 1]. Work out the point on the chord and the point on the
# arc, and the length of each. You need no formula: at t = 1/3 the arc has turned by a third of
# 90°, which is 30°, and a point on the unit circle at 30° is [cos 30°, sin 30°].
#
# | t | chord | its length | arc | its length |
# |---|---|---|---|---|
# | 0 | | | | |
# | 1/3 | | | | |
# | 1/2 | | | | |
#
# <details><summary>Solution</summary>
#
# | t | chord | its length | arc | its length |
# |---|---|---|---|---|
# | 0 | [1, 0] | 1 | [1, 0] | 1 |
# | 1/3 | [.667, .333] | .745 | [.866, .5] | 1 |
# | 1/2 | [.5, .5] | .707 | [.707, .707] | 1 |
#
# Look at t = 1/3 once more. The chord mixes the two arrows 2 to 1. The arc mixes them .866 to .5,
# which is 1.73 to 1. So the arc is not only longer, it is also a little *more even* than the chord
# at the same t. Section 9 comes back to this.
#
# </details>

# %% [markdown]
# ## 3 ▸ The angle between two tensors
#
# A weight matrix with 16,384 entries is an arrow, too, in 16,384 dimensions. Two such arrows span
# a plane, exactly as two arrows on paper do, and in this plane they have an angle. The formula is
# the one from school: the inner product divided by both lengths is the cosine.

# %% [markdown]
# <!-- exercise: slerp/angle -->


# %% nbgrader={"grade": false, "grade_id": "angle", "locked": false, "schema_version": 3, "solution": true, "task": false}
def angle(first, second, degrees=False):
    """The angle between two tensors seen as flat vectors; None if one of them is zero."""
    ### BEGIN SOLUTION
    x, y = first.double().flatten(), second.double().flatten()
    lengths = float(x.norm()) * float(y.norm())
    if lengths == 0:
        return None
    theta = math.acos(max(-1.0, min(1.0, float(x @ y) / lengths)))
    return math.degrees(theta) if degrees else theta
    ### END SOLUTION


# %%
check("slerp/angle", angle)

# %% nbgrader={"grade": true, "grade_id": "angle_visible", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
grade("slerp/angle", angle, part="visible")

# %% nbgrader={"grade": true, "grade_id": "angle_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# Hidden cases run when you submit: the same contract on other shapes, number types and values.
### BEGIN HIDDEN TESTS
grade("slerp/angle", angle, part="hidden")
### END HIDDEN TESTS

# %% [markdown]
# ### Two angles in one pair of models
#
# The course has two adapters on one small base model: `task_api_persona`, a warm task coach, and
# `task_api_agentic`, which answers requests with tool calls in JSON. There are two kinds of arrows
# that one can draw for them:
#
# - the **full weights**: base + what the adapter changed;
# - the **task vectors**: what the adapter changed, alone.
#
# Guess both angles, in degrees, as ranges in which you expect the truth four times out of five
# (`low=20, high=40`).

# %%
predictions.range("angle between the full weights", low=None, high=None, form="{:.1f}°")

# %%
predictions.range("angle between the task vectors", low=None, high=None, form="{:.1f}°")

# %%
pair = nb.changes(*nb.LOW)
as_they_are = nb.relative_size(pair)
facts = nb.weight_slerp(pair, [0.16, as_they_are, 0.05, 0.02, 0.01, 0.0025])
now = next(each for each in facts if each.size == as_they_are)
persona, agentic = (
    torch.cat([deltas[n].flatten() for deltas in pair.deltas.values()]) for n in (0, 1)
)
of_changes = nb.walk_between(persona, agentic, names=("persona", "agentic"))
display(predictions.reveal("angle between the full weights", now.angle))
predictions.reveal("angle between the task vectors", of_changes.degrees)

# %%
found = nb.attempt_number(angle, persona, agentic, degrees=True)
if found is not None:
    print(f"Your angle between the task vectors: {found:.1f} degrees")

# %% [markdown]
# The two angles answer different questions. The full weights of both models are mostly *the same
# base*, so the arrows nearly coincide. The task vectors have left the base out. Two tasks that have
# nothing to do with each other give changes that are nearly at a right angle, because in so many
# dimensions almost any two directions are.

# %% [markdown]
# ## 4 The formula
#
# With $\theta$ for the angle, the point at $t$ on the arc is
#
# $$ \text{slerp}(a, b, t) = \frac{\sin((1-t)\,\theta)}{\sin\theta}\, a
#    + \frac{\sin(t\,\theta)}{\sin\theta}\, b $$
#
# It looks heavy, but the shape is old: *one number times a, plus another number times b*. A linear
# merge has $1 - t$ and $t$ in these places. At 90° the divisor is 1, and the two numbers are the
# cosine and the sine of $t \cdot 90°$: those of section 2. For small angles sine is nearly a
# straight line, and the formula turns into the linear merge.
#
# Two details decide how a tool behaves:
#
# - **Where $\sin\theta$ is 0 there is no arc**: parallel arrows need none, and opposite arrows have
#   too many. The tool takes the straight line there, and also if an arrow is zero.
# - **Arrows of different lengths.** The formula multiplies them as they are. The path is then a
#   piece of an ellipse, from one length to the other, not of a circle.

# %% [markdown]
# <!-- exercise: slerp/slerp -->


# %% nbgrader={"grade": false, "grade_id": "slerp", "locked": false, "schema_version": 3, "solution": true, "task": false}
def slerp(first, second, t):
    """The point at fraction `t` of the arc from `first` to `second`."""
    ### BEGIN SOLUTION
    theta = angle(first, second)
    if theta is None or math.sin(theta) < 1e-4:
        at_first, at_second = 1 - t, t
    else:
        at_first = math.sin((1 - t) * theta) / math.sin(theta)
        at_second = math.sin(t * theta) / math.sin(theta)
    return (at_first * first.float() + at_second * second.float()).to(first.dtype)
    ### END SOLUTION


# %%
check("slerp/slerp", slerp)

# %% nbgrader={"grade": true, "grade_id": "slerp_visible", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
grade("slerp/slerp", slerp, part="visible")

# %% nbgrader={"grade": true, "grade_id": "slerp_hidden", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
# Hidden cases run when you submit: the same contract on other shapes, number types and values.
### BEGIN HIDDEN TESTS
grade("slerp/slerp", slerp, part="hidden")
### END HIDDEN TESTS

# %% [markdown]
# ### The slerp circle
#
# Two arrows, the two ways between them, and the norm on the way. Use the mouse, or the Tab and
# arrow keys. The sentence under the figure says in words what it shows. Try these:
#
# 1. Leave t at .5 and turn the angle from 90° down to 5°. When can you no longer tell chord and
#    arc apart?
# 2. Turn the angle to 170°, then to 180°. What becomes of the arc?
# 3. Set the angle to 90°, the norm of the first to 2.0, and move t. Is the arc's norm always
#    between the two norms? And at 150°?
# 4. Choose the real layer: first its task vectors, then its full weights.

# %%
layer = "model.layers.1.self_attn.q_proj.weight"
changed, base = pair.deltas[layer], pair.base[layer]
real = {
    "a real layer: two task vectors": nb.walk_between(*changed, names=("persona", "agentic")),
    "the same layer: full weights": nb.walk_between(
        *(base + delta for delta in changed), names=("persona model", "agentic model")
    ),
}
nb.SlerpCircle(real)

# %% [markdown]
# If you read this without running it: below is the real layer with its two task vectors, half way.
# They are close to a right angle, and one is longer than the other.

# %%
walk = real["a real layer: two task vectors"]
display(nb.slerp_figure(walk, title="One real layer (query projection of layer 1)"))
nb.Note(nb.walk_sentence(walk))

# %% [markdown]
# ### What a tool does at the edges
#
# A good implementation says what it does where the formula has nothing to say. This table is
# computed by this course's tool, with its error messages.

# %%
nb.slerp_edges()

# %% [markdown]
# Half way between opposite arrows of equal length the result is zero: the straight line passes through the
# origin. A merge of two models that are exact opposites is the base, and no geometry changes that.
# Some tools go on for t outside 0 to 1 (it extrapolates); here it is an error, since it is mostly a
# slip. And slerp is for **exactly two** models.

# %% [markdown]
# ## 5 Ten parameters by hand
#
# These are the ten parameters that every lesson carries through its method. Fill in the last two
# rows for t = .5. Here are the sums you need: the norm of persona is .281, that of agentic .229,
# and their inner product is .0210. Round factors and results to three digits.
#
# | entry | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 |
# |---|---|---|---|---|---|---|---|---|---|---|
# | persona | +.08 | +.002 | +.15 | −.20 | +.06 | −.07 | −.001 | +.004 | −.04 | +.005 |
# | agentic | −.05 | −.001 | +.02 | −.11 | −.06 | −.06 | +.02 | +.17 | +.03 | −.006 |
# | *linear* | | | | | | | | | | |
# | *slerp* | | | | | | | | | | |
#
# <details><summary>Solution</summary>
#
# The cosine is .0210 / (.281 · .229) = .326, so the angle is about 71°. Half way both factors are
# sin 35.5° / sin 71° = .581 / .946 = .614.
#
# | entry | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 |
# |---|---|---|---|---|---|---|---|---|---|---|
# | *linear* | +.015 | +.001 | +.085 | −.155 | 0 | −.065 | +.010 | +.087 | −.005 | −.001 |
# | *slerp* | +.018 | +.001 | +.104 | −.190 | 0 | −.080 | +.012 | +.107 | −.006 | −.001 |
#
# Every entry of slerp is the linear one times 1.23. At t = .5 that is *always* so: both arrows get
# the same factor. Entry 5 is a conflict, +.06 against −.06, and slerp leaves it at 0, as linear
# does. **SLERP resolves no conflict.**
#
# </details>

# %%
ten = nb.ten_parameters()
by_hand = nb.attempt_like(ten[0], slerp, *ten, 0.5)
if by_hand is not None:
    shown = [f"{x:+.3f}" if x else "0" for x in by_hand.tolist()]
    print("slerp of the ten parameters:", " ".join(shown))

# %% [markdown]
# ## 6 ▸ The fact most tutorials miss: between full weights the arc is almost straight
#
# Most tools and tutorials use SLERP on full weights. Remember the angle that you saw there in
# section 3. It depends on how large the changes are beside the weights (|ΔW| / |W|), and another
# model may have smaller ones than ours.
#
# We can have every case, by multiplying the changes of our two adapters up or down. mergekit, the
# most used tool, takes the straight line wherever the cosine of a tensor exceeds .9995.
#
# How to read the last three columns: by how much SLERP differs from the average (the norm of their
# difference over the norm of the average's change); how many tensors have a cosine above .9995; and
# by how much SLERP differs from the average if those tensors take the straight line.

# %%
nb.weight_slerp_table(facts, as_it_is=as_they_are)

# %%
exact = [f"{each.size * 100:g}%" for each in facts if each.straight == each.tensors]
nb.Note(
    f"As they ship, the adapters change the weights by {now.size:.1%}. The difference between "
    f"SLERP of the full weights and their average is {now.differs:.1%} as large as the change that "
    "the average makes. "
    + (
        f"At {' and '.join(exact)} every tensor is in mergekit's straight line: its SLERP is the "
        "linear merge, exactly."
        if exact
        else "At none of these sizes are all tensors in mergekit's straight line."
    )
)

# %% [markdown]
# Does the small difference at the adapters' own size change what the merged model does? Scores are
# strict: 1 for a reply that is right in every part, else 0. *Combined* is the mean of two suites,
# `persona` (chats for the coach) and `agentic` (requests for tool calls). We use 150 items of each
# suite's **dev** split; the **test** split stays closed until every choice is made.

# %%
predictions.choice(
    "SLERP of full weights against linear, t = .5",
    None,
    among=("SLERP ahead", "linear ahead", "no clear difference"),
)


# %%
def slerp_at(t, models=nb.LOW, **settings):
    """A recipe for SLERP of two adapters; t = 0 is the first."""
    return nb.recipe("slerp", models, t=t, **settings)


def linear_at(t, models=nb.LOW):
    """A recipe for the linear merge at the same t."""
    return nb.recipe("linear", models, weights=(1 - t, t))


alone = [nb.measure_alone(name, name=f"{name.split('_')[2]} alone") for name in nb.LOW]
average, average_size = nb.measure("linear, t .5", linear_at(0.5))
of_weights, _ = nb.measure("SLERP of full weights, t .5", slerp_at(0.5, space="weights"))
nb.scores_table([*alone, average, of_weights])

# %%
gap = compare(of_weights, average)["combined"]
answer = {1: "SLERP ahead", -1: "linear ahead", 0: "no clear difference"}[nb.beyond_noise(gap)]
display(predictions.reveal("SLERP of full weights against linear, t = .5", answer))
nb.Note(nb.difference_sentence("SLERP of full weights", "the linear merge", gap))

# %% [markdown]
# ## 7 ▸ Between task vectors it is a real arc
#
# Now SLERP of the *task vectors*: the changes are merged along their arc, and the result is added
# to the base. In a recipe the choice is called `space`. This one ships with the course:

# %%
print(mergelab.data_path("recipes", "slerp.yaml").read_text())

# %% [markdown]
# First a guess. The report's *magnitude kept* is the norm of the merged change divided by the mean
# norm of the two task vectors. What will the linear merge keep, half way, given the angle that you
# know now?

# %%
predictions.range("magnitude kept by the linear merge", low=None, high=None)

# %%
merged = mergelab.merge(slerp_at(0.5))
display(predictions.reveal("magnitude kept by the linear merge", average_size))
nb.merge_report_table(merged.report)

# %%
arc_size = merged.report.total().magnitude_kept
nb.Note(
    f"Magnitude kept of the task vectors: SLERP {arc_size:.1%}, linear {average_size:.1%}. "
    "Published for SLERP: 99.7%. But of what? Of the full weights our plain linear merge keeps "
    f"{now.kept:.1%}"
    + (
        ": there, the published figure needs no SLERP at all."
        if now.kept >= 0.997
        else ", which is less than the published figure."
    )
)

# %% [markdown]
# (SLERP can keep a little more or less than 100%. The formula keeps the length exactly only between
# arrows of equal length, and these two are not: one adapter changed more than the other.) The report
# also counts sign conflicts, entries that the two adapters push in opposite directions. SLERP
# resolves none of them.

# %% [markdown]
# <!-- exercise: slerp/magnitude_kept -->


# %% nbgrader={"grade": false, "grade_id": "magnitude_kept", "locked": false, "schema_version": 3, "solution": true, "task": false}
def magnitude_kept(merged, sources, weights=None):
    """Norm of a merge over the weighted mean norm of its sources; None if that mean is 0."""
    ### BEGIN SOLUTION
    sizes = [1.0] * len(sources) if weights is None else [abs(w) for w in weights]
    norms = [float(source.double().norm()) for source in sources]
    total = sum(size * norm for size, norm in zip(sizes, norms, strict=True))
    if total == 0:
        return None
    return float(merged.double().norm()) * sum(sizes) / total
    ### END SOLUTION


# %%
check("slerp/magnitude_kept", magnitude_kept)

# %% nbgrader={"grade": true, "grade_id": "magnitude_kept_visible", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
grade("slerp/magnitude_kept", magnitude_kept, part="visible")

# %% nbgrader={"grade": true, "grade_id": "magnitude_kept_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# Hidden cases run when you submit: the same contract on other shapes, number types and values.
### BEGIN HIDDEN TESTS
grade("slerp/magnitude_kept", magnitude_kept, part="hidden")
### END HIDDEN TESTS

# %% [markdown]
# Your functions against the tool, on the real layer of the slerp circle:

# %%
line = (changed[0] + changed[1]) / 2
reported = next(row for row in merged.report.per_tensor() if row.label == layer)
kept = [
    nb.attempt_number(magnitude_kept, tensor, changed)
    for tensor in (line, merged.tensors[layer] - base)
]
yours = nb.attempt_like(base, slerp, *changed, 0.5)
if None not in kept:
    print(f"Kept, by your function: linear {kept[0]:.3f}, slerp {kept[1]:.3f}")
    print(f"Kept, by the report:    slerp {reported.magnitude_kept:.3f}")
if yours is not None:
    difference = float((base + yours - merged.tensors[layer]).abs().max())
    print(f"Largest difference between your slerp and the tool's: {difference:.0e}")

# %% [markdown]
# ### Does it help?
#
# The same merge, one in a straight line, one along the arc. By how much will the combined score of
# SLERP exceed that of linear at t = .5? (A negative number if you expect it to be lower.)

# %%
predictions.range("lead of SLERP over linear at t = .5", low=None, high=None)

# %%
arc, chord = {}, {0.5: average}
size_at = {}
arc[0.5], size_at[0.5] = nb.measure("SLERP, t .5", slerp_at(0.5))
lead = compare(arc[0.5], average)["combined"]
display(predictions.reveal("lead of SLERP over linear at t = .5", lead.estimate))
display(nb.scores_table([average, of_weights, arc[0.5]]))
nb.Note(nb.difference_sentence("SLERP of the task vectors", "the linear merge", lead))

# %% [markdown]
# ## 8 ▸ Put the claim to the test: is it the arc, or is it the size?
#
# The usual reason given for SLERP is: *magnitude encodes learned strength, so a merge must keep
# it.* That can be tested, because magnitude is easy to change. Take the **linear** merge and
# multiply it by one number until it is as large as the SLERP merge. Same straight line, no arc, no
# trigonometry.
#
# - If this scores higher than the plain linear merge, then size alone carries strength, and the
#   claim holds here.
# - If SLERP still scores higher than *this*, then the arc is worth something beyond size.
#
# What will be left of SLERP's lead at t = .5?

# %%
predictions.choice(
    "what is left of SLERP's lead at the same size",
    None,
    among=("more than noise", "nothing these items can show", "less than nothing"),
)


# %%
def same_size(t, size, models=nb.LOW):
    """The linear merge at t, multiplied until its magnitude kept is `size`."""
    return nb.sized(size, nb.recipe("task_arithmetic", models, weights=(1 - t, t)))


stretched = {0.5: nb.measure("linear, SLERP's size, t .5", same_size(0.5, size_at[0.5]))[0]}
by_size = compare(stretched[0.5], average)["combined"]
by_path = compare(arc[0.5], stretched[0.5])["combined"]
left = {1: "more than noise", 0: "nothing these items can show", -1: "less than nothing"}
display(
    predictions.reveal(
        "what is left of SLERP's lead at the same size", left[nb.beyond_noise(by_path)]
    )
)
display(nb.scores_table([average, stretched[0.5], arc[0.5]]))
nb.Note(nb.size_or_path(by_size, by_path))

# %% [markdown]
# You could have known a part of this without a measurement. At t = .5 both factors in the formula
# of SLERP are equal. So SLERP of a tensor *is* its linear merge times a number, and the tool only
# chooses that number tensor by tensor.
#
# Now write such a rival yourself, for any t. It differs from the one above in two ways: that one
# multiplies the whole merge by a single number until it has SLERP's size; yours stretches each
# tensor by itself, to the norm that lies between the norms of its two sources.

# %% [markdown]
# <!-- exercise: slerp/rescaled_linear -->


# %% nbgrader={"grade": false, "grade_id": "rescaled_linear", "locked": false, "schema_version": 3, "solution": true, "task": false}
def rescaled_linear(first, second, t):
    """The linear merge, stretched to the norm that lies between the two norms."""
    ### BEGIN SOLUTION
    line = (1 - t) * first.float() + t * second.float()
    wanted = (1 - t) * first.float().norm() + t * second.float().norm()
    size = line.norm()
    if size > 0:
        line = line * (wanted / size)
    return line.to(first.dtype)
    ### END SOLUTION


# %%
check("slerp/rescaled_linear", rescaled_linear)

# %% nbgrader={"grade": true, "grade_id": "rescaled_linear_visible", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
grade("slerp/rescaled_linear", rescaled_linear, part="visible")

# %% nbgrader={"grade": true, "grade_id": "rescaled_linear_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# Hidden cases run when you submit: the same contract on other shapes, number types and values.
### BEGIN HIDDEN TESTS
grade("slerp/rescaled_linear", rescaled_linear, part="hidden")
### END HIDDEN TESTS

# %%
for t in (0.5, 0.3):
    rival = nb.attempt_like(base, rescaled_linear, *changed, t)
    if rival is None:
        break
    point = mergelab.merge(slerp_at(t)).tensors[layer] - base
    apart = nb.walk_between(rival, point)
    ratio = apart.norms[0] / apart.norms[1]
    print(
        f"t = {t}: your rival and SLERP are {apart.degrees:.1f}° apart, norms in ratio {ratio:.2f}"
    )

# %% [markdown]
# Half way the two lie on one line from the origin. Their norms still differ a little: between
# vectors of unequal length the arc is a piece of an ellipse, and here it is somewhat longer than the
# norm that lies between the two (section 4 gives its share in percent). Elsewhere they do not quite
# point the same way. The next section measures whether that matters, and says where it comes from.

# %% [markdown]
# ## 9 The whole way from t = 0 to t = 1
#
# The published comparison, on a 3-billion-parameter model:
#
# | t | .3 | .5 | .7 |
# |---|---|---|---|
# | SLERP, published | .867 | .891 | .872 |
# | linear, published | .851 | .878 | .859 |
#
# "1 to 2% better", says the source, with the magnitude preserved to 99.7%. (Another table of the
# same source, which lesson 6 shows, has .881 for SLERP and .867 for linear. With 50 items a suite,
# chance alone moves the mean of two suites by about .03, so both tables can be honest.) We repeat
# it, with t = .4 in addition, and put the stretched line beside it. At t = 0 and t = 1 all of them
# are one of the adapters alone.

# %%
published = {
    "SLERP": {0.3: 0.867, 0.5: 0.891, 0.7: 0.872},
    "linear": {0.3: 0.851, 0.5: 0.878, 0.7: 0.859},
}
for t in (0.3, 0.4, 0.7):
    arc[t], size_at[t] = nb.measure(f"SLERP, t {t}", slerp_at(t))
    chord[t], _ = nb.measure(f"linear, t {t}", linear_at(t))
for t in (0.3, 0.4, 0.7):
    stretched[t], _ = nb.measure(f"linear, SLERP's size, t {t}", same_size(t, size_at[t]))
ends = dict(zip((0.0, 1.0), alone, strict=True))
curves = {"SLERP": ends | arc, "linear": ends | chord, "linear, SLERP's size": ends | stretched}
nb.t_plot(curves, published, title="First pair: score along t, with 95% intervals")

# %%
nb.Table(["t", *curves], nb.t_rows(curves, sorted(ends | arc)))

# %%
nb.Note(nb.published_lead(arc, chord, published["SLERP"], published["linear"]))

# %% [markdown]
# (The published figures come without intervals. With 50 items a suite, chance alone moves the lead
# of one combined score over another by about .045, its standard error. Leads of .013 to .016 are
# well inside that.)
#
# Now take the lead apart at each t, as in section 8.

# %%
parts = {
    f"t = {t:g}": [
        ("size", compare(stretched[t], chord[t])["combined"]),
        ("the arc", compare(arc[t], stretched[t])["combined"]),
    ]
    for t in (0.3, 0.5, 0.7)
}
nb.differences_plot(parts, title="Where SLERP's lead over linear comes from")

# %%
for label, ((_, by_size), (_, by_path)) in parts.items():
    display(nb.Note(f"At {label}: {nb.size_or_path(by_size, by_path)}"))

# %% [markdown]
# If something is left for the arc away from the middle, is that magic of the sphere? Go back to
# section 2: at the same t the arc mixes *more evenly* than the chord. At 90° and t = .3 its two
# factors are
#
# - sin 63° = .891 and sin 27° = .454, that is 1.96 to 1, against
# - .7 and .3, that is 2.33 to 1, for the chord.
#
# A sum with the weights .891 and .454 needs no SLERP at all: it is task arithmetic (lesson 2).
# Here it is, beside SLERP at t = .3.

# %%
weights = nb.Walk((1.0, 1.0), 90.0, 0.3).factors("arc")
plain_sum = nb.recipe("task_arithmetic", weights=weights)
as_sum, _ = nb.measure(f"sum with {weights[0]:.3f} and {weights[1]:.3f}", plain_sum)


def change(recipe):
    """What a merge changes in the base, as one long vector."""
    tensors = mergelab.merge(recipe).tensors
    return torch.cat([(tensors[name] - pair.base[name]).flatten() for name in pair.base])


by_arc, by_sum = change(slerp_at(0.3)), change(plain_sum)
display(nb.scores_table([arc[0.3], as_sum]))
nb.Note(
    f"The changes of the two merges differ by {float((by_arc - by_sum).norm() / by_arc.norm()):.1%} "
    "of their size, which comes from tensors whose angle is not exactly 90°. "
    + nb.difference_sentence("SLERP", "this sum", compare(arc[0.3], as_sum)["combined"])
)

# %% [markdown]
# So here is SLERP without mystery. **It is a rule that picks two weights from t and the angle.** Near
# 90° the weights are cos and sin of t · 90°: they keep the size, and they are more even than 1 − t
# and t. Tensor by tensor, a linear merge with a free scale and its own t reaches every point that
# SLERP reaches.
# What SLERP offers is a good default with one dial instead of two.

# %% [markdown]
# ## 10 The conflict pair, and the final comparison
#
# A second pair ships with the course. Its adapters were also trained to answer *some of the other's
# prompts in their own style*. SLERP still averages conflicts, so what can we expect?

# %%
hard_arc, hard_chord = {}, {}
for t in (0.3, 0.5):
    hard_chord[t], _ = nb.measure(f"linear, t {t}", linear_at(t, nb.CONFLICT))
    hard_arc[t], size = nb.measure(f"SLERP, t {t}", slerp_at(t, nb.CONFLICT))
hard_same, _ = nb.measure("linear, SLERP's size, t .5", same_size(0.5, size, nb.CONFLICT))
rows = [hard_chord[0.3], hard_arc[0.3], hard_chord[0.5], hard_same, hard_arc[0.5]]
display(nb.scores_table(rows, caption="Conflict pair"))
nb.Note(
    "Conflict pair, t = .5. "
    + nb.size_or_path(
        compare(hard_same, hard_chord[0.5])["combined"],
        compare(hard_arc[0.5], hard_same)["combined"],
    )
)

# %% [markdown]
# Those were comparisons for choosing. Now each way of merging enters with its best t, **once**, on
# the test split, for the first pair. Each had four values of t to choose from, so none has had more
# luck to pick from than another.

# %%
entries = {
    "SLERP": (arc, slerp_at),
    "linear": (chord, linear_at),
    "linear, SLERP's size": (stretched, lambda t: same_size(t, size_at[t])),
}
finalists = []
for name, (measured, recipe_at) in entries.items():
    best = max(sorted(measured), key=lambda t: measured[t].combined.estimate)
    finalists.append(nb.measure(f"{name}, t {best}", recipe_at(best), split="test")[0])
display(nb.scores_table(finalists, caption="First pair, each at its best t"))
for other in finalists[1:]:
    against = compare(finalists[0], other)["combined"]
    display(nb.Note(nb.difference_sentence(finalists[0].model, other.model, against)))

# %% [markdown]
# ## 11 When to use it, and when not
#
# **What SLERP does badly**
#
# - *Two models only.* An arc has two ends. Of three models one can merge two and then the third
#   with the result, but the outcome depends on the order. Tools offer relatives: `nuslerp` is SLERP
#   with two weights in place of t (in mergekit, with a base, it works on task vectors);
#   `multislerp` averages the directions of any number of models and puts the result back on the
#   sphere; `karcher` walks to the point of the sphere with the smallest sum of squared arcs. For
#   two models of equal weight and length all of them are the half way point you know.
# - *It still averages conflicts.* Entry 5 of the ten parameters ended at 0. TIES (lesson 4) decides
#   such entries; SLERP does not look at entries at all, only at whole tensors.
# - *Trigonometry where a factor would do.* Its edge cases, and the question "of weights or of task
#   vectors?", are there to be got wrong.
#
# **The usual advice:** SLERP for *two similar models*. Your measurements make it sharper:
#
# | you have | then |
# |---|---|
# | two full models, close to each other | SLERP of weights and linear are nearly or exactly the same; take linear |
# | two task vectors near 90° | do not let the average shrink them: SLERP of task vectors, or a sum with a scale of about .7 |
# | one skill should weigh more | move t; at the same t, SLERP mixes more evenly than linear |
# | clear sign conflicts | SLERP does not resolve them; try TIES (lesson 4) and compare |
# | three models or more | not SLERP |
# | always | compare with linear, and with linear *at the same size* |

# %% [markdown]
# ### Spot the invented output
#
# This log was made up for the course. Four of its lines cannot be true. Which, and why?
#
# ```text
# slerp of 2 models, t = 0.5, space: task_vectors
# layer 0   angle  90.0°   norms 1.00 and 1.00   factors 0.500 and 0.500   kept 100.0%
# layer 1   angle  60.0°   norms 1.00 and 1.00   factors 0.577 and 0.577   kept 100.0%
# layer 2   angle 190.4°   norms 1.00 and 1.10   factors 0.712 and 0.712   kept  98.8%
# layer 3   angle  90.0°   norms 2.00 and 1.00   factors 0.707 and 0.354   kept 105.4%
# linear for comparison: layer 1 keeps 70.7%
# ```
#
# <details><summary>What cannot be true</summary>
#
# 1. Layer 0: at 90° both factors are .707. With .5 and .5 it would be the chord, which keeps 70.7%.
# 2. Layer 2: an angle lies between 0° and 180°.
# 3. Layer 3: half way both factors are equal, whatever the norms are. (With .707 and .707 the merge
#    has norm 1.58 against a mean of 1.5, so 105.4% would be right.)
# 4. The last line: at 60° the chord keeps cos 30° = 86.6%. 70.7% belongs to 90°.
#
# Layer 1 is possible: sin 30° / sin 60° = .577, and equal norms are kept exactly.
#
# </details>

# %% [markdown]
# ## In your own words · 5 points · read by a person
#
# A colleague says: "I always use SLERP, it is just better than averaging." **When does SLERP beat a
# linear merge, and why?** Write five or six sentences, without formulas and without symbols.
#
# A full answer says what happens to the length of a merge on a straight line; for which kind of
# arrows this is large and for which it is next to nothing; how one can get the same effect without
# SLERP; what SLERP does not do; and one measurement from this lesson that supports what you say.

# %% [markdown] nbgrader={"grade": true, "grade_id": "when_slerp", "locked": false, "points": 5, "schema_version": 3, "solution": true, "task": false}
# A linear merge goes straight from one model to the other and gets shorter on the way, so both
# skills arrive weaker than they were; SLERP goes around in an arc and keeps the length. How much
# that matters depends on the angle. The full weights of two fine-tunes of one base point almost the
# same way, so the arc is nearly a straight line and SLERP is nearly, or even exactly, the average.
# The changes that two different tasks made are almost at a right angle, and there the average loses
# about three tenths of its length, which SLERP keeps. Making the linear merge longer by one factor
# does the same half way; away from the middle SLERP also mixes the two more evenly, which other
# weights would do as well. It does not resolve conflicts: where two models pull a weight in opposite
# directions, they still cancel, and it takes two models only. In this lesson I compared SLERP with
# a linear merge of the same size at half way, and read off what was left of its lead.
#
# **Rubric, one point each:** (1) a straight line between two directions loses length, and with it
# strength; (2) the angle decides: large effect between task vectors near a right angle, none or
# almost none between full weights; (3) the same size can be had by scaling the linear merge (or by
# other weights in a sum); (4) names a limit: conflicts are still averaged, or two models only; (5)
# refers to a measurement of this lesson and reads it correctly. Formulas or unexplained symbols: at
# most 4 points.

# %% [markdown]
# ## Look back
#
# How good were your guesses?

# %%
predictions.calibration()

# %% [markdown]
# **What you can now do.** Explain chord and arc. Measure the angle between two models, and say which
# angle you measured. Write SLERP with its edge cases. Say what "magnitude kept" is kept of. Separate
# the effect of size from the effect of a path. See that a two-model merge is two weights, whatever
# its name.
#
# **Your playbook.** Answer in the cell below, in your own words: When would I try SLERP, and in which
# space? Which t would I start from, and which range would I try (the usual one is .3 to .7)? What
# would I compare it with, and at which size? How would I test *both* skills? Which warning sign would
# make me throw a merge away (for instance: it is below both of its sources)?

# %% [markdown]
# *My playbook, SLERP:* …

# %% [markdown]
# **Three prompts to try with an AI assistant**
#
# 1. "Give me two vectors with four entries each. I compute angle, chord and arc for t = .25 by
#    hand; you check me step by step and do not give results away." *Trains:* the geometry. Check
#    the assistant with your `slerp`; do not take its word.
# 2. "A blog post says SLERP preserves 99.7% of the magnitude and is therefore better than averaging.
#    Ask me questions until I find what is missing in this argument." *Trains:* asking "of what?" and
#    "compared with what?".
# 3. "Here is my results table of SLERP and linear at five values of t: … Design the one extra
#    experiment that tells me whether the arc or the size made the difference." *Trains:* fair
#    comparisons.
#
# **Before you use a merge.** A merged model can behave in ways that none of its sources did.
# Evaluate both capabilities, not only the average of them. The licences of all sources carry over to
# the merge.
#
# **Go further**
#
# - *A step that does nothing.* mergekit's `multislerp` first averages the directions and puts the
#   mean on the sphere; then it averages the directions once more in the flat space that touches the
#   sphere at this mean, and adds the result. Show on paper that this second average is zero.
#   (Project the weighted sum of the directions onto that flat space. Where does the sum point?)
# - *Row by row.* `nuslerp` can treat every row of a matrix as an arrow of its own. Does the angle
#   vary much between the rows of our real layer? Would you expect another score?
# - *Norms apart.* Add `norm: interpolate` to the recipe: directions along the arc, norms in a straight
#   line. Which of the two does the published formula use, and how much do they differ here?
# - *Per layer.* In a recipe, `t: [0.3, 0.7]` runs from .3 in the first layer to .7 in the last. Which
#   skill gains?
#
# **References.** Shoemake 1985, *Animating Rotation with Quaternion Curves*, SIGGRAPH. Wortsman et
# al. 2022, *Model Soups*, [arXiv 2203.05482](https://arxiv.org/abs/2203.05482). Ilharco et al. 2022,
# *Editing Models with Task Arithmetic*, [2212.04089](https://arxiv.org/abs/2212.04089). Yadav et al.
# 2023, *TIES-Merging*, [2306.01708](https://arxiv.org/abs/2306.01708). Yu et al. 2023, *Language
# Models are Super Mario* (DARE), [2311.03099](https://arxiv.org/abs/2311.03099). Goddard et al. 2024,
# *Arcee's MergeKit*, [2403.13257](https://arxiv.org/abs/2403.13257),
# [mergekit](https://github.com/arcee-ai/mergekit).
#
# **Next:** lesson 4, TIES. It looks at every single entry, and holds a vote where two models
# disagree.
