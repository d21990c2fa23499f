"""The table of random drops: what it measures, and how it is written."""

import csv

from mergelab.evaluation.dare_table import (
    Row,
    Setting,
    measurements,
    random_drops,
    settings,
    write_drops,
)
from mergelab.evaluation.measuring import measure_all
from mergelab.workers import Workers

ONE = ("task_api_persona",)


def test_every_setting_with_a_drop_is_rolled_at_least_three_times():
    found = list(settings())
    assert all(each.seeds >= 3 for each in found if each.density < 1)
    assert len(set(found)) == len(found)
    assert {each.label for each in found} == {"persona", "agentic", "pair"}


def test_a_setting_is_merged_with_each_seed_and_scored_on_its_own_skill():
    wanted = measurements([Setting(ONE, "dare_linear", 0.01, seeds=2)], 4)
    (rolls,) = wanted.values()
    assert [(each.seed, each.split, each.skills) for each in rolls] == [
        (0, "dev", ("persona",)),
        (1, "dev", ("persona",)),
    ]
    rows = random_drops(wanted, measure_all(rolls, Workers()))
    assert rows[0].rates == {"persona": (0.0, 0.0)}  # nothing survives a drop of 99% here
    assert rows[0].items == 4


def test_the_file_has_mean_spread_and_extremes(tmp_path):
    row = Row(Setting(ONE, "dare_linear", 0.3), {"persona": (0.8, 0.9, 1.0)}, 80)
    write_drops([row], tmp_path / "dare.csv")
    (line,) = csv.DictReader((tmp_path / "dare.csv").open())
    assert (line["mean"], line["spread"]) == ("0.9000", "0.1000")
    assert (line["low"], line["high"], line["seeds"]) == ("0.8000", "1.0000", "3")
