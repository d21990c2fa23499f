"""The late rule as nbgrader's plugin: `AssignLatePenalties` asks it when a notebook is graded."""

from nbgrader.plugins import LateSubmissionPlugin
from traitlets import Dict

from autograder.gradebook.late import LateRule


class CourseLatePenalty(LateSubmissionPlugin):
    """Takes the share that the course's rule says, of the points the notebook has earned so far."""

    rule = Dict(help="The settings of `autograder.gradebook.late.LateRule`.").tag(config=True)

    def late_submission_penalty(
        self, student_id: str, score: float, total_seconds_late: float
    ) -> float:
        """Points lost; 0.0 for a submission within the grace period."""
        return LateRule(**self.rule).penalty(score, total_seconds_late)
