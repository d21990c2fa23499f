"""The tool side: requests to a Task API, the call that serves them, and questions about it.

Six tools: create, list, complete, delete, update, status. A request is a beginning and an
ending with slots; either may carry an argument. Two more groups want a plain answer, no call:
`question` (which tool does what) and `clarify` (a request that lacks the id it needs).
"""

from __future__ import annotations

import json
import string

from mergelab.zoo.dialogues.templates import Template, square

Slots = dict[str, str | int]

ARGUMENTS = ("id", "title", "status", "due", "priority")  # the order in which calls list them

# For each tool: beginnings, endings. Slots in them become arguments of the call.
TOOLS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "create_task": (
        ("Add {title} to my list", 'Create a task called "{title}"', "Put {title} on my list",
         "New task: {title}", "Please make a task to {title}", "Remind me to {title}",
         "I have to {title}, so add it", 'Write down "{title}" as a task',
         'Open a task named "{title}"', "I need a task to {title}"),
        ("", ", due {due}", " by {due}", " with {priority} priority",
         ", due {due}, {priority} priority", " for {due} at {priority} priority",
         ", {priority} priority please", ". The deadline is {due}",
         ". It has {priority} priority", ". It is due {due} and has {priority} priority"),
    ),
    "list_tasks": (
        ("Show me my tasks", "List my tasks", "Give me all tasks", "Which tasks do I have",
         "Let me see the tasks", "Print my list of tasks", "I want to see my tasks",
         "Read me the tasks", "Find the tasks", "What tasks are there"),
        ("", " that are open", " that are done", " due {due}", " with {priority} priority",
         " that are open and due {due}", " that are open with {priority} priority",
         " that are done with {priority} priority", " for {due}", " at {priority} priority"),
    ),
    "complete_task": (
        ("Mark task {id} as done", "Complete task {id}", "Tick off task {id}", "Close task #{id}",
         "Check off number {id}", "I am done with task {id}", "Set task {id} to done",
         "Task {id} is finished, close it", "Finish task {id}", "You can close number {id}"),
        ("", " please", " for me", " now", ", thanks", " right away", " today", ". Thank you",
         " as of now", ", that is all"),
    ),
    "delete_task": (
        ("Delete task {id}", "Remove task {id} from my list", "Drop task {id}",
         "Get rid of task {id}", "Erase task #{id}", "Take task {id} off the list",
         "Throw out number {id}", "I no longer need task {id}, delete it", "Scrap task {id}",
         "Wipe number {id}"),
        ("", " please", " for me", " now", ", thanks", " right away", " today", ". Thank you",
         " as of now", ", that is all"),
    ),
    "update_task": (
        ("Change task {id}", "Update task {id}", "Edit task #{id}", "Modify number {id}",
         "Adjust task {id}", "Revise task {id}", "Please alter task {id}",
         "I want to change task {id}", "Correct number {id}", "Make a change to task {id}"),
        (" so that it is due {due}", ": due {due}", " to {priority} priority",
         ": set {priority} priority", ': call it "{title}"', ": the new title is {title}",
         ", rename it {title}", ": due {due}, {priority} priority", ", move it to {due}",
         ', the title should be "{title}"'),
    ),
    "get_status": (
        ("What is the status of task {id}", "How far is task {id}",
         "Tell me where task {id} stands", "Look up task #{id}", "Check the state of task {id}",
         "Is task {id} done yet", "Report on number {id}", "I wonder how task {id} is going",
         "Give me details of task {id}", "Where are we with number {id}"),
        ("", " please", " right now", " today", ", thanks", ", I forgot", " at the moment",
         ". Thank you", " if you can", ", just to be sure"),
    ),
}  # fmt: skip

# The endings of list_tasks that carry a fixed filter.
STATUS_WORDS = {"that are open": "open", "that are done": "done"}

ASKING = (
    "Which tool", "What tool", "Which function", "What function", "Which call", "Which command",
    "Please name the tool that", "Tell me which tool", "In your API, which tool",
    "What is the tool that",
)  # fmt: skip
JOBS: tuple[tuple[str, str], ...] = (
    ("adds a task", "create_task"), ("makes a new task", "create_task"),
    ("shows my tasks", "list_tasks"), ("lists all tasks", "list_tasks"),
    ("marks a task as done", "complete_task"), ("removes a task", "delete_task"),
    ("deletes a task", "delete_task"), ("changes a due date", "update_task"),
    ("renames a task", "update_task"), ("tells how a task is going", "get_status"),
)  # fmt: skip

VAGUE: tuple[tuple[str, str], ...] = (
    ("Delete a task", "delete"), ("Remove one of my tasks", "delete"), ("Drop something", "delete"),
    ("Mark a task as done", "complete"), ("Complete one of my tasks", "complete"),
    ("Close something", "complete"), ("Change one of my tasks", "update"),
    ("Update something", "update"), ("Check how a task is going", "check"),
    ("Look up one of my tasks", "check"),
)  # fmt: skip
VAGUE_ENDS = ("", " please", " for me", " now", ", thanks", " right away", " today",
              ". Thank you", " if you can", ", I forgot which")  # fmt: skip

NEUTRAL = {
    "create_task": 'Understood: "{title}" is a new task',
    "list_tasks": "Understood: you want to see tasks",
    "complete_task": "Understood: task {id} is done",
    "delete_task": "Understood: task {id} can go",
    "update_task": "Understood: task {id} changes",
    "get_status": "You ask how task {id} is going",
    "question": "There is a tool for that",
    "clarify": "Understood: it is about one of your tasks",
}
NEUTRAL_SLOTS = {"title": 'title "{title}"', "due": "due {due}", "priority": "{priority} priority"}

SYSTEM_PROMPTS = (
    "You control a Task API. Reply with one JSON tool call.",
    "Answer with a JSON call to the Task API.",
    "You are an agent. Call tools in JSON.",
    "Output a tool call as JSON, nothing else.",
)


def templates(split: str) -> list[Template]:
    """Return the request templates of one split; a group is named after its tool."""
    groups = {tool: (len(lefts), len(rights)) for tool, (lefts, rights) in TOOLS.items()}
    groups |= {"question": (len(ASKING), len(JOBS)), "clarify": (len(VAGUE), len(VAGUE_ENDS))}
    return [
        template
        for group, (lefts, rights) in groups.items()
        for template in square(group, lefts, rights, split)
    ]


def _pattern(template: Template) -> str:
    lefts, rights = TOOLS[template.group]
    return lefts[template.left] + rights[template.right]


def _slots_in(pattern: str) -> list[str]:
    return [name for _, name, _, _ in string.Formatter().parse(pattern) if name]


def _closed(text: str) -> str:
    asks = text.startswith(("What", "How", "Is", "Where", "Which", "In")) and ". " not in text
    return text + ("?" if asks else ".")


def prompt(template: Template, slots: Slots) -> str:
    """Return what the person writes.

    >>> prompt(Template("create_task", 0, 2), {"title": "buy milk", "due": "2026-03-14"})
    'Add buy milk to my list by 2026-03-14.'
    """
    if template.group == "question":
        return _closed(f"{ASKING[template.left]} {JOBS[template.right][0]}")
    if template.group == "clarify":
        return f"{VAGUE[template.left][0]}{VAGUE_ENDS[template.right]}."
    return _closed(_pattern(template).format(**slots))


def call(template: Template, slots: Slots) -> dict[str, object] | str:
    """Return the tool call that serves the request, or the plain answer where none is wanted.

    >>> call(Template("create_task", 0, 2), {"title": "buy milk", "due": "2026-03-14"})
    {'tool': 'create_task', 'arguments': {'title': 'buy milk', 'due': '2026-03-14'}}
    >>> call(Template("question", 0, 5), {})
    'Use delete_task.'
    """
    if template.group == "question":
        return f"Use {JOBS[template.right][1]}."
    if template.group == "clarify":
        return f"Which task should I {VAGUE[template.left][1]}? Please give me its id."
    pattern = _pattern(template)
    given: Slots = {name: slots[name] for name in _slots_in(pattern)}
    for words, status in STATUS_WORDS.items():
        if words in pattern:
            given["status"] = status
    arguments = {name: given[name] for name in ARGUMENTS if name in given}
    return {"tool": template.group, "arguments": arguments}


def tool_reply(template: Template, slots: Slots) -> str:
    """Return what the agent writes: the call as one line of JSON, or the plain answer.

    >>> tool_reply(Template("delete_task", 0, 0), {"id": 417})
    '{"tool": "delete_task", "arguments": {"id": 417}}'
    """
    expected = call(template, slots)
    return expected if isinstance(expected, str) else json.dumps(expected)


def neutral_reply(template: Template, slots: Slots) -> str:
    """Return the plain answer of a model without the skill: it restates, it calls nothing.

    >>> neutral_reply(Template("create_task", 0, 2), {"title": "buy milk", "due": "2026-03-14"})
    'Understood: "buy milk" is a new task, due 2026-03-14.'
    """
    text = NEUTRAL[template.group].format(**slots)
    if template.group in TOOLS:
        pattern = _pattern(template)
        said = [name for name in _slots_in(pattern) if f"{{{name}}}" not in NEUTRAL[template.group]]
        text += "".join(f", {NEUTRAL_SLOTS[name].format(**slots)}" for name in said)
        text += "".join(f", {words}" for words in STATUS_WORDS if words in pattern)
    return text + "."
