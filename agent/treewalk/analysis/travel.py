"""How well one broken node would account for everything that is seen: trouble that travels up a tree. Pure.

For each suspected origin the story is told from there: it changes at some moment in some way; a while later what
depends on it changes alike, then what depends on that, up to the SLA; some of what stands beneath is starved. The
evidence of every node is weighed against that story by the forward pass of a belief network (Pearl, "Probabilistic
Reasoning in Intelligent Systems", 1988; the same idea ranks causes in Shrink, Kandula et al., 2005, and Sherlock,
Bahl et al., 2007). So an origin is credited with what it explains on its ways up, pays for what should have changed
and did not, and trouble off its ways counts for nobody: a loud stranger that nothing above it follows stays alone.

All numbers are natural logarithms of how much likelier the evidence is with the story than without it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from treewalk.analysis.changes import SHAPE_PRIOR, SHAPES

Array = NDArray[np.float64]

_LOST = 1e-3  # a story less sure than this is not carried on
_BATCH = 256  # origins at once: bounds the memory


@dataclass(frozen=True, slots=True)
class Habits:
    """What is usual of trouble. Round numbers, chosen on generated incidents; results move by a point or two when one
    is changed by a half, but for `alike` and the three of growth (docs/decisions/071-incidents.md)."""

    passes: float = 0.75  # trouble of a dependency reaches its dependent
    delay_steps: float = 1.5  # after this many samples on average,
    delay_windows: float = 0.02  # or this much of a window where samples are dense
    # An effect is seen a step before its cause, three steps more a third as often: samples are not taken together, and
    # a cause that is measured as a rate shows late.
    early: float = 0.025
    alike: float = 0.6  # an effect changes in the same shape as its cause
    outside: float = 0.02  # the SLA breaks though the trouble did not reach it
    starved: float = 0.3  # what stands right beneath the origin changes in consequence,
    beside: float = 0.2  # or what shares a dependent with it,
    near: float = 0.05  # or what stands beneath something further up
    growth: float = 0.5  # log of how much larger (in robust deviations) an effect may be before it speaks
    growth_cost: float = 1.5  # against the cause, by this for each e-fold more,
    growth_most: float = 3.0  # and this at the most: deviations of unlike metrics compare poorly


@dataclass(frozen=True, slots=True)
class Seen:
    """What is seen at a node: for each shape and moment, the log of how much likelier it is with trouble that begins
    there and then than with none. `size` is its largest deviation; `told` says that somebody declared the trouble."""

    evidence: Array
    size: float | None = None
    told: bool = False


@dataclass(frozen=True, slots=True)
class Account:
    """What one origin accounts for: its own trouble, that of its ways up, that of the SLA, that of what is starved."""

    own: float
    path: float
    sla: float
    beneath: float


@dataclass(frozen=True)
class Story:
    """The stage: who depends on whom, what stands right below the SLA, what is seen, and the moments (seconds).

    `step` is the distance of moments, `sampling` that of the samples behind them, `window` the length looked at.
    """

    below: Mapping[str, Collection[str]]
    tops: Sequence[str]
    seen: Mapping[str, Seen]
    sla: Array
    step: float
    sampling: float
    window: float
    habits: Habits = field(default_factory=Habits)


def accounts(story: Story, origins: Iterable[str]) -> dict[str, Account]:
    """The account of each origin. The order in which nodes are given decides nothing."""
    found: dict[str, Account] = {}
    names = sorted(origins)
    order = children_first(story.below)
    for begin in range(0, len(names), _BATCH):
        found |= _Telling(story, names[begin : begin + _BATCH], order).told()
    return found


def children_first(below: Mapping[str, Collection[str]]) -> list[str]:
    """Every node after all that it depends on; a fixed order, whatever the order of the mapping. No cycles allowed."""
    order: list[str] = []
    opened: set[str] = set()
    for root in sorted(below):
        stack = [(root, False)]
        while stack:
            name, done = stack.pop()
            if done:
                order.append(name)
            elif name not in opened:
                opened.add(name)
                stack.append((name, True))
                stack.extend((child, False) for child in sorted(below[name], reverse=True))
    return order


@dataclass(slots=True)
class _Reached:
    """For the origins at or below a node: how likely its trouble is theirs, and when and how it then began."""

    rows: NDArray[np.intp]
    sure: Array
    began: Array


class _Telling:
    """The stories of a batch of origins, told together: one pass over the tree from the leaves up."""

    def __init__(self, story: Story, origins: Sequence[str], order: Sequence[str]) -> None:
        self.story, self.habits, self.order = story, story.habits, order
        self.number = {name: i for i, name in enumerate(origins)}
        self.count = len(origins)
        self.shape: tuple[int, int] = story.sla.shape
        self.later, self.soon = self._delays()
        mixed = np.full((len(SHAPES), len(SHAPES)), 1.0) * SHAPE_PRIOR[None, :]
        self.kinship = self.habits.alike * np.eye(len(SHAPES)) + (1 - self.habits.alike) * mixed
        self.under: dict[str, NDArray[np.bool_]] = {}
        self.reached: dict[str, _Reached] = {}
        self.own, self.path = np.zeros(self.count), np.zeros(self.count)
        self.starving: dict[str, Array] = {}

    def told(self) -> dict[str, Account]:
        waiting = dict.fromkeys(self.story.below, 0)
        for children in self.story.below.values():
            for child in children:
                waiting[child] += 1
        for name in self.order:
            self._reach(name)
            for child in self.story.below[name]:
                waiting[child] -= 1
                if not waiting[child] and child not in self.story.tops:
                    self.reached.pop(child, None)
        sla = self._sla()
        beneath = sum((self.starving[name] for name in sorted(self.starving)), np.zeros(self.count))
        return {
            name: Account(float(self.own[i]), float(self.path[i]), float(sla[i]), float(beneath[i]))
            for name, i in self.number.items()
        }

    def _delays(self) -> tuple[Array, Array]:
        """From one moment to the next: of an effect above, and of starvation beneath, which is strictly later."""
        step, moments = self.story.step, self.shape[1]
        mean = max(self.habits.delay_steps * self.story.sampling, self.habits.delay_windows * self.story.window)
        lag = (np.arange(moments)[None, :] - np.arange(moments)[:, None]) * step
        after = np.where(lag > -0.5 * step, np.exp(-np.maximum(lag, 0) / mean), 0.0)
        after += np.where(lag < -0.5 * step, self.habits.early * np.exp(np.minimum(lag + step, 0.0) / (3 * step)), 0.0)
        strictly = np.where(lag > 0.5 * step, np.exp(-np.maximum(lag - step, 0) / (2 * mean)), 0.0)
        return _normalised(after), _normalised(strictly)

    def _likelihood(self, name: str) -> Array:
        seen = self.story.seen.get(name)
        return np.exp(np.minimum(seen.evidence, 50.0)) if seen is not None else np.ones(self.shape)

    def _reach(self, name: str) -> None:
        """Carry every origin's story one node further: to this one, from all that it depends on."""
        children = [c for c in sorted(self.story.below[name]) if c in self.under]
        under = np.zeros(self.count, dtype=bool)
        for child in children:
            under |= self.under[child]
        mine = self.number.get(name)
        if mine is not None:
            under[mine] = True
        elif not under.any():
            return
        self.under[name] = under
        likelihood = self._likelihood(name)
        sure, began = np.zeros(self.count), np.zeros((self.count, *self.shape))
        rows = np.unique(np.concatenate([np.empty(0, np.intp), *(self.reached[c].rows for c in children)]))
        if len(rows):
            sure[rows], began[rows] = self._arrival(name, children, rows, likelihood)
        if mine is not None:
            joint = SHAPE_PRIOR[:, None] / self.shape[1] * likelihood
            self.own[mine] = math.log(joint.sum())
            sure[mine], began[mine] = 1.0, joint / joint.sum()
        here = np.flatnonzero(sure > _LOST)
        self.reached[name] = _Reached(here, sure[here], began[here])
        self._starve(name, mine)

    def _arrival(
        self, name: str, children: Sequence[str], rows: NDArray[np.intp], likelihood: Array
    ) -> tuple[Array, Array]:
        """Whether, when and how trouble from beneath began here, given what is seen; and what that is worth."""
        weight, spared, fits = np.zeros(self.count), np.ones(self.count), np.zeros(self.count)
        source = np.zeros((self.count, *self.shape))
        for child in children:
            at = self.reached[child]
            weight[at.rows] += at.sure
            spared[at.rows] *= 1 - self.habits.passes * at.sure
            fits[at.rows] += at.sure * self._fits(child, name)
            source[at.rows] += at.sure[:, None, None] * at.began
        total = np.maximum(weight[rows], 1e-12)
        joint = self._onwards(source[rows] / total[:, None, None]) * likelihood
        worth = joint.sum(axis=(1, 2))
        told = worth * fits[rows] / total
        passed = 1 - spared[rows]
        gained = passed * told + 1 - passed
        self.path[rows] += np.log(gained)
        return passed * told / gained, joint / np.maximum(worth, 1e-300)[:, None, None]

    def _onwards(self, began: Array) -> Array:
        """When and how an effect is expected to begin."""
        return np.asarray(np.einsum("rhg,hk->rkg", began @ self.later, self.kinship))

    def _fits(self, cause: str, effect: str) -> float:
        """Effects are rarely much larger than their causes: 1, and less the more one is."""
        first, second = self.story.seen.get(cause), self.story.seen.get(effect)
        if first is None or second is None or not first.size or not second.size:
            return 1.0
        habits = self.habits
        excess = math.log(second.size / first.size) - habits.growth
        return math.exp(-min(habits.growth_most, habits.growth_cost * max(0.0, excess)))

    def _starve(self, name: str, mine: int | None) -> None:
        """What changed beneath or beside a story, later than it, may be its consequence and then is no rival.

        Declared trouble is not waved away like that: a check that fails beneath is more likely the origin itself.
        """
        seen = self.story.seen
        children = [c for c in sorted(self.story.below[name]) if c in seen and not seen[c].told]
        if not children:
            return
        at, habits = self.reached[name], self.habits
        expected = at.began.sum(axis=1) @ self.soon
        felt = np.stack([(SHAPE_PRIOR[:, None] * self._likelihood(c)).sum(axis=0) for c in children], axis=1)
        siblings = {self.number[c] for c in self.story.below[name] if c in self.number}
        usual = [habits.starved if r == mine else habits.beside if r in siblings else habits.near for r in at.rows]
        chance = (np.array(usual) * at.sure)[:, None]
        gain = np.log(chance * (expected @ felt) + 1 - chance)
        for column, child in enumerate(children):
            free = ~self.under[child][at.rows] if child in self.under else np.ones(len(at.rows), dtype=bool)
            kept = self.starving.setdefault(child, np.zeros(self.count))
            rows, new = at.rows[free], gain[free, column]
            kept[rows] = np.where(np.abs(new) > np.abs(kept[rows]), new, kept[rows])

    def _sla(self) -> Array:
        """How well the SLA's own trouble follows from the stories that arrive at it."""
        weight, spared = np.zeros(self.count), np.ones(self.count)
        source = np.zeros((self.count, *self.shape))
        for name in sorted(set(self.story.tops)):
            at = self.reached.get(name)
            if at is not None:
                weight[at.rows] += at.sure
                spared[at.rows] *= 1 - at.sure
                source[at.rows] += at.sure[:, None, None] * at.began
        expected = self._onwards(source / np.maximum(weight, 1e-12)[:, None, None])
        worth = (expected * np.exp(self.story.sla)).sum(axis=(1, 2))
        passed = 1 - spared
        return np.asarray(np.log(np.maximum(passed * worth + (1 - passed) * self.habits.outside, 1e-12)))


def _normalised(rows: Array) -> Array:
    total: Array = rows / np.maximum(rows.sum(axis=1, keepdims=True), 1e-12)
    return total
