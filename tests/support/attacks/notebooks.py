"""Notebooks that are none, that are too large, altered, or that hold scripts."""

import json

import nbformat

from attacks import STUB, Attack

HONEST = None
READ = "cannot be read as a notebook"


def _solution(notebook, name: str):
    return next(c for c in notebook.cells if _name(c) == name)


def _name(cell) -> str:
    return cell.metadata.get("nbgrader", {}).get("grade_id", "")


def _new(source: str, kind: str = "markdown"):
    return getattr(nbformat.v4, f"new_{kind}_cell")(source)


def _raw(content: bytes):
    return lambda folder: (folder / "90_small.ipynb").write_bytes(content)


def _json(change):
    def files(folder):
        path = folder / "90_small.ipynb"
        data = json.loads(path.read_text())
        path.write_text(json.dumps(change(data) or data))

    return files


def _into_trim(text: str):
    """The text as the source of trim's cell, past what nbformat would write."""

    def change(data):
        for cell in data["cells"]:
            if cell["metadata"].get("nbgrader", {}).get("grade_id") == "trim":
                cell["source"] = text

    return _json(change)


def refused(name: str, trick: str, files, words: str = READ) -> Attack:
    return Attack(name, trick, files=files, points=(0.0, 0.0), refused=words, reason="Not graded")


def _alter_grade_cells(notebook) -> None:
    for cell in notebook.cells:
        if _name(cell).endswith(("visible", "hidden")):
            cell.source = "4.0"
            cell.metadata.nbgrader.update(
                points=100, checksum="0", schema_version=99, locked=False, solution=True, grade=True
            )


def _copy_grade_cells(notebook) -> None:
    copies = [nbformat.from_dict(json.loads(json.dumps(c))) for c in notebook.cells if _name(c)]
    for cell in copies:
        cell.source = "4.0"
    notebook.cells = [*notebook.cells, *copies]


def _delete_all(notebook) -> None:
    notebook.cells = [c for c in notebook.cells if not _name(c).startswith("trim")]


def _retype(notebook) -> None:
    for cell in notebook.cells:
        if _name(cell).startswith("trim"):
            cell.cell_type = "raw" if _name(cell) == "trim_hidden" else "markdown"
            cell.pop("outputs", None)
            cell.pop("execution_count", None)
            cell.attachments = {"x": {"image/svg+xml": "<svg onload=alert(1)>"}}


def _reorder(notebook) -> None:
    notebook.cells = notebook.cells[::-1]
    _solution(notebook, "trim").source = STUB


def _retag(notebook) -> None:
    """Elect_sign's right answer where trim's grade is given, and the other way round."""
    for cell in notebook.cells:
        if _name(cell).startswith("trim"):
            cell.metadata.nbgrader.grade_id = _name(cell).replace("trim", "elect_sign")
        elif _name(cell).startswith("elect_sign"):
            cell.metadata.nbgrader.grade_id = _name(cell).replace("elect_sign", "trim")
    _solution(notebook, "elect_sign").source = STUB


def _odd_metadata(notebook) -> None:
    text = "<script>alert(1)</script>"
    notebook.metadata = nbformat.from_dict(
        {
            "title": text,
            "authors": [{"name": text}],
            "kernelspec": {"name": "../../x", "display_name": text, "language": "bash"},
            "language_info": {"name": text, "pygments_lexer": text, "codemirror_mode": text},
            "widgets": {"application/vnd.jupyter.widget-state+json": {"state": {"x": text}}},
        }
    )
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"x{number % 3}"
        cell.metadata.update(format=text, raw_mimetype="text/html", name=text)
    _solution(notebook, "trim").source = STUB
    notebook.cells.append(_new(text, "raw"))
    notebook.cells[-1].metadata.nbgrader = {"grade_id": text, "grade": True, "points": 99}


SCRIPTS = [
    "<script>alert(1)</script><img src=x onerror=alert(1)><svg onload=alert(1)><a/b/></svg>",
    "[x](javascript:alert(1)) [y](JaVaScRiPt&colon;alert(1)) [z](java\tscript:alert(1))",
    "[x](&#106;avascript:alert(1)) [y](<javascript:alert(1)>) [z](vbscript:x)",
    "<a href='jav&#x0A;ascript:alert(1)'>x</a><a href=' javascript:alert(1)'>x</a>",
    "![x](javascript:alert(1)) ![y](data:text/html;base64,PHNjcmlwdD4=) <javascript:alert(1)>",
    "[r]\n\n[r]: javascript:alert(1) 'x\" onmouseover=\"alert(1)'",
    '![x" onerror="alert(1)](x.png "y\\" onload=\\"alert(1)")',
    "[x](javascript\\:alert(1)) [x](javascript:&#10;:a) [x](\x01javascript:b)",
    "<!-- x --!><script>alert(1)</script> --> <!--> <img src=x onerror=alert(1)> -->",
    "`<script>` <b title='`'><script>alert(1)</script>'>\n\n\\<script>alert(1)\\</script>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;<img src=1 onerror=x>'>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'></noscript>",
    "<iframe src=javascript:alert(1)></iframe><object data=x></object><embed src=x><base href=//x>",
    "<form action=javascript:alert(1)><button formaction=javascript:alert(1)>x</button></form>",
    "<meta http-equiv=refresh content='0;url=//x'><link rel=stylesheet href=//x><style>*{}</style>",
    "<div style='background:url(javascript:alert(1))' onclick=alert(1)>x</div>",
    "$\\href{javascript:alert(1)}{x}$ $$\\\\href{javascript:alert(1)}{x}$$",
    "<p>$&#92;href{javascript:alert(1)}{x}$ $\\h&#114;ef{javascript:alert(1)}{x}$</p>",
    "<p>$\\hr<!-- -->ef{javascript:alert(1)}{x}$ $\\mmlToken{mi}[href='javascript:x']{x}$</p>",
    "$\\require{action}\\style{color:red}{x}\\cssId{x}{y}$ \\(\\href{javascript:a}{b}\\)",
    "$<script>alert(1)</script>$ \\begin{a}<img src=x onerror=alert(1)>\\end{a}",
    "| a |\n|---|\n| <img src=x onerror=alert(1)> |\n\n> <svg/onload=alert(1)>",
    '```html\n</code></pre><script>alert(1)</script>\n```\n\n~~~" onclick="alert(1)\nx\n~~~',
]


def _scripts(kind: str):
    def change(notebook) -> None:
        notebook.cells += [_new(text, kind) for text in SCRIPTS]
        _solution(notebook, "why_sign_election").source = "\n\n".join(SCRIPTS)
        _solution(notebook, "trim").source = "# </pre></div>" + SCRIPTS[0] + "\n" + STUB

    return change


def _slow_texts(notebook) -> None:
    for unit in ("\\begin{a}", "<a ", "[a](", "*a", "$a", "<!--", "> "):
        notebook.cells.append(_new(unit * (30_000 // len(unit))))
    notebook.cells.append(_new("x = 1\n" * 5_000, "code"))
    _solution(notebook, "trim").source = STUB


def _many_cells(data):
    data["cells"] += [
        {"cell_type": "raw", "id": f"c{n}", "metadata": {}, "source": ""} for n in range(6_000)
    ]


ATTACKS = [
    refused("no_bytes", "an empty file", _raw(b"")),
    refused(
        "truncated", "the first half", lambda f: _raw((f / "90_small.ipynb").read_bytes()[:900])(f)
    ),
    refused("a_list", "JSON that is no notebook", _raw(b"[1, 2]")),
    refused("no_text", "bytes that are no text", _raw(b"\xff\xfe\x00{" * 50)),
    refused("deep_file", "JSON of a depth of 200,000", _raw(b'{"a":' * 200_000)),
    refused(
        "long_digits", "a number of a million digits", _raw(b'{"nbformat": ' + b"9" * 10**6 + b"}")
    ),
    refused("a_zip", "an archive", _raw(b"PK\x03\x04" + bytes(500))),
    refused(
        "format_3",
        "the notebook format of 2013",
        _raw(
            b'{"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [{"cells": []}]}'
        ),
        "notebook format 3",
    ),
    refused(
        "format_5", "a notebook format to come", _json(lambda d: d.update(nbformat=5)), "format 5"
    ),
    refused("many_cells", "6,000 cells", _json(_many_cells), "more than 5,000 cells"),
    refused(
        "large",
        "25 MB",
        _json(lambda d: d["cells"][0].update(source="x" * 25_000_000)),
        "is too large to grade",
    ),
    refused(
        "long_source",
        "a cell of 2 MB, which is slow to colour",
        _json(
            lambda d: d["cells"].append({**d["cells"][2], "id": "z", "source": "x = 1\n" * 330_000})
        ),
        "more than 500,000 characters",
    ),
    refused(
        "another_lesson",
        "no cell of this lesson",
        _json(lambda d: d.update(cells=[])),
        "no exercise",
    ),
    Attack(
        "altered_cells",
        "grade cells with other code, points and checksums",
        {"trim": STUB},
        change=_alter_grade_cells,
    ),
    Attack("copied_cells", "a second set of grade cells", {"trim": STUB}, change=_copy_grade_cells),
    Attack("deleted_cells", "no cells of trim", change=_delete_all, reason="not defined"),
    Attack(
        "retyped_cells",
        "trim's cells as text, with attachments",
        change=_retype,
        points=(4.0, 4.0),
    ),
    Attack("reordered_cells", "the cells from last to first", change=_reorder),
    Attack("retagged_cells", "the names of two exercises' cells exchanged", change=_retag),
    Attack("odd_metadata", "scripts and paths in every setting", change=_odd_metadata),
    Attack("scripts_in_text", "scripts in Markdown", change=_scripts("markdown")),
    Attack("scripts_in_raw", "scripts in raw cells", change=_scripts("raw")),
    Attack("scripts_in_code", "scripts in code cells", change=_scripts("code")),
    Attack("slow_texts", "texts that are slow to make HTML of", change=_slow_texts),
    Attack(
        "null_bytes",
        "null bytes in a cell",
        files=_into_trim("x = 1\0\n" + STUB),
        reason="not defined",
    ),
    Attack(
        "surrogates",
        "half a character in a cell",
        files=_into_trim("'\ud800'\n" + "1 +"),
        reason="a syntax error",
    ),
    Attack(
        "form_feeds",
        "characters that some take for a new line",
        files=_into_trim("\x0c\x1c\u2028\x85\r\r\n" + STUB),
        reason="",
    ),
    Attack(
        "parentheses",
        "100,000 parentheses",
        files=_into_trim("(" * 100_000 + STUB),
        reason="not defined",
    ),
    Attack(
        "nested_code",
        "code whose tree is too deep",
        files=_into_trim("X = " + "-" * 90_000 + "1\n" + STUB),
        points=(0.0, 0.0),
        reason="end Python itself",
    ),
    Attack(
        "huge_integer",
        "numbers that take long to compute",
        files=_into_trim("X = 10 ** 10 ** 10\ndef trim(delta, density):\n    return X\n"),
        reason="do not come to an end",
    ),
    Attack(
        "magics",
        "shell commands and magics in a cell",
        files=_into_trim("%%bash\necho changed > @COURSE@\n" + STUB),
        reason="not defined",
    ),
    Attack(
        "shell_line",
        "a shell command on a line",
        files=_into_trim("X = !echo changed > @COURSE@\n%run @COURSE@\n" + STUB),
        reason="",
    ),
]
