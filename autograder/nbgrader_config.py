"""nbgrader's settings for this course, found with JUPYTER_CONFIG_PATH=<repository>/autograder.

Everything that grading writes lies in one folder that git ignores: `autograder/course/`, or the
folder named by MERGELAB_COURSE. MERGELAB_ROOT names another repository of lessons.
MERGELAB_GRADEBOOK names a database server for the gradebook (`autograder.gradebook.database`), and
the file `course.toml` in that folder says what late work costs (`autograder.gradebook.late`).
"""

import os
import stat
import sys
from pathlib import Path

from traitlets.config import Config

from autograder.gradebook.database import GRADEBOOK_VARIABLE, gradebook_url
from autograder.gradebook.late import late_rule
from mergelab.errors import UserError

# traitlets provides `c` when it reads this file as a configuration.
c = globals().get("c", Config())

ROOT = Path(os.environ.get("MERGELAB_ROOT") or Path(__file__).resolve().parent.parent)
COURSE = Path(os.environ.get("MERGELAB_COURSE") or ROOT / "autograder" / "course")
COURSE.mkdir(parents=True, exist_ok=True)

# Feedback and the grading page open without the internet: our templates stand before nbconvert's.
# Formgrader takes no folder of templates from here, so they are found by Jupyter's own path.
TEMPLATES = str(Path(__file__).resolve().parent / "jupyter")
places = os.environ.get("JUPYTER_PATH", "").split(os.pathsep)
if TEMPLATES not in places:
    os.environ["JUPYTER_PATH"] = os.pathsep.join([TEMPLATES, *filter(None, places)])

c.CourseDirectory.course_id = "mergelab"
c.CourseDirectory.root = str(ROOT)
c.CourseDirectory.source_directory = "solutions"
c.CourseDirectory.release_directory = "lessons"
# A folder that a group may write to, and that hands its group on, belongs to several instructors.
of_a_group = stat.S_ISGID | stat.S_IWGRP
c.CourseDirectory.groupshared = COURSE.stat().st_mode & of_a_group == of_a_group
for step in ("submitted", "autograded", "feedback"):
    folder = COURSE / step
    inside = folder.is_relative_to(ROOT)
    c.CourseDirectory[f"{step}_directory"] = str(folder.relative_to(ROOT) if inside else folder)

try:
    c.CourseDirectory.db_url = gradebook_url(
        os.environ.get(GRADEBOOK_VARIABLE, ""), COURSE / "gradebook.db"
    )
    c.AssignLatePenalties.plugin_class = "autograder.gradebook.late_plugin.CourseLatePenalty"
    c.CourseLatePenalty.rule = late_rule(COURSE).model_dump()
except UserError as error:
    # After any other exception nbgrader goes on with its defaults: another, empty gradebook.
    raise SystemExit(f"error: {error}") from None

# A new gradebook is made with the command `alembic`, which is installed beside this Python.
beside, path = str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)
if path.split(os.pathsep)[0] != beside:
    os.environ["PATH"] = os.pathsep.join([beside, path])

c.Exchange.root = str(COURSE / "exchange")
c.Exchange.cache = str(COURSE / "cache")

# A release copies every file beside the notebook, and the text source holds the solutions; and a
# submitted torch.py would be imported in place of torch.
c.CourseDirectory.ignore = [
    ".ipynb_checkpoints",
    "__pycache__",
    "feedback",
    "*.py",
    "*.pyc",
    "*.new.ipynb",
]

# A cell that a learner has deleted counts 0; without this it stops the grading of the class.
c.OverwriteCells.add_missing_cells = True

# A learner's code runs in a sandbox, unless stock mode is asked for by name: then it runs in a
# kernel of its own, which also holds the tests and can be made to lie.
STOCK = os.environ.get("MERGELAB_GRADING", "trusted") == "stock"
c.Execute.timeout = 60
c.Execute.extra_arguments = ["--IPKernelApp.log_level=40"]
c.Autograde.sanitize_preprocessors = [
    "autograder.preprocessors.SetRight",
    "nbgrader.preprocessors.ClearOutput",
    "nbgrader.preprocessors.DeduplicateIds",
    "nbgrader.preprocessors.OverwriteKernelspec",
    "nbgrader.preprocessors.OverwriteCells",
]  # metadata are checked once, after the second half
c.Exporter.optimistic_validation = True  # notebooks are checked whole, not after every step
c.Autograde.autograde_preprocessors = [
    f"autograder.preprocessors.{'ExecuteEssential' if STOCK else 'JudgeApart'}",
    "nbgrader.preprocessors.IgnorePattern",
    "nbconvert.preprocessors.ClearMetadataPreprocessor",
    "nbgrader.preprocessors.LimitOutput",
    "nbgrader.preprocessors.SaveAutoGrades",
    "nbgrader.preprocessors.AssignLatePenalties",
    "nbgrader.preprocessors.CheckCellMetadata",
    "autograder.preprocessors.CleanText",
]

# A page of the course's own in place of the rendered notebook, which would show the hidden tests.
c.GenerateFeedback.exporter_class = "autograder.feedback_page.FeedbackPage"
c.GenerateFeedback.preprocessors = []
