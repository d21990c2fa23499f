"""`mergelab tables`: what it writes, what a check says and when it fails."""

import csv


def test_a_table_is_written_and_checks_against_itself(run_cli, tmp_path):
    status, printed, errors = run_cli("tables", "interference", "--out", tmp_path)
    assert (status, errors) == (0, "")
    assert printed.startswith(f"Written to {tmp_path}: interference.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "interference.csv",
        "interference.md",
        "interference.png",
    ]

    status, printed, _ = run_cli("tables", "interference", "--out", tmp_path, "--check")
    assert status == 0
    assert "interference.csv: the same" in printed and "0 cells beyond tolerance" in printed


def test_a_check_says_what_moved_and_fails_if_by_much(run_cli, tmp_path):
    run_cli("tables", "interference", "--out", tmp_path)
    path = tmp_path / "interference.csv"
    rows = list(csv.reader(path.open()))
    place = rows[0].index("cosine")
    rows[1][place] = f"{float(rows[1][place]) + 0.1:.4f}"
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    before = path.read_bytes()

    status, printed, _ = run_cli("tables", "interference", "--out", tmp_path, "--check")
    assert status == 1
    assert "interference.csv: 1 cell moved" in printed
    assert "interference.csv, low conflict 0.1000 " in printed and "cosine: " in printed
    assert "beyond tolerance" in printed
    assert path.read_bytes() == before


def test_what_does_not_fit_is_refused(run_cli, tmp_path):
    status, _, errors = run_cli("tables", "--check", "--limit", "3", "--out", tmp_path)
    assert status == 2 and "leave --limit out" in errors
    status, _, errors = run_cli("tables", "strategy", "--out", tmp_path)
    assert status == 2 and "strategy: no such table; there are overview" in errors
    status, _, errors = run_cli("tables", "interference", "--check", "--out", tmp_path)
    assert status == 2 and "interference.csv: cannot be read" in errors
