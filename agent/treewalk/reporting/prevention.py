"""What could keep an incident from coming back: proposals by the category of the known error, as a table. They are
proposals of rules, not findings, and reports say so. `{node}` is the root cause."""

from __future__ import annotations

PROPOSALS: dict[str, tuple[str, ...]] = {
    "resource_exhaustion": (
        "Set a limit for what {node} may use, and alert at four fifths of it rather than at the end.",
        "Measure the trend of what ran out at {node}, so that the next time is foreseen.",
        "Let the users of {node} release what they hold: time-outs for idle clients, bounds for pools and queues.",
        "Check whether {node} was sized for the load that it has today.",
    ),
    "source_delay": (
        "Agree with the owner of {node} on how late it may be, and alert them directly.",
        "Let what reads from {node} bear its delay: buffer, retry with growing pauses, tell stale from missing.",
        "Measure the delay of {node} by itself, so that it is told from a fault of what reads from it.",
    ),
    "configuration": (
        "Check the configuration of {node} before it is put to use, in the same pipeline that delivers it.",
        "Keep the configuration of {node} under version control and compare what runs with what is written.",
        "Roll changes of {node} out step by step, with a check between the steps.",
    ),
    "deployment": (
        "Roll {node} out to a part first, and let the SLA decide on the rest.",
        "Make the way back from a release of {node} one rehearsed step.",
        "Mark releases of {node} where treewalk reads changes, so that they are evidence the next time.",
    ),
    "dependency": (
        "Give what calls {node} a time-out and a way to do without it for a while.",
        "Write the dependency on {node} and its own SLA into the tree, if it is not there.",
    ),
    "network": (
        "Measure reachability and loss between {node} and its neighbours from both ends.",
        "Check whether {node} has a second way, and whether it is ever tried.",
    ),
    "data": (
        "Check the data at the entrance of {node}, and set aside what does not fit instead of stopping.",
        "Alert on what {node} sets aside.",
    ),
    "crash": (
        "Keep the last words of {node} (log, dump) beyond its restart, and find out why it ended.",
        "Let {node} be started again by its supervisor, with growing pauses and an alert when it happens often.",
    ),
    "learned": (
        "Review the learned pattern of {node}: is it the cause, or only what is seen of it?",
        "Give the known error of {node} a category, so that proposals fit it.",
    ),
}
GENERAL: tuple[str, ...] = (
    "Find out why {node} failed, beyond what brought it back.",
    "Alert on the first sign that the evidence shows, rather than on the SLA.",
    "Write a known error for this cause, so that it is recognised at once the next time.",
)


def proposals(category: str, node: str) -> tuple[str, ...]:
    """Proposals for a category; general ones where it is not known."""
    return tuple(one.replace("{node}", node) for one in PROPOSALS.get(category, GENERAL))
