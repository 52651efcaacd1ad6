"""What a workspace allows: rules as data, read from `policy:` in treewalk.yaml. Pure.

A workspace may forbid more than the never tier does, and never less: that tier is in `model.acting`, as code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from treewalk.model.acting import Autonomy
from treewalk.model.window import Span, Window


@dataclass(frozen=True, slots=True)
class Scope:
    """What a rule is about: an action's kind (or glob), a node (name, glob or `type:X`), tags of the SLA. All given
    have to fit; nothing given fits everything."""

    action: str | None = None
    node: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    def fits(self, kind: str, node: str, node_type: str, tags: Mapping[str, str]) -> bool:
        """Whether a step of this kind at this node is meant."""
        if self.action is not None and not fnmatchcase(kind, self.action):
            return False
        if self.node is not None and not _node_fits(self.node, node, node_type):
            return False
        return all(tags.get(key) == value for key, value in self.tags.items())

    @property
    def specificity(self) -> tuple[int, int, int]:
        """More is more specific: the node counts before the action, exact before glob."""
        return (_exactness(self.node), _exactness(self.action), len(self.tags))

    def __str__(self) -> str:
        parts = [self.action or "any action"]
        if self.node:
            parts.append(f"at {self.node}")
        if self.tags:
            parts.append("of SLAs with " + ", ".join(f"{k}={v}" for k, v in sorted(self.tags.items())))
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class TierRule:
    """How far treewalk may go by itself within a scope.

    `after` (seconds) is for how long the node has to have been unhealthy. Without it the tier `after` takes that of
    the policy; `known` and `ask` wait only where it is given.
    """

    scope: Scope
    tier: Autonomy
    after: float | None = None


@dataclass(frozen=True, slots=True)
class Maintenance:
    """Nodes (names, globs, `type:X`) that are somebody else's while a window is open."""

    window: Window | Span
    nodes: tuple[str, ...] = ("*",)


@dataclass(frozen=True, slots=True)
class Limits:
    """How many actions may run within `period` seconds."""

    per_node: int = 3
    per_kind: int = 6
    total: int = 12
    period: float = 3600.0


@dataclass(frozen=True, slots=True)
class Repeats:
    """The same action at the same node again: it waits `first` seconds, then `factor` times as long each time;
    after `most` within `within` seconds a human is asked."""

    within: float = 3600.0
    most: int = 3
    first: float = 60.0
    factor: float = 2.0


@dataclass(frozen=True, slots=True)
class Costs:
    """What may be spent, in the unit that playbooks count in. None: no bound."""

    per_action: float | None = None
    per_incident: float | None = None


@dataclass(frozen=True, slots=True)
class Allow:
    """What steps may reach that do not say it themselves: URL prefixes, and folders. Nothing, unless given."""

    endpoints: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()

    @property
    def by_parameter(self) -> Mapping[str, tuple[str, ...]]:
        """The same by the name of the parameter that it fills in."""
        return {"allow": self.endpoints, "within": self.folders}


@dataclass(frozen=True, slots=True)
class Bound:
    """What a known error has to have shown before its fix runs alone: at least `fires` tries, and this lower bound
    (Wilson, 95 %) of its success rate. A bound of 0 asks for nothing."""

    success: float = 0.0
    fires: int = 0


@dataclass(frozen=True, slots=True)
class Returns:
    """A symptom that comes back within `within` seconds means that the fix did not fix; after `tries` such failures
    the known error is suspended."""

    within: float = 3600.0
    tries: int = 3


@dataclass(frozen=True)
class Policy:
    """All rules. Spans in seconds. The default is careful: see docs/policy.md."""

    tiers: tuple[TierRule, ...] = ()
    forbid: tuple[Scope, ...] = ()
    ask: tuple[Scope, ...] = ()
    freeze: tuple[Window | Span, ...] = ()
    maintenance: tuple[Maintenance, ...] = ()
    limits: Limits = field(default_factory=Limits)
    repeats: Repeats = field(default_factory=Repeats)
    costs: Costs = field(default_factory=Costs)
    allow: Allow = field(default_factory=Allow)
    blast_radius: int | None = None
    rehearse: bool = True
    known: Bound = field(default_factory=Bound)
    returns: Returns = field(default_factory=Returns)
    trust_after: int | None = None  # wins after which a learned pattern is trusted without a human; None: never
    approval_expires: float = 1800.0
    approvers: tuple[str, ...] = ()
    users: tuple[tuple[str, str], ...] = ()  # a channel, and the name of one whose id it checks
    after: float = 300.0
    unmet: float = 14400.0  # for so long an incident that a human has takes what comes about its unmet SLAs
    read_only: bool = False

    def may_approve(self, who: str, via: str) -> bool:
        """Whether the answer of this name counts. The command line's does: who has it can change the files too."""
        return bool(who) and (via == "cli" or who in self.approvers or (via, who) in self.users)

    def tier_of(self, kind: str, default: Autonomy, node: str, node_type: str, tags: Mapping[str, str]) -> TierRule:
        """The tier of a step: `never` wherever any rule says so, else the most specific rule, else the action's own.

        Among equally specific rules the strictest holds.
        """
        fitting = [rule for rule in self.tiers if rule.scope.fits(kind, node, node_type, tags)]
        if not fitting:
            return TierRule(Scope(action=kind), default)
        forbidden = [rule for rule in fitting if rule.tier is Autonomy.NEVER]
        if forbidden:
            return forbidden[0]
        return max(fitting, key=lambda rule: (rule.scope.specificity, rule.tier.strictness, self._wait(rule)))

    def _wait(self, rule: TierRule) -> float:
        if rule.after is not None:
            return rule.after
        return self.after if rule.tier is Autonomy.AFTER else 0.0


def _node_fits(wanted: str, node: str, node_type: str) -> bool:
    if wanted.startswith("type:"):
        return fnmatchcase(node_type, wanted.removeprefix("type:"))
    return fnmatchcase(node, wanted)


def node_fits(wanted: str, node: str, node_type: str) -> bool:
    """Whether a node is meant by a name, a glob or `type:X`."""
    return _node_fits(wanted, node, node_type)


def _exactness(text: str | None) -> int:
    if text is None:
        return 0
    if any(c in text for c in "*?["):
        return 1
    return 2 if text.startswith("type:") else 3


def endpoint(text: str) -> str:
    """A URL prefix below which may be called. Raises ValueError for one that is no plain address."""
    try:
        parts = urlsplit(text)
        plain = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
        plain = plain and parts.port != 0 and not parts.query and not parts.fragment
    except ValueError:
        plain = False
    if not plain or any(c.isspace() or c in "{}$*" for c in text):
        raise ValueError("it has to be a plain URL without user and query, such as http://app:8080/-/")
    return text


def folder(text: str) -> str:
    """A folder below which files may be replaced. Raises ValueError for the root, and for one with detours."""
    parts = text.split("/")
    below_root = parts[0] == "" and any(part not in ("", ".") for part in parts)
    if not below_root or ".." in parts or any(c in "{}$*" for c in text):
        raise ValueError("it has to be an absolute path without '..' below the root, such as /etc/app")
    return text
