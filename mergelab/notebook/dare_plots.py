"""Plots of random drops: a patch of a layer, noise in weights and outputs, skills kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mergelab.notebook.dare_rolls import Noise, TableRow, rolled
from mergelab.notebook.picture import Picture
from mergelab.notebook.style import (
    AGREE,
    CONFLICT,
    FAINT,
    INK,
    METHODS,
    PUBLISHED,
    SIGNED,
    new_figure,
    source_colour,
    styled,
)


@styled
def drop_plot(
    delta: Tensor,
    drop_rate: float = 0.7,
    *,
    seed: int = 0,
    rows: slice = slice(0, 12),
    columns: slice = slice(0, 12),
    title: str = "",
) -> Picture:
    """A patch of a matrix of changes: as it is, after a drop, after rescaling; one colour scale."""
    kept, enlarged = rolled(delta, drop_rate, seed)
    patches = [matrix[rows, columns].float() for matrix in (delta, kept, enlarged)]
    limit = float(patches[0].abs().max()) * 1.5 or 1.0
    left = int((patches[1] != 0).sum())
    names = (
        "the change",
        f"after the drop ({left} left)",
        f"rescaled by {1 / (1 - drop_rate):.2f}",
    )
    figure = new_figure(9.4, 3.5)
    axes = figure.subplots(1, 3)
    for axis, patch, name in zip(axes, patches, names, strict=True):
        image = axis.imshow(patch.numpy(), cmap=SIGNED, vmin=-limit, vmax=limit)
        axis.set_title(name)
        axis.set_xticks([])
        axis.set_yticks([])
        axis.grid(False)
        for spine in axis.spines.values():
            spine.set_visible(True)
    axes[0].set_xlabel(f"mean size {float(patches[0].abs().mean()):.4f}")
    axes[1].set_xlabel(f"mean size {float(patches[1].abs().mean()):.4f}")
    axes[2].set_xlabel(f"mean size {float(patches[2].abs().mean()):.4f}")
    bar = figure.colorbar(image, ax=axes.tolist(), shrink=0.75, pad=0.02, extend="both")
    bar.set_label("change of the weight")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    means = [f"{float(patch.abs().mean()):.4f}" for patch in patches]
    return Picture(
        figure,
        f"Three grids of {patches[0].numel()} weights: the change; after a drop at rate "
        f"{drop_rate:g}, {left} left; rescaled. Mean sizes {means[0]}, {means[1]}, {means[2]}.",
    )


@styled
def noise_plot(found: Sequence[Noise], *, title: str = "") -> Picture:
    """Noise of a drop at three places, against the drop rate, with the square root of p/(1-p)."""
    figure = new_figure(8.2, 4.0)
    axis = figure.subplots()
    at = range(len(found))
    lines = (
        ("one weight, against its own change", "weight", AGREE, "o", "-"),
        ("one output, against what the adapter adds to it", "change", CONFLICT, "s", "--"),
        ("one output, against the whole output", "output", METHODS["dare_ties"][0], "v", "-"),
    )
    for label, name, colour, marker, style in lines:
        values = [getattr(each, name) for each in found]
        axis.plot(at, values, style, color=colour, marker=marker, label=label)
        axis.annotate(
            f"{values[-1]:.2g}", (at[-1], values[-1]), xytext=(8, 0), textcoords="offset points",
            va="center", fontsize=10,
        )  # fmt: skip
    theory = [(each.drop_rate / (1 - each.drop_rate)) ** 0.5 for each in found]
    axis.plot(at, theory, ":", color=INK, linewidth=1.4, label="square root of p / (1 − p)")
    axis.axhline(1, color=FAINT, linewidth=0.8)
    axis.set_yscale("log")
    axis.set_yticks([0.01, 0.1, 1, 10], ["1%", "10%", "100%", "1,000%"])
    axis.set_xticks(at, [f"{each.drop_rate:.0%}" for each in found])
    axis.set_xlabel("drop rate")
    axis.set_ylabel("noise, relative")
    figure.legend(loc="outside lower center", ncols=2)
    if title:
        axis.set_title(title)
    said = "; ".join(
        f"at {e.drop_rate:.0%} {e.weight:.2f}, {e.change:.2f}, {e.output:.2f}" for e in found
    )
    return Picture(
        figure,
        f"{title or 'Noise of a drop'}. In a weight, in an output against the adapter's part, and "
        f"against the whole output: {said}.",
    )


@styled
def survival_plot(rows: Sequence[TableRow], *, title: str = "") -> Picture:
    """How much of one adapter's skill survives a drop, with and without rescaling, by drop rate.

    `rows`: single adapters at scale 1. Whiskers run from the worst to the best seed.
    """
    models = list(dict.fromkeys(row.models for row in rows))
    figure = new_figure(9.4, 3.7)
    axes = figure.subplots(1, len(models), sharey=True, squeeze=False)[0]
    said = []
    for axis, model in zip(axes, models, strict=True):
        mine = [row for row in rows if row.models == model]
        whole = [row for row in mine if row.density == 1]
        rates = sorted({round(1 - row.density, 4) for row in mine})
        for rescale, label, style in ((True, "rescaled", "-"), (False, "not rescaled", "--")):
            points = sorted(
                [row for row in mine if row.rescale == rescale and row.density < 1] + whole,
                key=lambda row: -row.density,
            )
            axis.errorbar(
                [rates.index(round(1 - row.density, 4)) for row in points],
                [row.mean for row in points],
                yerr=[
                    [row.mean - row.low for row in points],
                    [row.high - row.mean for row in points],
                ],
                fmt=style,
                color=source_colour(model) if rescale else AGREE,
                marker="o" if rescale else "x",
                capsize=3,
                label=label,
            )
            at = ", ".join(f"{1 - row.density:.0%} {row.mean:.2f}" for row in points)
            said.append(f"{model} {label}: {at}")
        axis.set_xticks(range(len(rates)), [f"{rate:.0%}" for rate in rates])
        axis.set_xlabel("share of the adapter dropped")
        axis.set_title(f"{model} alone, its own skill")
        axis.set_ylim(-0.03, 1.03)
        axis.legend(loc="lower left")
    axes[0].set_ylabel("share of items right")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return Picture(figure, f"{title or 'Skill after a drop'}. {'; '.join(said)}.")


@styled
def drop_sweep_plot(
    rows: Sequence[TableRow], published: Mapping[str, Mapping[float, float]], *, title: str = ""
) -> Picture:
    """Both skills of a merged pair against density, for two methods, with a published sweep.

    `rows`: the pair's lines of the table. `published`: skill to density to score.
    """
    figure = new_figure(9.4, 3.9)
    axes = figure.subplots(1, len(published), sharey=True, squeeze=False)[0]
    said = []
    for axis, (skill, theirs) in zip(axes, published.items(), strict=True):
        for shift, method in ((-0.004, "dare_linear"), (0.004, "dare_ties")):
            points = sorted(
                [r for r in rows if r.method == method and r.skill == skill and r.density < 1],
                key=lambda row: row.density,
            )
            colour, marker = METHODS[method]
            axis.errorbar(
                [row.density + shift for row in points],
                [row.mean for row in points],
                yerr=[
                    [row.mean - row.low for row in points],
                    [row.high - row.mean for row in points],
                ],
                color=colour,
                marker=marker,
                capsize=3,
                label=f"{method}, here",
            )
            at = ", ".join(f"{row.density:g} {row.mean:.2f}" for row in points)
            said.append(f"{skill}, {method}: {at}")
        axis.plot(
            list(theirs),
            list(theirs.values()),
            "--",
            color=PUBLISHED,
            marker="o",
            markerfacecolor="white",
            label="published (another model)",
        )
        axis.set_xlabel("density (share kept)")
        axis.set_title(skill)
        axis.set_ylim(0, 1.02)
    axes[0].set_ylabel("share of items right")
    axes[0].legend(loc="lower right")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return Picture(figure, f"{title or 'Density'}. {'; '.join(said)}.")


@styled
def scaled_plot(rows: Sequence[TableRow], *, title: str = "") -> Picture:
    """What a drop leaves of a skill, relative to no drop, for adapters scaled to several sizes."""
    models = list(dict.fromkeys(row.models for row in rows))
    figure = new_figure(9.4, 3.6)
    axes = figure.subplots(1, len(models), sharey=True, squeeze=False)[0]
    said = []
    for axis, model in zip(axes, models, strict=True):
        mine = [row for row in rows if row.models == model and row.rescale]
        scales = sorted({row.scale for row in mine})
        shared = set.intersection(
            *({row.density for row in mine if row.scale == scale} for scale in scales)
        )
        densities = sorted(shared, reverse=True)
        for number, scale in enumerate(scales):
            by = {row.density: row.mean for row in mine if row.scale == scale}
            kept = [by[d] / by[1.0] if by[1.0] else 0.0 for d in densities]
            axis.plot(
                range(len(densities)),
                kept,
                ("-", "--", ":")[number % 3],
                color=source_colour(model),
                marker="osD"[number % 3],
                label=f"{scale:g} times as large" if scale != 1 else "as it is",
            )
            said.append(f"{model} at {scale:g}: " + ", ".join(f"{k:.2f}" for k in kept))
        axis.set_xticks(range(len(densities)), [f"{1 - d:.0%}" for d in densities])
        axis.set_xlabel("share of the adapter dropped")
        axis.set_title(model)
        axis.set_ylim(-0.03, 1.1)
        axis.legend(loc="lower left")
    axes[0].set_ylabel("share of the skill that is left")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return Picture(figure, f"{title or 'Drops at several sizes'}. {'; '.join(said)}.")


@styled
def dice_plot(original: Tensor, sample: Tensor, running: Tensor, rolls: int, factor: float):
    """The dice figure: the change, the current roll, and the mean of all rolls so far, as bars.

    Three vectors of one length; returns a `Picture`.
    """
    figure = new_figure(9.4, 5.0)
    axes = figure.subplots(3, 1, sharex=True)
    mean_limit = float(torch.maximum(original.abs().max(), running.abs().max())) * 1.3 or 1.0
    limit = max(float(original.abs().max()) * factor, float(original.abs().max())) * 1.25 or 1.0
    at = range(1, len(original) + 1)
    marks = {"linestyle": "none", "marker": "_", "markersize": 17, "markeredgewidth": 2}
    for axis, values, name, colour, top in (
        (axes[0], original, "the change", AGREE, mean_limit),
        (axes[1], sample, f"roll {rolls}", METHODS["dare_linear"][0], limit),
        (axes[2], running, f"mean of\n{rolls} roll{'s' * (rolls > 1)}", METHODS["dare_ties"][0],
         mean_limit),
    ):  # fmt: skip
        axis.bar(at, values.tolist(), 0.62, color=colour)
        axis.axhline(0, color=INK, linewidth=0.8)
        axis.set_ylim(-top, top)
        axis.set_ylabel(name, rotation=0, ha="right", va="center", labelpad=10)
        axis.grid(axis="x", visible=False)
    for number, value in zip(at, sample.tolist(), strict=True):
        if value == 0:
            axes[1].text(number, 0, "dropped", ha="center", va="bottom", fontsize=8, color=FAINT)
    axes[2].plot(at, original.tolist(), color=INK, label="the change itself", **marks)
    axes[2].legend(loc="lower left", fontsize=9)
    axes[2].set_xticks(list(at))
    axes[2].set_xlabel("entry")
    for axis in axes[:2]:
        axis.tick_params(axis="x", length=0)
    figure.align_ylabels()
    gone = int((sample == 0).sum())
    return Picture(
        figure,
        f"Bars for {len(original)} entries: the change, roll {rolls} with {gone} dropped and the "
        f"others times {factor:.2f}, and the mean of {rolls} rolls beside the change.",
    )
