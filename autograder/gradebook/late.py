"""What late work costs, said once in the file `course.toml` of the course's folder:

    [late]
    grace_minutes = 15     # handed in this late still counts as on time
    share_per_day = 0.10   # lost of the points earned, for each day begun after the due date
    at_most = 0.50         # never more than this share
    zero_after_days = 7    # handed in later than this earns nothing

A setting that is left out takes nothing away; without the file late work costs nothing. A day is
24 hours from the due date, or from the end of a student's extension. Grace moves no later limit.

The file lies beside the gradebook: in autograder/course/, or in the folder that MERGELAB_COURSE
names. Due dates are nbgrader's, set in Formgrader or by

    nbgrader db assignment add 04_ties --duedate=2030-05-31T23:59:00+02:00

with the distance to UTC written as here, without a space. nbgrader keeps times in UTC and misreads
"2030-05-31 23:59 +0200" as a distance of 200 seconds.
"""

import math
import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mergelab.errors import UserError

SETTINGS = "course.toml"
DAY = 86_400


class LateRule(BaseModel):
    """How much of the points earned a late submission loses.

    >>> rule = LateRule(grace_minutes=15, share_per_day=0.1, at_most=0.5, zero_after_days=7)
    >>> [rule.share(seconds) for seconds in (900, 901, 86_401, 7 * 86_400, 7 * 86_400 + 1)]
    [0.0, 0.1, 0.2, 0.5, 1.0]
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    grace_minutes: float = Field(0.0, ge=0, allow_inf_nan=False)
    share_per_day: float = Field(0.0, ge=0, le=1, allow_inf_nan=False)
    at_most: float = Field(1.0, ge=0, le=1, allow_inf_nan=False)
    zero_after_days: float | None = Field(None, ge=0, allow_inf_nan=False)

    def share(self, seconds_late: float) -> float:
        """The share lost, in [0, 1], by a submission so many seconds after its due date."""
        if seconds_late <= 60 * self.grace_minutes:
            return 0.0
        if self.zero_after_days is not None and seconds_late > DAY * self.zero_after_days:
            return 1.0
        return min(self.at_most, self.share_per_day * math.ceil(seconds_late / DAY))

    def penalty(self, score: float, seconds_late: float) -> float:
        """The points lost of a score; none of a score that is not above 0."""
        return max(0.0, score) * self.share(seconds_late)


def late_rule(folder: Path) -> LateRule:
    """The rule in a course folder's `course.toml`; one that costs nothing if there is no file.

    Raises `UserError` naming the setting that is wrong.
    """
    path = folder / SETTINGS
    try:
        settings = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return LateRule()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:  # not TOML, or not UTF-8
        raise UserError(f"{path}: is not TOML: {error}") from None
    unknown = sorted(settings.keys() - {"late"})
    if unknown:
        raise UserError(f"{path}: unknown key {unknown[0]!r}; the one table is [late]")
    try:
        return LateRule.model_validate(settings.get("late", {}))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in ("late", *first["loc"]))
        known = ", ".join(LateRule.model_fields)
        raise UserError(f"{path}: {where}: {first['msg']}; the settings are {known}") from None
