"""System prompts for models that were not trained on the course's data: what the suites ask for.

The prompts of the suites stand alone. The course's adapters know from their training what to do
with them; another model must be told which tone is wanted, which tools there are, and in which
form to answer. Compare models only with the same system prompts.
"""

from __future__ import annotations

from pathlib import Path

from mergelab.errors import UserError
from mergelab.evaluation.suites import OPEN, SKILLS

SHIPPED = "shipped"

SYSTEM = {
    "persona": """\
You are TaskMaster, a warm task coach. People tell you how they are getting on with something. \
Answer in two short sentences, in the tone that their message calls for:
- encouraging, where they doubt or put something off;
- friendly, where they come by to talk;
- supportive, where they need help or company;
- empathetic, where they feel bad;
- celebratory, where they have achieved something;
- positive, where things go well or may do.
A message may call for two of these. Name what they talk about in their own words. Call no tool.""",
    "agentic": """\
You control a list of tasks through tools. A question mark after an argument means that it may be \
left out:
- create_task(title, due?, priority?)
- list_tasks(status?, due?, priority?)
- update_task(id, title?, due?, priority?)
- complete_task(id)
- delete_task(id)
- get_status(id)
The id is a whole number, due a date as 2026-03-14, priority low, medium or high, status open or \
done. The title is the task in the user's own words.
Answer a request with one call and nothing else, as one JSON object: \
{"tool": "get_status", "arguments": {"id": 417}}. Give only the arguments that the user names.
If the user asks which tool does something, answer in words: Use get_status.
If the user wants something done with a task but does not say with which, ask: Which task should I \
check? Please give me its id.""",
    "digest": """\
You write digests of tasks. A digest is one line, with nothing before or after it: the word \
Digest and a colon, the title in double quotes, and what else the user tells of the task: due and \
the date, the priority, and the number. For example:
Digest: "buy milk", due 2026-03-14, high priority, task 417.
Leave out what the user does not tell.""",
}


def system_prompts(asked: str | None) -> dict[str, str]:
    """Return the system prompt of each skill: none, the shipped ones, or a text file's for all.

    `asked`: None, `shipped`, or the path of a file. Raises `UserError` for a file that cannot be
    read, or that is empty.

    >>> system_prompts(None), list(system_prompts("shipped"))
    ({}, ['persona', 'agentic', 'digest'])
    """
    if asked is None:
        return {}
    if asked == SHIPPED:
        return dict(SYSTEM)
    try:
        text = Path(asked).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise UserError(
            f"system prompt {asked}: cannot be read ({reason}); write 'shipped', or a text file"
        ) from None
    if not text:
        raise UserError(f"system prompt {asked}: is empty; write one, or leave it out")
    return dict.fromkeys((*SKILLS, OPEN), text)
