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
# # Evaluate, tune, choose
#
# A table of scores always has a leader. This lesson is about the question that comes next: is it
# ahead, or was it lucky? Then you tune a merge without fooling yourself, choose a method for a
# job, and find out what is wrong with three merges that failed.
#
# | | |
# |---|---|
# | **Time** | about 110 minutes in two sittings, 40 of them for the six exercises |
# | **Difficulty** | ●●○ |
# | **You need** | Python and a little PyTorch; linear merges, SLERP, TIES and DARE as lessons 2 to 5 introduce them. |
# | **Short of time?** | Do the parts marked ▸, about 35 minutes: how much chance there is in a score, linear against TIES at default settings, tuning on one split and reporting on another. |
# | **How to work** | Run the cells in order, also those of exercises that you leave open: later cells use their names. |
#
# **When you have finished, you can**
#
# | | level | how you can tell |
# |---|---|---|
# | build a suite that measures what you mean | apply | `build_suite`, 4 points |
# | say how sure a score is, and a difference between two | apply | `bootstrap_interval` and `paired_difference`, 8 points |
# | tell a leader from a lucky one | evaluate | `leader_or_noise`, 4 points; the verdicts in section 6 |
# | tune a merge on one split and report on another | apply | `tuned`, 5 points |
# | choose a method, with the reason | select | the quiz `answers`, 7 points |
# | find the cause of a bad merge | analyse | your written diagnosis, 5 points |
#
# **Where this lesson stands.** Linear merges ignore interference, SLERP avoids bad geometry, TIES
# resolves it, DARE pre-empts it by deletion. Here we ask of all of them: **how would you know that
# it worked?**

# %%
import torch
from IPython.display import display

import mergelab
from autograder import check, grade
from mergelab import notebook as nb
from mergelab.evaluation.results import compare, evaluate
from mergelab.evaluation.scorers import score
from mergelab.evaluation.suites import load_suite

torch.set_num_threads(1)  # the model is small: sharing its work out costs more than it saves
predictions = nb.Predictions()

# %% [markdown]
# ## 1 ▸ A picture first
#
# Below are two tables as pictures. Left: a published comparison, made with a model of 3 billion
# parameters and at least 50 items in each of two suites; the table had no intervals, so they are
# added here, for 50 items. Right: the same comparison on our small model with 1,000 items in each
# suite, from `data/tables/overview.csv` (made by `mergelab tables`; not every method is in it).
#
# A dot is a score. A bar is its **95% interval**: the range that would catch the true score in 95
# of 100 such measurements. The grey band is the interval of the best.


# %%
def limits_of_two(persona, agentic, items=50):
    """The mean of two independent suites, and 1.96 standard errors on both sides."""
    errors = [nb.standard_error(rate, items) for rate in (persona, agentic)]
    half = 1.96 * sum(error**2 for error in errors) ** 0.5 / 2
    mean = (persona + agentic) / 2
    return mean, mean - half, mean + half


committed = nb.overview_rates("low conflict")
nb.rates_plot(
    {
        "published (50 items a suite)": {
            name: limits_of_two(*rates[:2]) for name, rates in nb.PUBLISHED.items()
        },
        "here (1,000 items a suite)": {
            name: rates["combined"] for name, rates in committed.items() if name in nb.PUBLISHED
        },
    },
    title="Combined score of merges and of the adapters alone",
)

# %% [markdown]
# Look at the four merges on the left. Which of them can you tell apart? And on the right? What
# differs is not only the model. It is also how much each table *can* show.

# %% [markdown]
# ## 2 What an item is
#
# Two suites test two skills. An **item** is an input together with what counts as right:
#
# - **persona**: an input and the **traits** that the answer should show (encouraging, friendly,
#   supportive, empathetic, celebratory, positive), and the topic it should restate. To count, a
#   trait must show in two different phrases;
# - **agentic**: an input and the **tool call** that serves it, or a plain answer where no tool
#   does.

# %%
examples = [load_suite("persona", "dev")[2], load_suite("agentic", "dev")[0]]
for item in examples:
    print(item.to_line(), "\n")

# %% [markdown]
# A *strict* score is 1 if everything is right, else 0. A *partial* score lies between: it shows
# how near a reply came. Tables report strict scores, because a program that reads JSON does not
# accept nearly right JSON. Partial scores help to find out what is going wrong.

# %%
replies = [
    (examples[0], "Woohoo, Anna's library diary is done, take a bow!"),
    (examples[0], "Woohoo, it is done!"),
    (examples[0], "Noted."),
    (examples[1], '{"tool": "update_task", "arguments": {"id": 367, "due": "2026-02-06"}}'),
    (examples[1], '{"tool": "update_task", "arguments": {"id": 376, "due": "2026-02-06"}}'),
    (examples[1], 'Sure! {"tool": "update_task", "arguments": {"id": 367, "due": "2026-02-06"}}'),
]
nb.Table(
    ["reply", "strict", "partial", "reason"],
    [[r, (s := score(item, r)).strict, f"{s.partial:.2f}", s.reason] for item, r in replies],
    text_columns=(3,),
)

# %% [markdown]
# A bad item is worse than none: it lowers every model alike, or counts one thing twice. So a suite
# is checked when it is built.

# %% [markdown]
# <!-- exercise: evaluate/build_suite -->


# %% nbgrader={"grade": false, "grade_id": "build_suite", "locked": false, "schema_version": 3, "solution": true, "task": false}
def build_suite(rows):
    """Items from good rows, and the reason for each of the others."""
    ### BEGIN SOLUTION
    traits = ("encouraging", "friendly", "supportive", "empathetic", "celebratory", "positive")
    tools = {f"{verb}_task" for verb in ("create", "complete", "delete", "update")}
    tools |= {"list_tasks", "get_status"}

    def why_bad(row, text):
        if not text:
            return "empty"
        if ("traits" in row) == ("tool" in row):
            return "kind"
        if "traits" in row:
            if len(row["traits"]) not in (1, 2) or not set(row["traits"]) <= set(traits):
                return "trait"
            if row["topic"] not in text:
                return "topic"
        elif row["tool"] not in tools:
            return "tool"
        return "repeated" if text.lower() in seen else None

    items, rejected, seen = [], {}, set()
    count = {"persona": 0, "agentic": 0}
    for number, row in enumerate(rows):
        text = row["input"].strip()
        reason = why_bad(row, text)
        if reason:
            rejected[number] = reason
            continue
        seen.add(text.lower())
        skill = "persona" if "traits" in row else "agentic"
        count[skill] += 1
        item = {"id": f"{skill}-{count[skill]:03d}", "template": row["template"], "input": text}
        if skill == "persona":
            item |= {"expected_traits": row["traits"], "topic": row["topic"]}
        else:
            item["expected"] = {"tool": row["tool"], "arguments": row["arguments"]}
        items.append(item)
    return {"items": items, "rejected": rejected}
    ### END SOLUTION


# %%
check("evaluate/build_suite", build_suite)

# %% nbgrader={"grade": true, "grade_id": "build_suite_visible", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
grade("evaluate/build_suite", build_suite, part="visible")

# %% nbgrader={"grade": true, "grade_id": "build_suite_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# Hidden cases run when you submit: the same contract on other rows.
### BEGIN HIDDEN TESTS
grade("evaluate/build_suite", build_suite, part="hidden")
### END HIDDEN TESTS

# %% [markdown]
# ## 3 ▸ How many items?
#
# The published design has at least 50 items a suite. Is that enough? By hand: a model is right on
# a share p = .90 of all possible items. A suite is a sample of n = 50 of them. The **standard
# error** says how far the score of such a sample usually is from p:
#
# √(p (1 − p) / n) = √(.90 × .10 / 50) = √.0018 = **.042**
#
# At p = .87 it is .048, so "about .045" for the merges in the published table. Twice that is a 95%
# interval of about ±.09 for one suite, and of about ±.065 for the mean of two. The whole published
# range of means, from linear .867 to TIES .897, is .030.
#
# How many items a suite does it take to tell a true .90 from a true .85, four times out of five?

# %%
predictions.range("items to tell .90 from .85", low=None, high=None, form="{:,.0f}")

# %%
predictions.reveal("items to tell .90 from .85", nb.items_needed(0.90, 0.85))

# %% [markdown]
# In the explorer you can move both rates, the number of items, and one more thing: items that come
# from one **template** ("Mark task 12 as done", "Mark task 40 as done") are alike. A model that
# fails on one of them is likely to fail on the others. Then 1,000 items say less than 1,000
# independent ones: *templates count more than slots.*
#
# 1. How many items for .90 against .88? And for .90 against .70?
# 2. Set 10 items per template, alike 1. What are 1,000 items worth then?

# %%
nb.SuiteSizeExplorer()

# %% [markdown]
# The explorer's first figure, for reading without running:

# %%
display(nb.suite_size_figure(0.90, 0.85, 50))
nb.Note(nb.suite_size_sentence(0.90, 0.85, 50))

# %% [markdown]
# A real case: the TIES merge of our first pair, on 150 items of each **dev** suite. From here to
# section 7, everything that we choose is chosen on dev; the **test** suites are for reporting only,
# as the committed table of section 1 does. Look at the width of the intervals.

# %%
ties, ties_size = nb.measure("ties", nb.recipe("ties", density=0.5))
nb.scores_table([ties])

# %% [markdown]
# ## 4 An interval that knows about templates
#
# No formula is needed for an interval. Imagine that you could write the suite again, many times:
# other templates of the same sort. Each time the score would be a little different. We cannot do
# that, but we can *draw* a new suite from the one we have, with replacement: some templates come
# twice, some not at all. That is the **bootstrap**. Do it a thousand times, sort the scores, cut
# off 2.5% at each end.
#
# What is drawn matters. Draw whole templates, because the next suite would have other templates.

# %% [markdown]
# <!-- exercise: evaluate/bootstrap_interval -->


# %% nbgrader={"grade": false, "grade_id": "bootstrap_interval", "locked": false, "schema_version": 3, "solution": true, "task": false}
def bootstrap_interval(scores, clusters, draws):
    """The .025 and .975 quantiles of the scores of suites made of drawn templates."""
    ### BEGIN SOLUTION
    templates = draws.shape[1]
    total = torch.zeros(templates).index_add(0, clusters, scores)
    number = torch.zeros(templates).index_add(0, clusters, torch.ones_like(scores))
    drawn_scores = total[draws].sum(1) / number[draws].sum(1)
    low, high = torch.quantile(drawn_scores, torch.tensor([0.025, 0.975]))
    return float(low), float(high)
    ### END SOLUTION


# %%
check("evaluate/bootstrap_interval", bootstrap_interval)

# %% nbgrader={"grade": true, "grade_id": "bootstrap_interval_visible", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
grade("evaluate/bootstrap_interval", bootstrap_interval, part="visible")

# %% nbgrader={"grade": true, "grade_id": "bootstrap_interval_hidden", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
# Hidden cases run when you submit: the same contract on other suites.
### BEGIN HIDDEN TESTS
grade("evaluate/bootstrap_interval", bootstrap_interval, part="hidden")
### END HIDDEN TESTS

# %% [markdown]
# Now on the agentic scores of the TIES merge, where some templates come more than once.

# %%
outcomes = ties.skills["agentic"].outcomes
strict = [float(outcome.score.strict) for outcome in outcomes]
templates = [outcome.item.template for outcome in outcomes]
drawn = {
    "150 single items drawn": nb.bootstrap_scores(strict, range(len(strict))),
    f"{len(set(templates))} whole templates drawn": nb.bootstrap_scores(strict, templates),
}
quantiles = torch.tensor([0.025, 0.975], dtype=torch.float64)
found = {name: torch.tensor(s).double().quantile(quantiles).tolist() for name, s in drawn.items()}
nb.bootstrap_plot(drawn, found, title="A thousand imagined suites for one merge")

# %%
(items_low, items_high), (low, high) = found.values()
nb.Note(
    f"The interval is {items_high - items_low:.3f} wide when single items are drawn, and "
    f"{high - low:.3f} when whole templates are. The course's own tables use a formula for the "
    f"second kind: {ties.skills['agentic'].rate}."
)

# %% [markdown]
# With your own function (the next cell needs the exercise, nothing later does):

# %%
numbers = {name: n for n, name in enumerate(dict.fromkeys(templates))}
generator = torch.Generator().manual_seed(0)
yours = nb.attempt(
    bootstrap_interval,
    torch.tensor(strict),
    torch.tensor([numbers[name] for name in templates]),
    torch.randint(len(numbers), (1000, len(numbers)), generator=generator),
)
if yours is not None:
    print("Your interval:", ", ".join(f"{float(limit):.3f}" for limit in yours))

# %% [markdown]
# ## 5 Two models, the same items
#
# Intervals of two models often overlap although the models do differ. Part of what moves a score
# is the suite itself: a suite with many hard items is hard for both. That part is gone when you
# compare **item by item**: a *paired* comparison.

# %% [markdown]
# <!-- exercise: evaluate/paired_difference -->


# %% nbgrader={"grade": false, "grade_id": "paired_difference", "locked": false, "schema_version": 3, "solution": true, "task": false}
def paired_difference(first, second):
    """Mean of the differences item by item, and its standard error."""
    ### BEGIN SOLUTION
    difference = first - second
    spread = difference.std() / len(difference) ** 0.5
    return float(difference.mean()), float(spread)
    ### END SOLUTION


# %%
check("evaluate/paired_difference", paired_difference)

# %% nbgrader={"grade": true, "grade_id": "paired_difference_visible", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
grade("evaluate/paired_difference", paired_difference, part="visible")

# %% nbgrader={"grade": true, "grade_id": "paired_difference_hidden", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
# Hidden cases run when you submit: the same contract on other scores.
### BEGIN HIDDEN TESTS
grade("evaluate/paired_difference", paired_difference, part="hidden")
### END HIDDEN TESTS

# %% [markdown]
# ### Leader, or noise?
#
# There is a trap: to look first and to compare afterwards. Take five merges that are *equally*
# good: one of them leads, always. Five rates from **50 items each**:
#
# | linear | TIES | TIES at .3 | DARE | SLERP |
# |---|---|---|---|---|
# | .85 | .90 | .87 | .86 | .88 |
#
# Is TIES better, or is it noise? Write down what you think before you compute it.

# %%
predictions.choice("TIES leads the table of five", None, among=("better", "may be noise"))

# %% [markdown]
# <!-- exercise: evaluate/leader_or_noise -->


# %% nbgrader={"grade": false, "grade_id": "leader_or_noise", "locked": false, "schema_version": 3, "solution": true, "task": false}
def leader_or_noise(rates, n):
    """For each rival of the leader, whether the lead is more than noise."""
    ### BEGIN SOLUTION
    from statistics import NormalDist

    leader = max(rates, key=rates.get)
    others = {name: rate for name, rate in rates.items() if name != leader}
    best, answer = rates[leader], {}
    for name, rate in others.items():
        z = NormalDist().inv_cdf(1 - 0.025 / len(others))
        spread = (best * (1 - best) / n + rate * (1 - rate) / n) ** 0.5
        answer[name] = best - rate > z * spread
    return answer
    ### END SOLUTION


# %%
check("evaluate/leader_or_noise", leader_or_noise)

# %% nbgrader={"grade": true, "grade_id": "leader_or_noise_visible", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
grade("evaluate/leader_or_noise", leader_or_noise, part="visible")

# %% nbgrader={"grade": true, "grade_id": "leader_or_noise_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# Hidden cases run when you submit: the same contract on other tables.
### BEGIN HIDDEN TESTS
grade("evaluate/leader_or_noise", leader_or_noise, part="hidden")
### END HIDDEN TESTS

# %%
five = {"linear": 0.85, "TIES": 0.90, "TIES at .3": 0.87, "DARE": 0.86, "SLERP": 0.88}
lead = {name: (five["TIES"] - rate) for name, rate in five.items() if name != "TIES"}
error = {
    name: (nb.standard_error(0.90, 50) ** 2 + nb.standard_error(five[name], 50) ** 2) ** 0.5
    for name in lead
}
needed = 2.50  # for four comparisons, as in the exercise
truth = "better" if all(lead[n] > needed * error[n] for n in lead) else "may be noise"
display(predictions.reveal("TIES leads the table of five", truth))
nb.Table(
    ["TIES against", "lead", "standard error", "lead in standard errors",
     "items needed, with four comparisons"],
    [
        [n, f"{lead[n]:.2f}", f"{error[n]:.3f}", f"{lead[n] / error[n]:.1f}",
         f"{nb.items_needed(0.90, five[n], comparisons=len(lead)):,}"]
        for n in lead
    ],
)  # fmt: skip

# %% [markdown]
# ## 6 ▸ The comparison
#
# The techniques of lessons 2 to 5 side by side, as they are usually described:

# %%
nb.techniques_table()

# %% [markdown]
# We merge the first pair with each of them, at the usual default settings, and ask 150 dev items
# a suite. Two published claims to judge: *TIES > DARE-TIES > SLERP > linear*, and *all merges beat
# the individual adapters*. Will the first hold here, step by step?

# %%
predictions.choice(
    "the published order of the four merges",
    None,
    among=("confirmed", "not told from noise in some step", "contradicted in some step"),
)

# %%
merges = {"ties": ties}
sizes = {"ties": ties_size}
for name, made in {
    "dare_ties": nb.recipe("dare_ties", density=0.5),
    "slerp": nb.recipe("slerp", t=0.5),
    "linear": nb.recipe("linear", weights=(0.5, 0.5)),
}.items():
    merges[name], sizes[name] = nb.measure(name, made)
alone = {
    f"{skill} only": nb.measure_alone(f"task_api_{skill}", name=f"{skill} only")
    for skill in ("persona", "agentic")
}
nb.published_table({**merges, **alone}, committed)

# %%
order = ["ties", "dare_ties", "slerp", "linear"]
verdict = nb.order_verdict(merges, order)
answer = (
    "contradicted in some step"
    if "contradicted" in verdict
    else "not told from noise in some step"
    if "cannot be told" in verdict
    else "confirmed"
)
display(predictions.reveal("the published order of the four merges", answer))
nb.Note(verdict)

# %% [markdown]
# (The published table has .881 for SLERP and .867 for linear. The same source's sweep over t, which
# lesson 3 shows, has .891 and .878 for the same two merges. With 50 items a suite, chance alone moves
# the mean of two suites by about .03, so both can be honest.)
#
# The second claim depends on what *combined* means. A mean of two skills gives an adapter that has
# only one of them about half. Of course a merge beats that. Ask each skill as well: does the merge
# match the **specialist** on its own skill?

# %%
display(nb.Note(nb.all_beat_verdict(merges, list(alone.values()))))
nb.differences_plot(
    {
        f"{skill}: merge minus the {skill} adapter": [
            (name, compare(merges[name], alone[f"{skill} only"])[skill]) for name in order
        ]
        for skill in ("persona", "agentic")
    },
    title="What a merge loses against the specialist",
    what="the skill's score",
)

# %% [markdown]
# And the other pair? In the **conflict pair** each adapter was trained to use its own style on a
# part of the other's prompts. From the committed table, 1,000 items a suite:

# %%
hard = nb.overview_rates("conflict")
nb.Table(
    ["conflict pair", "persona", "agentic", "combined [95% interval]"],
    [
        [n, f"{r['persona'][0]:.3f}", f"{r['agentic'][0]:.3f}",
         "{:.3f} [{:.3f}, {:.3f}]".format(*r["combined"])]
        for n, r in hard.items()
    ],
    caption="data/tables/overview.csv, made by `mergelab tables`",
)  # fmt: skip

# %%
tops = {pair: max((n for n in order if n in table), key=lambda n: table[n]["combined"][0])
        for pair, table in (("first", committed), ("conflict", hard))}  # fmt: skip
for pair, table in (("first pair", committed), ("conflict pair", hard)):
    combined = {name: rates["combined"] for name, rates in table.items()}
    display(nb.Note(f"The committed table. {nb.leader_sentence(pair, combined, order)}"))
nb.Note(
    "Now the same items, one by one, on the merges made above. First pair: "
    + nb.difference_sentence("TIES", "SLERP", compare(merges["ties"], merges["slerp"])["combined"])
)

# %% [markdown]
# ### Seeds
#
# DARE drops at random, so its merge is one of many. The same recipe with three more seeds:


# %%
def with_seed(seed):
    """The DARE-TIES merge of the first pair, made with another seed."""
    made = mergelab.merge(nb.recipe("dare_ties", density=0.5), seed=seed)
    return evaluate(*made.load(), split="dev", limit=nb.ITEMS, name=f"dare_ties, seed {seed}")


seeds = [merges["dare_ties"], *(with_seed(seed) for seed in (1, 2, 3))]
spread = [each.combined.estimate for each in seeds]
luckiest, unluckiest = (pick(seeds, key=lambda e: e.combined.estimate) for pick in (max, min))
ends = compare(luckiest, unluckiest)["combined"]
nb.Note(
    f"Four seeds of one recipe score {', '.join(f'{value:.3f}' for value in spread)}. "
    + nb.difference_sentence("the best of them", "the worst", ends)
    + (
        " So the seed matters here, although best and worst were picked after looking."
        if nb.beyond_noise(ends)
        else " And these two were picked after looking: no other two of the four lie further apart."
    )
)

# %% [markdown]
# ## 7 ▸ Tune, and do not fool yourself
#
# Suppose you try 20 candidates on a suite of 50 items and report the best. All 20 are equally
# good, with a true rate of .85. What will the best one score, on average?

# %%
predictions.range("score of the best of 20 equal merges", low=None, high=None)

# %%
picked, fresh = nb.luckiest(20, 50, rate=0.85)
predictions.reveal("score of the best of 20 equal merges", sum(picked) / len(picked))

# %%
nb.luck_plot()

# %%
nb.Note(
    f"Simulated 400 times: the best of 20 scores {sum(picked) / len(picked):.3f} on the items it "
    f"was picked on, and {sum(fresh) / len(fresh):.3f} on new ones. The difference is luck."
)

# %% [markdown]
# That is a simulation. Our four seeds of DARE-TIES are a real case: four candidates that are equal
# by design. We pick the best on a small "test" suite, the first 25 items of each skill, and look at
# it again on the other 125.


# %%
def on(evaluation, part):
    """The combined score on a part of the items."""
    rates = [
        [outcome.score.strict for outcome in result.outcomes][part]
        for result in evaluation.skills.values()
    ]
    return sum(sum(rate) / len(rate) for rate in rates) / len(rates)


few, rest = slice(0, 25), slice(25, None)
best = max(seeds, key=lambda each: on(each, few))
lift = {
    name: on(best, part) - sum(on(each, part) for each in seeds) / len(seeds)
    for name, part in (("small", few), ("rest", rest))
}
nb.Note(
    f"Picked: {best.model}. Above the mean of the four by {lift['small']:+.3f} on the items it was "
    f"picked on, and by {lift['rest']:+.3f} on the rest. "
    + (
        "Most of its lead was luck."
        if lift["rest"] < lift["small"] / 2
        else "This time the lead held; the simulation says not to count on it."
    )
)

# %% [markdown]
# So the rule: **choose on dev, as often as you like. Report on test, once.** Whatever is tried on
# the test split is chosen on it.
#
# ### Default scale against best scale
#
# The methods differ in size, too: the average halves each adapter, TIES does not (lesson 4). So
# compare every method at its default **and** at its best scale (lambda). SLERP has no scale of its
# own: between two task vectors at a right angle it is a sum times .71. Its dial is t.
#
# The best of many tries has had luck, as you have just seen. So each of the four gets the same
# number of tries, four.

# %%
scales = {"sum": (0.7, 0.85, 1.0), "ties": (0.6, 0.8, 1.2), "dare_ties": (0.6, 0.8, 1.2)}
along_t = {0.5: merges["slerp"]}
curves = {
    # Half of a sum is the average.
    "sum": [(sizes["linear"], merges["linear"], 0.5)],
    "ties": [(sizes["ties"], merges["ties"], 1.0)],
    "dare_ties": [(sizes["dare_ties"], merges["dare_ties"], 1.0)],
}


def scaled(name, scale):
    """One of the three at a scale, on the first pair."""
    if name == "sum":
        return nb.recipe("task_arithmetic", **{"lambda": scale})
    return nb.recipe(name, density=0.5, **{"lambda": scale})


for name, values in scales.items():
    for scale in values:
        scores, size = nb.measure(f"{name} x {scale:g}", scaled(name, scale))
        curves[name].append((size, scores, scale))
for t in (0.4, 0.45, 0.55):
    along_t[t], _ = nb.measure(f"slerp, t {t:g}", nb.recipe("slerp", t=t))
nb.size_plot(
    {
        label: [(size, scores) for size, scores, _ in curves[name]]
        for label, name in (
            ("linear, the sum at any scale", "sum"), ("ties", "ties"), ("dare_ties", "dare_ties")
        )
    },
    title="First pair, dev: the combined score against the size of the merge",
)  # fmt: skip

# %% [markdown]
# The leftmost point of the linear curve is the plain average. SLERP at other t is not in the plot,
# as t is no scale. Each method's best point is chosen now, on dev. Then the test split is opened, once, for these four.

# %%
chosen = {
    name: max(points, key=lambda point: point[1].combined.estimate)[2]
    for name, points in curves.items()
}
final = {
    name: nb.measure(f"{name} x {scale:g}", scaled(name, scale), split="test")[0]
    for name, scale in chosen.items()
}
best_t = max(along_t, key=lambda t: along_t[t].combined.estimate)
final["slerp"], _ = nb.measure(f"slerp, t {best_t:g}", nb.recipe("slerp", t=best_t), split="test")
nb.scores_table(list(final.values()), caption="Chosen on dev, reported on test")

# %%
top = max(final, key=lambda name: final[name].combined.estimate)
# Three rivals of a leader who was picked after looking: they share the 5%, as in section 5.
level = 1 - 0.05 / (len(final) - 1)
rivals = {n: nb.paired_at(final[top], e, level) for n, e in final.items() if n != top}
default = compare(merges["ties"], merges["linear"])["combined"]
nb.Note(
    f"At default scales: {nb.difference_sentence('TIES', 'linear', default)} At the best scales, "
    f"on test: "
    + " ".join(
        nb.difference_sentence(final[top].model, final[n].model, d, level=level)
        for n, d in rivals.items()
    )
    + (
        " At their best scales, these items name no winner."
        if not any(nb.beyond_noise(d) for d in rivals.values())
        else " Some lead is left when every method has its best scale."
    )
)

# %% [markdown]
# ### Where a dial does nothing
#
# Density is the dial that people turn first, from .3 to .7. Two more merges on dev:

# %%
for density in (0.3, 0.7):
    other, _ = nb.measure(f"density {density}", nb.recipe("ties", density=density))
    display(
        nb.Note(
            nb.difference_sentence(
                f"TIES at density {density:g}", "at .5", compare(other, ties)["combined"]
            )
        )
    )

# %% [markdown]
# Lesson 4 goes further out, where density does matter. A dial that does nothing in the range you
# try costs twice: the time, and the luck you collect by picking the best.
#
# ### Your turn: the conflict pair
#
# Here the defaults of linear and TIES fail, as the next cell shows for TIES. Open a cell of your own for your tries:
# `scores, size = nb.measure("my try", nb.recipe(...))`, then `nb.scores_table([scores])`. Look at
# each skill, not only at the mean.

# %%
sick, sick_size = nb.measure("TIES, conflict pair", nb.recipe("ties", nb.CONFLICT, density=0.5))
nb.scores_table([sick])

# %% [markdown]
# <!-- exercise: evaluate/tuned -->


# %% nbgrader={"grade": false, "grade_id": "tuned", "locked": false, "schema_version": 3, "solution": true, "task": false}
def tuned():
    """A recipe for the conflict pair that keeps both skills."""
    ### BEGIN SOLUTION
    # On dev, .5 is too small for both, 1.0 costs tool calls; .85 is the middle of a flat top.
    both_models = nb.CONFLICT
    return nb.recipe("task_arithmetic", both_models, **{"lambda": 0.85})
    ### END SOLUTION


# %%
check("evaluate/tuned", tuned)

# %% nbgrader={"grade": true, "grade_id": "tuned_visible", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
grade("evaluate/tuned", tuned, part="visible")

# %% nbgrader={"grade": true, "grade_id": "tuned_hidden", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
# Hidden cases run when you submit: the same merge on new items.
### BEGIN HIDDEN TESTS
grade("evaluate/tuned", tuned, part="hidden")
### END HIDDEN TESTS

# %% [markdown]
# ## 8 ▸ Choose
#
# The usual advice in one table. It is a place to start from, not a result.

# %%
nb.advice_table()

# %% [markdown]
# The chooser asks you a few questions and answers with a recipe, the reason, what to compare it
# with, and what was measured about this method above.

# %%
mean_of_seeds = sum(spread) / len(spread)
linear_score = merges["linear"].combined.estimate
measured = {
    "ties": nb.difference_sentence("At default, TIES", "linear", default)
    + f" On the conflict pair {tops['conflict']} led the committed table.",
    "slerp": nb.difference_sentence(
        "At default, SLERP", "TIES", compare(merges["slerp"], merges["ties"])["combined"]
    ),
    "dare_ties": f"At density .5 four seeds scored {min(spread):.2f} to {max(spread):.2f}, "
    f"{mean_of_seeds:.2f} on average; linear scored {linear_score:.2f}.",
}
nb.StrategyChooser(measured)

# %% [markdown]
# What it says, line by line, for reading without running:

# %%
nb.Table(["method", "measured in this lesson"], list(measured.items()), text_columns=(1,))

# %% [markdown]
# <!-- exercise: evaluate/answers -->


# %% nbgrader={"grade": false, "grade_id": "answers", "locked": false, "schema_version": 3, "solution": true, "task": false}
def answers():
    """For each scenario a method, and the letter of the reason."""
    ### BEGIN SOLUTION
    return {
        1: ("linear", "c"),
        2: ("slerp", "b"),
        3: ("ties", "d"),
        4: ("dare_ties", "a"),
        5: ("more_items", "b"),
        6: ("task_arithmetic", "c"),
    }
    ### END SOLUTION


# %%
check("evaluate/answers", answers)

# %% nbgrader={"grade": true, "grade_id": "answers_visible", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
grade("evaluate/answers", answers, part="visible")

# %% nbgrader={"grade": true, "grade_id": "answers_hidden", "locked": true, "points": 6, "schema_version": 3, "solution": false, "task": false}
# Hidden cases run when you submit: methods and reasons, scenario by scenario.
### BEGIN HIDDEN TESTS
grade("evaluate/answers", answers, part="hidden")
### END HIDDEN TESTS

# %% [markdown]
# ## 9 Diagnose a bad merge
#
# When a merge is bad, do not turn dials yet. Collect three kinds of evidence: both **scores**
# (strict and partial), the **report** (above all the size), and **replies**.
#
# | you see | look first at |
# |---|---|
# | weak persona, generic or neutral replies, few tool calls | the size: too small, the base answers |
# | one skill gone, the other whole | the weights, or who wins the elections |
# | TIES below linear | the size of both; which skill it lost; the density |
# | JSON that turns chatty, chats answered with JSON | conflict: an adapter's own style on the other's prompts |
# | broken JSON, words that are no words | the size: too large |
#
# A worked case: TIES at its defaults on the conflict pair, which section 7 measured.

# %%
display(nb.symptoms_table({"TIES, conflict pair": (sick, sick_size)}))
nb.replies_table([sick])

# %%


def chatty(evaluation):
    """The share of the tool requests that are answered without any JSON."""
    asked = [
        o for o in evaluation.skills["agentic"].outcomes if not isinstance(o.item.expected, str)
    ]
    return sum("{" not in outcome.reply for outcome in asked) / len(asked)


losing = min(sick.skills, key=lambda skill: sick.skills[skill].rate.estimate)
nb.Note(
    f"{losing.capitalize()} is the weaker skill, at {sick.skills[losing].rate.estimate:.2f}, and "
    f"{chatty(sick):.0%} of the tool requests are answered without any JSON. The size is "
    f"{sick_size:.2f}, larger than one adapter. Is that the cause? The next cell makes it smaller "
    "and larger."
)

# %%
others = {
    f"the same, lambda {scale:g}": nb.measure(
        f"lambda {scale:g}", nb.recipe("ties", nb.CONFLICT, density=0.5, **{"lambda": scale})
    )
    for scale in (0.8, 1.2)
}
display(nb.symptoms_table(others))
better = [
    name
    for name, (scores, _) in others.items()
    if nb.beyond_noise(compare(scores, sick)[losing]) > 0
]
nb.Note(
    "Tool requests answered without any JSON: "
    + " and ".join(f"{chatty(scores):.0%} at size {size:.2f}" for scores, size in others.values())
    + ". "
    + (
        f"The scale matters: {' and '.join(better)} gains on {losing}, by more than noise."
        if better
        else f"Neither gains on {losing} by more than noise: of these sizes none is a cure, so look "
        "at who wins the elections."
    )
)

# %% [markdown]
# Now three patients. All are sums of the task vectors of the *first* pair. Something went wrong in
# each recipe, and only the evidence is left.

# %%
patients = {name: nb.measure(name, made, items=100) for name, made in nb.patients().items()}
nb.symptoms_table(patients)

# %%
nb.replies_table([scores for scores, _ in patients.values()])

# %% [markdown]
# ## In your own words · 5 points · read by a person
#
# Write a diagnosis of merges A, B and C, two or three sentences each: **what is wrong with the
# recipe, which evidence says so, and what you would change or measure first.** Then say in one
# sentence why a single combined score would not have been enough.

# %% [markdown] nbgrader={"grade": true, "grade_id": "diagnosis", "locked": false, "points": 5, "schema_version": 3, "solution": true, "task": false}
# Merge A is too small. Its size is far below that of one adapter, and both skills are weak in the
# same way: replies are neutral sentences as the base gives them, with no trait and no JSON. I would
# raise the scale and measure again on dev.
#
# Merge B is too large. Its size is more than twice that of an adapter, and replies try to do the
# right thing but fall apart: broken JSON, invented words. Partial scores are well above the strict
# ones. I would lower the scale towards 1.
#
# Merge C has uneven weights: its size is near 1, one skill is as good as in the adapter alone, and
# the other is gone, with neutral replies. So the scale is right and the mixture is wrong. I would
# look at the weights in the recipe, and whether they belong to the right models.
#
# A combined score mixes up a merge that is weak in both skills with one that is whole in one skill
# and empty in the other; they need different cures.
#
# **Rubric, one point each:** (1) A: too small, with the size or the neutral replies as evidence;
# (2) B: too large, with the size or the broken replies as evidence; (3) C: the weights (mixture),
# told apart from scale by one whole skill; (4) a sensible next step for each, one change at a time,
# measured on dev; (5) says why two skills in one number hide this. A diagnosis without evidence
# earns half of its point.

# %% [markdown]
# <details><summary>What was done to them (after you have written)</summary>
#
# Run `nb.causes()` in a new cell.
#
# </details>

# %% [markdown]
# ## Look back
#
# How good were your guesses?

# %%
predictions.calibration()

# %% [markdown]
# **What you can now do.** Build a suite and turn down bad items. Give a score an interval that
# knows about templates. Compare two models item by item, and a leader with all its rivals. Tune on
# dev and report on test, once. Choose a method for a reason. Diagnose a merge from scores, report
# and replies.
#
# **Your playbook.** Answer in the cell below, in your own words: Which method do I start from, for
# two similar models, two distinct ones, three or more (a selection chart)? Which dials do I turn,
# in which range (density .3 to .7, scale, weights), and in which order? How do I test *both*
# skills: how many items, from how many templates, which split for what? Which warning signs make me
# throw a merge away (for instance: it is below both of its sources)?

# %% [markdown]
# *My playbook, evaluation:* …

# %% [markdown]
# **Three prompts to try with an AI assistant**
#
# 1. "Here is a results table with 50 items a suite: … Argue that the winner's lead is noise. Then
#    argue that it is real. Which measurement would decide?" *Trains:* reading results as a sceptic.
#    Check its standard errors with your own functions.
# 2. "I will describe a bad merge. Ask me one question at a time, about scores, size and replies,
#    until you can name the cause." *Trains:* diagnosis. Did it ask for each skill by itself?
# 3. "Review my evaluation plan: … Where could I be choosing on the test split without noticing?"
#    *Trains:* keeping the splits apart.
#
# **Before you use a merge.** A merged model can behave in ways that none of its sources did.
# Evaluate both capabilities, and read replies: a friendly persona can leak chat into JSON and break
# the program that reads it. A suite tests what its author thought of, nothing else. The techniques
# were developed on decoder-only models; others may differ. The licences of all sources carry over.
#
# **Go further**
#
# - *A suite of your own:* write 20 rows for something you care about, build them with
#   `build_suite`, and score a merge with `mergelab.evaluation.results.score_replies`.
# - *More power for the same items:* how much narrower is the paired interval than the unpaired one,
#   for TIES against SLERP? And for TIES against linear?
# - *Two dials at once:* tune both weights of the conflict pair on dev. How many candidates did you
#   try, and how much of the lead would you expect to be luck?
# - *A density per layer:* `density: [0.3, 0.7]` runs from the first layer to the last. Does it
#   survive the test split?
#
# **References.** Wortsman et al. 2022, *Model Soups*,
# [arXiv 2203.05482](https://arxiv.org/abs/2203.05482). Ilharco et al. 2022, *Editing Models with
# Task Arithmetic*, [2212.04089](https://arxiv.org/abs/2212.04089). Yadav et al. 2023,
# *TIES-Merging*, [2306.01708](https://arxiv.org/abs/2306.01708). Yu et al. 2023, *Language Models
# are Super Mario* (DARE), [2311.03099](https://arxiv.org/abs/2311.03099). Goddard et al. 2024,
# *Arcee's MergeKit*, [2403.13257](https://arxiv.org/abs/2403.13257),
# [mergekit](https://github.com/arcee-ai/mergekit).
#
# **Next:** lesson 7, memory and kernels: what a merge costs, and how little memory it needs.
