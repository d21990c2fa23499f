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
# # Capstone: three adapters, your method, one model card
#
# A third adapter joins. You merge all three, with published methods and with one of your own, judge
# the results as you would judge somebody else's, and write down what a user must know.
#
# | | |
# |---|---|
# | **Time** | about 90 minutes, 31 of them for the four exercises |
# | **Difficulty** | ●●● |
# | **You need** | Lessons 1 to 6: task vectors, sums and their scale, TIES, random drops, intervals. Lesson 7 helps in section 5. |
# | **Short of time?** | Do the parts marked ▸, about 35 minutes: the third adapter, the sum of three, the mixer, the verdict on newer methods, and the chart at the end. |
# | **How to work** | Run the cells in order, also those of exercises that you leave open: later cells use their names. |
#
# **When you have finished, you can**
#
# | | level | how you can tell |
# |---|---|---|
# | say what happens to each adapter's share when a third one joins | explain | the table in section 1, with its solution |
# | compute what a merge kept of each skill, and spot a merge below all of its sources | analyse | exercise `retained`, 4 points |
# | merge three adapters without ever holding a whole task vector | apply | exercise `merge_rows`, 5 points |
# | design a merge method, and test it on items nobody has seen | evaluate | exercise `my_method`, 7 points; the leaderboard |
# | judge newer methods by a fair comparison instead of by a published table | evaluate | your prediction and the verdict in section 7 |
# | write the part of a model card that matters: licences, losses, gaps | apply | exercise `card_facts`, 3 points |
# | choose a method for a colleague, and say on what evidence | select | your written answer, 5 points; your playbook |
#
# **Where this lesson stands.** The course had one problem, interference, and several answers. Linear
# merges ignore it, SLERP avoids bad geometry, TIES resolves it, DARE tries to pre-empt it. Here you
# put them to work on a harder case.

# %%
import json

import torch

# %%
from IPython.display import display
from safetensors.torch import load_file

import mergelab
from autograder import check, grade
from mergelab import notebook as nb
from mergelab.evaluation.generation import generate_replies
from mergelab.evaluation.results import compare
from mergelab.evaluation.suites import load_suite
from mergelab.methods import ties
from mergelab.model_card import model_card, stated_licence

torch.set_num_threads(1)  # the model is small: sharing its work out costs more than it saves
predictions = nb.Predictions()
SKILLS = ("persona", "agentic", "digest")
three = nb.changes(*nb.THREE)  # the three task vectors of every tensor

# %% [markdown]
# ## 1 ▸ One weight, three adapters
#
# With two adapters an average leaves each one half. Look at what happens with three. On the left,
# one adapter has a strong opinion; the tiny changes of the others have been trimmed. On the right, two
# want down and one wants up.

# %%
nb.vote_plot(
    {
        "One is left after the trim": {"persona": 0.0, "agentic": 0.17, "digest": 0.0},
        "Two against one": {"persona": -0.07, "agentic": -0.06, "digest": 0.21},
    }
)

# %% [markdown]
# In an average of three, a change that only one adapter wants is divided by **three**. With N
# adapters it is divided by N. TIES divides by the number of those that *agree*, in both
# plots one. A plain
# sum divides by nothing; its **scale** (lambda) decides.
#
# **By hand.** The ten parameters once more, now with all three models. Fill in the average, and the
# sum at scale .7.
#
# | entry | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 |
# |---|---|---|---|---|---|---|---|---|---|---|
# | persona | +.08 | +.002 | +.15 | −.20 | +.06 | −.07 | −.001 | +.004 | −.04 | +.005 |
# | agentic | −.05 | −.001 | +.02 | −.11 | −.06 | −.06 | +.02 | +.17 | +.03 | −.006 |
# | third | +.12 | +.003 | −.01 | −.05 | +.001 | +.21 | +.14 | +.002 | +.09 | −.004 |
# | *average* | | | | | | | | | | |
# | *sum × .7* | | | | | | | | | | |
#
# <details><summary>Solution</summary>
#
# | entry | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 |
# |---|---|---|---|---|---|---|---|---|---|---|
# | *average* | +.05 | +.001 | +.053 | −.12 | +.0003 | +.027 | +.053 | +.059 | +.027 | −.002 |
# | *sum × .7* | +.105 | +.003 | +.112 | −.252 | +.0007 | +.056 | +.111 | +.123 | +.056 | −.004 |
#
# Entry 8: agentic wanted +.17. The average leaves .059 of it, a third; the sum at .7 leaves .123.
# Entry 4: all three want down, and there the sum is *larger* than what any of them wanted. One scale
# cannot be right for both entries. Remember this when you look for a method of your own.
#
# </details>

# %% [markdown]
# ## 2 ▸ Meet the third adapter
#
# `task_api_digest` sums up a task in one terse line. Here is one prompt, and what each adapter makes
# of it. Then all three are scored on all three skills.

# %%
item = load_suite("digest", "dev")[0]
rows = []
for name in nb.THREE:
    reply = generate_replies(*mergelab.load_model(name), [item])[0]
    rows.append([name.removeprefix("task_api_"), reply])
nb.Table(["adapter", "reply"], rows, caption=item.input, text_columns=(1,))

# %%
alone = {
    name: nb.measure_alone(name, name=name.removeprefix("task_api_"), items=100, skills=SKILLS)
    for name in nb.THREE
}
nb.scores_table(list(alone.values()))

# %% [markdown]
# Read the table by rows: each adapter has its own skill and no other. Read it by columns: the best
# score in a column is what a merge of three could hope for.
#
# Do the three know of each other? The cosine between two task vectors says how far they point in one
# direction; 0 means unrelated.

# %%
pairs = [(i, j) for i in range(3) for j in range(i)]
flat = [torch.cat([deltas[i].flatten() for deltas in three.deltas.values()]) for i in range(3)]
nb.Table(
    ["pair", "cosine"],
    [
        [f"{SKILLS[j]}, {SKILLS[i]}", f"{float(torch.cosine_similarity(flat[i], flat[j], 0)):+.2f}"]
        for i, j in pairs
    ],
)

# %% [markdown]
# ## 3 ▸ Merge three
#
# First the average, where each adapter keeps a third of its size. Predict: which skill suffers most,
# and what is the combined score, the mean of the three skills? (Four times out of five your range
# should catch it.)

# %%
display(predictions.choice("weakest skill of the average", None, among=SKILLS))
predictions.range("combined score of the average of three", low=None, high=None)

# %%
average, _ = nb.measure("average", nb.recipe("linear", nb.THREE), items=100, skills=SKILLS)
display(predictions.reveal("weakest skill of the average", nb.weakest(average)))
display(predictions.reveal("combined score of the average of three", average.combined.estimate))
nb.scores_table([average])

# %% [markdown]
# If an adapter is too small, make the sum larger. The curve shows the plain sum of the three along
# its scale. (These points were measured once, on the dev split; they are read from
# `data/tables/three_skills.json`, which `python -m mergelab.notebook.capstone_table` makes. The
# table holds item by item what was right, so intervals and differences are computed here.)

# %%
tried = {
    entry.scale: entry.evaluation
    for entry in nb.three_table()
    if (entry.group, entry.name) == ("dev", "sum")
}
nb.sweep_plot(tried, knob="scale (lambda)", title="A sum of three", method="task_arithmetic")

# %%
best = nb.best_on_dev("sum")
nb.Note(f"{nb.dial_sentence(tried)} Best combined on dev: scale {best.scale:g}.")

# %% [markdown]
# The scale is now *chosen*, on dev. A combined score hides who pays, so the next thing to write is
# an account: what did the merge keep of each skill, which one fared worst, and is the merge below
# all of its sources? The last one is the warning sign of this course: if a single adapter alone has
# a better mean, the merge was not worth it.

# %% [markdown]
# <!-- exercise: capstone/retained -->


# %% nbgrader={"grade": false, "grade_id": "retained", "locked": false, "schema_version": 3, "solution": true, "task": false}
def retained(merged, alone):
    """What a merge kept of each skill, the worst skill, and whether it is below all its sources."""
    ### BEGIN SOLUTION
    kept = {}
    for skill, score in merged.items():
        best = max(scores[skill] for scores in alone.values())
        kept[skill] = score / best if best else None
    known = sorted(skill for skill, share in kept.items() if share is not None)

    def mean(scores):
        return sum(scores.values()) / len(scores)

    return {
        "kept": kept,
        "worst": min(known, key=kept.get) if known else None,
        "below_all": all(mean(merged) < mean(scores) for scores in alone.values()),
    }
    ### END SOLUTION


# %%
check("capstone/retained", retained)

# %% nbgrader={"grade": true, "grade_id": "retained_visible", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
grade("capstone/retained", retained, part="visible")

# %% nbgrader={"grade": true, "grade_id": "retained_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# Hidden cases run when you submit: the same contract on other values.
### BEGIN HIDDEN TESTS
grade("capstone/retained", retained, part="hidden")
### END HIDDEN TESTS


# %%
def plain(evaluation):
    return {skill: result.rate.estimate for skill, result in evaluation.skills.items()}


mine = nb.attempt(retained, plain(average), {name: plain(one) for name, one in alone.items()})
print("Yours, for the average:", mine)

# %% [markdown]
# The course's own version of that account, for the average and for the sum at the chosen scale:

# %%
chosen, _ = nb.measure(
    f"sum × {best.scale:g}", nb.three_recipe("sum", best.scale), items=100, skills=SKILLS
)
display(nb.kept_table([average, chosen], alone))
nb.Note(nb.difference_sentence(chosen.model, "the average", compare(chosen, average)["combined"]))

# %% [markdown]
# ## 4 ▸ The mixer
#
# One scale for all three is a compromise. What if each adapter has its own weight? Use the sliders
# (mouse, or Tab and arrow keys). Every position was measured on dev items beforehand, so this is a
# place for ideas, not for final figures.
#
# 1. The sliders start at .8, .8 and .4. Set all three to .8. Which single slider, moved down one step,
#    helps the others most?
# 2. Set one weight to .4. Does its skill fade slowly, or is there an edge?
# 3. Find a position at which agentic is good and digest is still alive. What did persona pay?

# %%
display(nb.mixer_figure(nb.mixed((0.8, 0.8, 0.8))))
nb.ThreeMixer(start=(0.8, 0.8, 0.4))

# %% [markdown]
# The upper figure stays (all weights .8), the lower one follows the sliders. What you do here is
# tuning on dev: with 27 positions and 60 items a skill, the best position is partly luck. Lesson 6
# has shown how much.
#
# ## 5 A merge of three in little memory
#
# Three adapters for one matrix of 4,096 × 4,096 at rank 16. A whole task vector in float32 takes 4096
# · 4096 · 4 bytes = **67 MB**, and three of them 201 MB, for each of hundreds of matrices. The
# factors take 2 · 16 · 4096 · 4 bytes = **.5 MB** per adapter. And 256 rows of the matrix are 4.2 MB.
#
# A weighted sum works on each entry by itself. So nothing forces us to have all rows at once, and
# nothing forces us to multiply `B @ A` out as a whole.

# %% [markdown]
# <!-- exercise: capstone/merge_rows -->


# %% nbgrader={"grade": false, "grade_id": "merge_rows", "locked": false, "schema_version": 3, "solution": true, "task": false}
def merge_rows(base_rows, start, factors, weights, lam=1.0):
    """A weighted sum of adapters for some rows of one matrix, without a whole task vector."""
    ### BEGIN SOLUTION
    total = base_rows.float().clone()
    stop = start + len(base_rows)
    for (a, b, scaling), weight in zip(factors, weights, strict=True):
        total += (lam * weight * scaling) * (b[start:stop] @ a)
    return total.to(base_rows.dtype)
    ### END SOLUTION


# %%
check("capstone/merge_rows", merge_rows)

# %% nbgrader={"grade": true, "grade_id": "merge_rows_visible", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
grade("capstone/merge_rows", merge_rows, part="visible")

# %% nbgrader={"grade": true, "grade_id": "merge_rows_hidden", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
# Hidden cases run when you submit: the same contract on other values.
### BEGIN HIDDEN TESTS
grade("capstone/merge_rows", merge_rows, part="hidden")
### END HIDDEN TESTS

# %% [markdown]
# Your function on a real matrix, 16 rows at a time, against the whole task vectors:


# %%
def factors_of(name, where):
    """A, B and the scaling of one matrix of a shipped adapter."""
    folder = mergelab.data_path("adapters", name)
    settings = json.loads((folder / "adapter_config.json").read_text())
    stored = load_file(folder / "adapter_model.safetensors")
    a, b = (stored[f"base_model.model.{where}.lora_{x}.weight"].float() for x in "AB")
    return a, b, settings["lora_alpha"] / settings["r"]


where = "model.layers.1.mlp.down_proj"
matrix = three.base[f"{where}.weight"].float()
factors = [factors_of(name, where) for name in nb.THREE]
blocks = [
    nb.attempt(merge_rows, matrix[n : n + 16], n, factors, [1.0, 1.0, 1.0], 0.7)
    for n in range(0, len(matrix), 16)
]
if all(isinstance(block, torch.Tensor) and block.shape[1:] == matrix.shape[1:] for block in blocks):
    whole = matrix + 0.7 * sum(three.deltas[f"{where}.weight"])
    gap = float((torch.cat(blocks) - whole).abs().max())
    print("Equal to the whole merge up to rounding:", gap < 1e-5)

# %% [markdown]
# What if the method is TIES? A trim needs a threshold over the whole tensor, so it needs two passes:
# one to find the threshold (lesson 7 counts magnitudes for this), one to merge. Methods on singular
# vectors need more; section 7 comes back to it.
#
# ## 6 A method of your own
#
# You have seen what each answer to interference can do, and where a single number is a compromise.
# Write your own. Ideas, from easy to daring:
#
# - one weight for each skill (the mixer suggests some);
# - a sum where two or three agree, each change whole where only one has an opinion (entries 4 and 8
#   of section 1 want just that);
# - another scale for attention than for the MLP, or for early layers than for late ones;
# - trim first, then a sum, with the size brought back.

# %% [markdown]
# <!-- exercise: capstone/my_method -->


# %% nbgrader={"grade": false, "grade_id": "my_method", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_method(deltas):
    """The merged change of each tensor, from the task vectors of persona, agentic and digest."""
    ### BEGIN SOLUTION
    return {name: 0.7 * sum(three) for name, three in deltas.items()}
    ### END SOLUTION


# %%
check("capstone/my_method", my_method)

# %% nbgrader={"grade": true, "grade_id": "my_method_visible", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
grade("capstone/my_method", my_method, part="visible")

# %% nbgrader={"grade": true, "grade_id": "my_method_hidden", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
# Hidden cases run when you submit: the same contract on other values.
### BEGIN HIDDEN TESTS
grade("capstone/my_method", my_method, part="hidden")
### END HIDDEN TESTS

# %% [markdown]
# ### The leaderboard
#
# Passing a bar is one thing. Is your method better than the usual ones? The board asks all of them
# the same **fresh items**, drawn for a seed, which nobody has tuned on. Change the seed only for a
# final; who tries seeds until the own method leads has tuned on the test.
#
# Set `BOARD` to a file name, for instance `"my_leaderboard.json"`, and the board remembers your
# earlier entries. It stays on your machine. Give each version its own name.

# %%
BOARD, NAME = None, "my method"

entries = {
    "average": {name: sum(deltas) / 3 for name, deltas in three.deltas.items()},
    "sum × .7": {name: 0.7 * sum(deltas) for name, deltas in three.deltas.items()},
    "TIES, density .5": {name: ties(deltas, 0.5) for name, deltas in three.deltas.items()},
}
mine = nb.attempt(my_method, {name: list(deltas) for name, deltas in three.deltas.items()})
if nb.fits(mine, three):
    entries[NAME] = mine
scored = {name: nb.on_fresh_items(name, change, three) for name, change in entries.items()}
nb.leaderboard(list(scored.values()), BOARD)

# %%
if NAME in scored:
    lead = compare(scored[NAME], scored["sum × .7"])["combined"]
    display(nb.Note(nb.difference_sentence(NAME, "the sum at scale .7", lead)))

# %% [markdown]
# (The answer in the instructor's version *is* the sum at scale .7, so there the two are equal.)
#
# ## 7 ▸ Beyond the basics
#
# Six newer methods, all without training and without data, all in `mergelab` under the names in the
# table. Most of them use the **singular value decomposition** (SVD): it writes a matrix as a sum of
# simple parts, each a strength (*singular value*) times one output direction and one input direction
# (*singular vectors*), the strongest part first. What each method adds, in a sentence or two:
#
# | method | recipe name | the idea |
# |---|---|---|
# | DELLA | `della` | DARE, but large changes survive the drop more often than small ones; then TIES' election |
# | Model Stock | `model_stock` | the average, drawn back to the base the less the task vectors agree |
# | TSV-Merge | `tsv_merge` | keep each task's strongest singular vectors, and make those of different tasks orthogonal |
# | Iso-C | `iso_c` | add up, then give every singular direction of the sum the same strength |
# | KnOTS | `knots_ties` | bring all task vectors into one shared set of directions by an SVD, and do TIES there |
# | Core Space | `core_space` | the smallest space that holds all adapters exactly; each becomes a small core matrix, and the cores are merged |
#
# **Published** (FusionBench tables: eight image tasks, ViT-B/32, full fine-tunes; mean accuracy in
# percent): average 66.5, task arithmetic 68.0, TIES 72.2, Iso-C 82.8. That is a large lead for Iso-C.
#
# **Also published**: a study of 2025 (Hitit et al.) merged public fine-tunes of four language models
# and tested them on 16 benchmarks. Of six methods, among them TIES, Model Stock, TSV-Merge and Iso-C,
# only task arithmetic, the plain scaled sum, gave gains one could rely on.
#
# Our three adapters are one more case, and not a proof for either side. To be fair, every method is
# tried at several scales on dev, and its best one goes to test, once. Will any of them be ahead of
# the well-scaled sum by more than noise?

# %%
predictions.choice("is any newer method ahead of the sum?", None, among=("yes", "no"))

# %%
verdict = nb.finals_verdict()
truth = "no" if verdict.startswith("No method") else "yes"
display(predictions.reveal("is any newer method ahead of the sum?", truth))
nb.finals_table()

# %%
nb.Note(verdict)

# %% [markdown]
# DELLA draws at random, so it stands there with three seeds; look how far these differ among
# themselves. The intervals behind the verdict are widened for the number of comparisons, those in the
# table are not: a star marks each row that looks decided in the table but is not in the verdict. (The
# table and its command are those of section 3.) Two limits of this comparison: where two scales are
# close on dev, luck chooses; and a best scale at the end of the range that was tried may not be the
# best one.
#
# The published order, checked on our three:

# %%
display(nb.Note(nb.edges_sentence()))
nb.Note(nb.claims_verdict([("TIES", "sum"), ("Iso-C", "TIES"), ("Iso-C", "sum")]))

# %% [markdown]
# Why might the two worlds differ? There: eight tasks, full fine-tunes, image models, one label to
# choose. Here: three adapters of rank 8, a language model that has to write exact text. A method can
# be very good in one of them.
#
# **Model Stock, looked into.** Its ratio is t = N cos / (1 + (N − 1) cos), with the mean cosine
# between the task vectors. If they are near to orthogonal, t is near 0. What is it for ours?

# %%
nb.Note(nb.stock_sentence(three))

# %% [markdown]
# That is no defect. Model Stock was made for several fine-tunes of *one* task, which point in much
# the same direction. For different skills it gives back nearly the base.
#
# **Core Space, looked into.** Its bases hold every adapter exactly, so a plain sum of the cores must
# be the plain sum. Only a method that looks at single entries, such as TIES, can differ there. Check
# it on one tensor:

# %%
plain_sum = mergelab.merge(nb.recipe("task_arithmetic", nb.THREE))
in_core = mergelab.merge(nb.recipe("core_space", nb.THREE))
tensor = f"{where}.weight"
apart = float((plain_sum.tensors[tensor] - in_core.tensors[tensor]).abs().max())
print("A sum in Core Space is the plain sum, up to rounding:", apart < 1e-5)

# %% [markdown]
# **What they cost.** A sum, TIES and DELLA go through the weights once or twice. TSV-Merge, Iso-C,
# KnOTS and Core Space need singular vectors of every matrix. For adapters this is cheap, because
# `mergelab` works on the factors: a core matrix here has 24 × 24 entries, three ranks of 8.
#
# ## 8 The model card
#
# Whoever downloads your merge sees its card first. `mergelab` writes one beside every merge:
# sources and licences, the recipe, what the merge did, how to load it. Read one:

# %%
result = mergelab.merge(nb.three_recipe("sum", best.scale))
print(model_card(result.plan, result.report, output="model"))

# %% [markdown]
# What a program can fill in, is in there. Missing is what only you know:
#
# - **Evaluation.** Every skill of every source, with the number of items and an interval, beside each
#   source alone. Which split was tuned on, which was reported.
# - **Limits.** Skills that lost, skills nobody has measured, the wrong *kind* of reply (friendly words
#   where a program waits for JSON).
# - **Licences.** Those of all sources carry over, the base's too. A source without a licence is not
#   free: nobody has allowed you anything.

# %% [markdown]
# <!-- exercise: capstone/card_facts -->


# %% nbgrader={"grade": false, "grade_id": "card_facts", "locked": false, "schema_version": 3, "solution": true, "task": false}
def card_facts(licences, kept, floor=0.9):
    """Licence, models to check and limits, for the card of a merge."""
    ### BEGIN SOLUTION
    stated = {None if x is None else x.lower() for x in licences.values()}
    one = len(stated) == 1 and None not in stated
    return {
        "license": stated.pop() if one else "other",
        "check": sorted(name for name, x in licences.items() if x is None),
        "limits": sorted(s for s, share in kept.items() if share is None or share < floor),
    }
    ### END SOLUTION


# %%
check("capstone/card_facts", card_facts)

# %% nbgrader={"grade": true, "grade_id": "card_facts_visible", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
grade("capstone/card_facts", card_facts, part="visible")

# %% nbgrader={"grade": true, "grade_id": "card_facts_hidden", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
# Hidden cases run when you submit: the same contract on other values.
### BEGIN HIDDEN TESTS
grade("capstone/card_facts", card_facts, part="hidden")
### END HIDDEN TESTS

# %%
folders = [mergelab.data_path("models", "base")]
folders += [mergelab.data_path("adapters", name) for name in nb.THREE]
licences = {folder.name: stated_licence(folder) for folder in folders}
best_alone = {s: max(one.skills[s].rate.estimate for one in alone.values()) for s in SKILLS}
kept = {s: chosen.skills[s].rate.estimate / best_alone[s] for s in SKILLS}
print("Yours:", nb.attempt(card_facts, licences, {**kept, "small talk": None}))

# %% [markdown]
# ## 9 ▸ The whole course on one page
#
# **The selection chart.** Go down until a line fits. Every line ends in the same test: each skill on
# its own, beside its source alone and beside a plain sum at its best scale.
#
# | your case | start with | why | lesson |
# |---|---|---|---|
# | two models of the *same* task | average; Model Stock | they point in one direction, averaging removes noise | 2, 8 |
# | two or more adapters, different skills | a sum, its scale chosen on dev | cheap, and the yardstick for all the others | 2, 6 |
# | exactly two, and the average is too weak | SLERP of task vectors | keeps the size | 3 |
# | one skill fades beside a louder one | first a sum at its own scale, then more weight for that skill | an election by mass outvotes the weaker one unless its weight is raised | 4, 6 |
# | many models, or many opposite signs among large changes | TIES, density .3 to .7, against a sum of the same size | it may settle what a sum cancels: measure, nothing promises it | 1, 4 |
# | a skill must be forgotten | a negative weight | subtracts what was learned | 2 |
# | the adapter must become sparse | DARE, several seeds | rescaled drops keep the mean | 5 |
# | many tasks, adapters of low rank | also try Iso-C, TSV-Merge, KnOTS, Core Space | strong published results, other world | 8 |
# | a merge below all of its sources | none: do not ship it | | 6, 8 |
#
# **What was claimed, and what you measured.** Fill in the last column from your notebooks.
#
# | published claim | where you measured it | held for our models? |
# |---|---|---|
# | conflicting signs explain a bad merge | lesson 1 | |
# | half and half is a good start | lesson 2; here, section 3 | |
# | SLERP of the weights is better than a linear merge | lesson 3 | |
# | TIES > DARE-TIES > SLERP > linear at default settings | lesson 6 | |
# | density .5 is best | lesson 4 | |
# | most of a task vector can be dropped | lesson 5 | |
# | the leader of a table of 50 items is the best | lesson 6 | |
# | newer methods on singular vectors are ahead | here, section 7 | |
#
# This lesson's own lines, computed once more:

# %%
nb.Note(
    nb.difference_sentence("The sum of three", "the average", compare(chosen, average)["combined"])
    + f" {verdict}"
)

# %% [markdown]
# ## In your own words · 5 points · read by a person
#
# A colleague has four adapters for one base and wants one model. She asks you: **Which merge method
# shall I use, and what evidence do you have?** Write six to eight sentences that she can act on.
#
# A full answer names a method and how to choose its scale; gives one measurement of yours with its
# uncertainty; says on what data it was chosen and on what it was tested; names a case in which you
# would advise otherwise, or evidence against your advice; and tells her what to check before anybody
# uses the merge.

# %% [markdown] nbgrader={"grade": true, "grade_id": "advice_with_evidence", "locked": false, "points": 5, "schema_version": 3, "solution": true, "task": false}
# Start with a plain sum of the four task vectors, and choose its scale on a development set, because
# an average leaves each adapter only a quarter of its size. In my merge of three adapters the sum at
# its best scale was far ahead of the average, and the interval of that difference did not reach
# zero. I chose the scale on the development items and scored the final once on test items that I had
# not used for anything else. TIES and several newer methods, each at its own best scale, were not
# ahead of that sum by more than noise on our items. This was one small model with three adapters of
# low rank, and published tables of image models show a large lead for one of the newer methods, so
# if you have many tasks or full fine-tunes, try these as well. If one skill stays weak beside a
# louder one, give it more weight, and try TIES only against a sum of the same size. Before anybody uses
# the merge, test all four skills separately beside each adapter alone, read replies for chat in
# places where a program expects JSON, and do not ship it if one adapter alone has the better mean.
# Check all licences, too.
#
# **Rubric, one point each:** (1) a method, with a way to choose its scale or weights; (2) a
# measurement of the writer's own, with an interval or another honest statement of uncertainty; (3)
# chosen on one set, tested on another; (4) a limit: a case for other advice, or evidence against it;
# (5) what to check before use: every skill on its own, the kind of reply, licences, or the warning
# sign. Advice that rests on a published ranking alone: at most 2 points.

# %% [markdown]
# ## Look back
#
# How good were your guesses?

# %%
predictions.calibration()

# %% [markdown]
# **What you can now do.** Merge three adapters, with a scale chosen honestly. Say what each skill
# kept. Merge in little memory. Design a method and hold it against strong, simple ones on fresh
# items. Read a table of new methods as a sceptic. Write a card that tells the truth.
#
# **Your playbook, complete.** Put the pages of all lessons together in the cell below: your selection
# chart; where you start tuning (scale for the size, density .3 to .7); your template for testing
# *every* capability, with the number of items and intervals; and your warning signs: a merge below
# its sources, a skill that nobody measured, replies of the wrong kind, one seed, a table without
# intervals, figures tuned on the test.

# %% [markdown]
# *My playbook:* …

# %% [markdown]
# **Three prompts to try with an AI assistant**
#
# 1. "I must merge two adapters for an 8-billion-parameter model on a computer with 16 GB of memory.
#    Ask me for sizes and ranks, then let me propose a plan, and attack it." *Trains:* memory
#    arithmetic. Does its plan ever hold a whole task vector, and need it?
# 2. "Here is a table of ten merge methods, one score each. Play a reviewer: which five questions
#    must I answer before you believe the winner?" *Trains:* reading results sceptically.
# 3. "Interview me about my merges, one question at a time, and write the limits section of my model
#    card only from my answers. Mark what I could not answer." *Trains:* an honest card. Check that it
#    invents nothing.
#
# **Before you use a merge.** A merged model can behave in ways that none of its sources did. Evaluate
# all capabilities, one by one, and read replies. A friendly persona can leak chat into JSON and break
# the program that reads it. The techniques of this course were developed on decoder-only models;
# others may differ. The licences of all sources carry over to the merge.
#
# **Go further**
#
# - *Your own adapter as the fourth:* train one on your data with PEFT and add it to the list. Which
#   skill pays?
# - *A better comparison:* the finals rest on one choice of scale. Make the table again with more
#   items (`TEST_ITEMS` in `mergelab/notebook/capstone_table.py`). Does a verdict change?
# - *A weight for each method:* the mixer's weights with TIES instead of a sum.
# - *Breadcrumbs, SCE:* two more entries of `mergelab.methods.REGISTRY`. Read the summary, predict,
#   measure.
# - *Publish:* push a merge with its card to a hub, with evaluation and limits filled in.
#
# **References.** Wortsman et al. 2022, *Model Soups*,
# [arXiv 2203.05482](https://arxiv.org/abs/2203.05482). Ilharco et al. 2022, *Editing Models with Task
# Arithmetic*, [2212.04089](https://arxiv.org/abs/2212.04089). Yadav et al. 2023, *TIES-Merging*,
# [2306.01708](https://arxiv.org/abs/2306.01708). Yu et al. 2023, *Language Models are Super Mario*
# (DARE), [2311.03099](https://arxiv.org/abs/2311.03099). Goddard et al. 2024, *Arcee's MergeKit*,
# [2403.13257](https://arxiv.org/abs/2403.13257), [mergekit](https://github.com/arcee-ai/mergekit).
# Deep et al. 2024, *DELLA-Merging*, [2406.11617](https://arxiv.org/abs/2406.11617). Jang et al. 2024,
# *Model Stock*, [2403.19522](https://arxiv.org/abs/2403.19522). Gargiulo et al. 2024, *Task Singular
# Vectors*, [2412.00081](https://arxiv.org/abs/2412.00081). Marczak et al. 2025, *No Task Left Behind*
# (Iso-C), [2502.04959](https://arxiv.org/abs/2502.04959). Stoica et al. 2024, *Model Merging with SVD
# to Tie the Knots* (KnOTS), [2410.19735](https://arxiv.org/abs/2410.19735). Panariello et al. 2025,
# *Core Space*, [2509.17786](https://arxiv.org/abs/2509.17786). Tang et al. 2024, *FusionBench*,
# [2406.03280](https://arxiv.org/abs/2406.03280). Hitit et al. 2025, *A Systematic Study of Model
# Merging Techniques in Large Language Models*, [2511.21437](https://arxiv.org/abs/2511.21437).
#
# **This was the last lesson.** Merge something of your own, and write down what it cannot do.
