"""A workspace: found, read whole, and every error in it told at once."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from treewalk.content import cache
from treewalk.content.builtin import builtin_folder
from treewalk.content.quiet import no_collection
from treewalk.content.trust import reason_to_distrust
from treewalk.errors import ContentError, UsageError
from treewalk.model.place import Problem
from treewalk.model.policy import Policy
from treewalk.model.tree import Forest

if TYPE_CHECKING:
    from treewalk.content.yaml import Item
    from treewalk.model.known import KnownError
    from treewalk.model.playbook import Playbook
    from treewalk.model.routing import Notify
    from treewalk.model.schedule import Schedule
    from treewalk.model.triage import Triage
    from treewalk.sdk import CheckDefinition
    from treewalk.settings import Settings

FILE = "treewalk.yaml"
VARIABLE = "TREEWALK_WORKSPACE"


@dataclass(frozen=True)
class Workspace:
    """Everything that the files say. `root` is None outside of a workspace; `state` is the folder of the memory."""

    root: Path | None
    settings: Settings
    forest: Forest
    known_errors: tuple[KnownError, ...]
    checks: Mapping[str, CheckDefinition]
    state: Path
    playbooks: Mapping[str, Playbook] = field(default_factory=dict)
    policy: Policy = field(default_factory=Policy)
    triage: Triage = field(default_factory=lambda: _no_triage())
    notify: Notify = field(default_factory=lambda: _no_notify())
    digests: tuple[Schedule, ...] = ()


def find_workspace(explicit: Path | None, environ: Mapping[str, str], cwd: Path) -> Path | None:
    """The workspace's folder: the one named, that of TREEWALK_WORKSPACE, or the nearest upward with a treewalk.yaml.

    None when there is none upward. Raises UsageError when the one named is not a workspace, and when the one upward
    may be a stranger's: its checks are code. One that is named is trusted.
    """
    named = explicit or (Path(environ[VARIABLE]) if environ.get(VARIABLE) else None)
    if named is not None:
        root = named.parent if named.name == FILE else named
        if not (cwd / root / FILE).is_file():
            raise UsageError(f"no workspace at {named}: there is no {FILE}; `treewalk init {named}` makes one")
        return (cwd / root).resolve()
    for folder in (cwd, *cwd.parents):
        if (folder / FILE).is_file():
            root = folder.resolve()
            why = reason_to_distrust(root, (FILE,), environ)
            if why is not None:
                raise UsageError(
                    f"the workspace {root} is not used unasked, as it may hold code: {why}; "
                    f"if you trust it, name it: --workspace {root}, or {VARIABLE}={root}"
                )
            return root
    return None


def required(root: Path | None) -> Path:
    """The workspace's folder, where there has to be one. Raises UsageError."""
    if root is None:
        raise UsageError(
            f"no workspace here or above: there is no {FILE}; `treewalk init` makes one, --example takes the examples"
        )
    return root


def load_workspace(root: Path | None, *, example: bool = False, use_cache: bool = True) -> Workspace:
    """Read a workspace; `example` takes the trees and known errors that ship with treewalk instead of its own, and
    none of its checks: no code of it runs.

    Raises ContentError holding every problem of every file.
    """
    reading = _Reading(root, example)
    with no_collection():
        workspace = reading.load()
    if reading.problems:
        raise ContentError(sorted(set(reading.problems)))
    if use_cache:
        cache.save(cache.cache_folder(os.environ), reading.key, workspace.forest)
    return workspace


def load_forest(root: Path | None, *, example: bool = False) -> Forest:
    """Only the forest, from the cache where nothing has changed since: the quick road of `impact` and `tree`.

    Raises ContentError like `load_workspace`.
    """
    key = _Reading(root, example).key
    found = cache.load(cache.cache_folder(os.environ), key)
    return found if found is not None else load_workspace(root, example=example).forest


@dataclass
class _Reading:
    root: Path | None
    example: bool
    problems: list[Problem] = field(default_factory=list)
    unreadable: set[str] = field(default_factory=set)  # the kinds of files of which one could not be read at all

    @property
    def key(self) -> str:
        files = [*self.files("trees", "*.y*ml"), *self.files("checks", "*.py", own=True)]
        if self.root is not None:
            files.append((FILE, self.root / FILE))
        files += [(f"builtin/{p.name}", p) for p in sorted(builtin_folder("checks").glob("*.py"))]
        return cache.fingerprint(files)

    def files(self, kind: str, pattern: str, *, own: bool = False) -> list[tuple[str, Path]]:
        """The files of one content folder with the names that people see."""
        if self.example and not own:
            folder, label = builtin_folder(kind), f"example:{kind}/"
        elif self.root is not None:
            folder, label = self.root / kind, f"{kind}/"
        else:
            return []
        paths = sorted(p for p in folder.rglob(pattern) if p.is_file() and p.suffix in (".yaml", ".yml", ".py"))
        return [(f"{label}{p.relative_to(folder)}", p) for p in paths]

    def documents(self, files: Iterable[tuple[str, Path]]) -> Iterable[Item]:
        from treewalk.content.yaml import read

        for name, path in files:
            before = len(self.problems)
            item = read(path, name, self.problems)
            if item is not None:
                yield item
            elif len(self.problems) > before:
                self.unreadable.add(name.split(":")[-1].split("/")[0])

    def load(self) -> Workspace:
        root = self.settings_file()
        settings = self.settings(root)
        checks = self.checks()
        forest = self.forest(root, settings, checks)
        known_errors, playbooks = self.known_errors(forest), self.playbooks()
        self.check_fixes(known_errors, forest, playbooks, settings)
        self.check_watch(root, settings, forest)
        return Workspace(
            root=self.root,
            settings=settings,
            forest=forest,
            known_errors=known_errors,
            checks=checks,
            state=_state_folder(self.root, settings),
            playbooks=playbooks,
            policy=self.policy(root, settings, forest),
            triage=self.triage(root, settings, forest),
            notify=self.notify(root, settings, forest),
            digests=self.digests(root, settings),
        )

    def settings_file(self) -> Item | None:
        found = self.documents([(FILE, self.root / FILE)]) if self.root is not None else ()
        return next(iter(found), None)

    def settings(self, item: Item | None) -> Settings:
        from treewalk.content.configuration import read_settings
        from treewalk.settings import Settings

        return Settings() if item is None else read_settings(item, self.problems)

    def checks(self) -> dict[str, CheckDefinition]:
        from treewalk.content.checks import load_checks

        found = load_checks(builtin_folder("checks"), "built-in", "builtin/checks/", self.problems)
        if self.root is not None and not self.example and not _same(self.root / "checks", builtin_folder("checks")):
            found |= load_checks(self.root / "checks", None, "checks/", self.problems)
        return found

    def forest(self, root: Item | None, settings: Settings, checks: Mapping[str, CheckDefinition]) -> Forest:
        from treewalk.content.checks import bind_with, needs_with
        from treewalk.content.trees import Draft, finish, read_tree_file
        from treewalk.content.windows import read_windows

        draft = Draft(self.problems, _cached(bind_with(checks)), needs_with(checks))
        windows = root.value.get("windows") if root is not None and isinstance(root.value, dict) else None
        if windows is not None and isinstance(windows.value, dict):
            draft.windows |= read_windows(windows, self.problems)
        if not self.problems:
            draft.sources = _source_names(settings)
        for item in self.documents(self.files("trees", "*.y*ml")):
            if item.value is not None:
                read_tree_file(item, draft)
        draft.complete = not self.unreadable & {"trees", FILE}
        return finish(draft)

    def known_errors(self, forest: Forest) -> tuple[KnownError, ...]:
        from treewalk.content.known_errors import KnownDraft, check_nodes, read_known_errors

        draft = KnownDraft(self.problems)
        shipped = [(f"builtin/{p.name}", p) for p in sorted(builtin_folder("known_errors").rglob("*.y*ml"))]
        if self.root is None or not _same(self.root / "known_errors", builtin_folder("known_errors")):
            for item in self.documents(shipped):
                read_known_errors(item, draft)
        built_in = set(draft.errors)
        own = [] if self.example else self.files("known_errors", "*.y*ml")
        for item in self.documents(own):
            if item.value is not None:
                read_known_errors(item, draft)
        mine = [e for e in draft.errors.values() if e.id not in built_in]
        if "trees" not in self.unreadable:
            check_nodes(mine, forest, self.problems)
        return tuple(draft.errors.values())

    def playbooks(self) -> dict[str, Playbook]:
        from treewalk.content.playbooks import read_playbook

        shipped = [(f"builtin/playbooks/{p.name}", p) for p in sorted(builtin_folder("playbooks").rglob("*.y*ml"))]
        found: dict[str, Playbook] = {}
        for item in self.documents(shipped):
            playbook = read_playbook(item, self.problems)
            if playbook is not None:
                found[playbook.name] = playbook
        if self.root is not None and not _same(self.root / "playbooks", builtin_folder("playbooks")):
            found |= self._own_playbooks()
        return found

    def _own_playbooks(self) -> dict[str, Playbook]:
        """A workspace's own; one of the same name as a built-in takes its place."""
        from treewalk.content.playbooks import read_playbook

        found: dict[str, Playbook] = {}
        for item in self.documents(self.files("playbooks", "*.y*ml", own=True)):
            playbook = read_playbook(item, self.problems) if item.value is not None else None
            if playbook is None:
                continue
            if playbook.name in found:
                message = f"the playbook {playbook.name!r} is there twice; first in {found[playbook.name].place.file}"
                self.problems.append(Problem(item.place, message))
            found.setdefault(playbook.name, playbook)
        return found

    def check_fixes(
        self, known_errors: Iterable[KnownError], forest: Forest, playbooks: Mapping[str, Playbook], settings: Settings
    ) -> None:
        from treewalk.content.fixes import check_fixes

        if not self.unreadable & {"playbooks"}:
            check_fixes(known_errors, forest, playbooks, self.problems, scrape_intervals(settings))

    def check_watch(self, root: Item | None, settings: Settings, forest: Forest) -> None:
        from treewalk.content.watch import check_watch

        if settings.watch is not None and not self.example and not self.unreadable & {"trees"}:
            check_watch(settings.watch.slas, forest.slas, root, self.problems)

    def policy(self, root: Item | None, settings: Settings, forest: Forest) -> Policy:
        from treewalk.content.policy import read_policy
        from treewalk.content.windows import BUILT_IN

        telegram = settings.notify.telegram
        users = [("telegram", name) for name in telegram.users] if telegram else []
        return read_policy(settings.policy, {**BUILT_IN, **forest.windows}, root, self.problems, users)

    def triage(self, root: Item | None, settings: Settings, forest: Forest) -> Triage:
        from treewalk.content.triage import read_triage
        from treewalk.content.windows import BUILT_IN

        source = (self.root / FILE).read_text("utf-8", "replace") if root is not None and self.root else ""
        return read_triage(settings.triage, {**BUILT_IN, **forest.windows}, root, source, self.problems)

    def notify(self, root: Item | None, settings: Settings, forest: Forest) -> Notify:
        from treewalk.content.notify import read_notify
        from treewalk.content.windows import BUILT_IN

        return read_notify(settings.notify, {**BUILT_IN, **forest.windows}, root, self.problems)

    def digests(self, root: Item | None, settings: Settings) -> tuple[Schedule, ...]:
        from treewalk.content.notify import read_digests

        return read_digests(settings.notify, root, self.problems)


def scrape_intervals(settings: Settings) -> dict[str, float | None]:
    """How often each metric source looks, in seconds, by its name; None where it is not said."""
    return {name: source.scrape_interval for name, source in settings.sources.prometheus.items()}


def _cached(bind: Any) -> Any:
    """Equal healthcheck blocks are validated once."""

    @lru_cache(maxsize=50_000)
    def remembered(method: str, key: str) -> Any:
        return bind(method, json.loads(key))

    def ask(method: str, params: Mapping[str, Any]) -> Any:
        return remembered(method, json.dumps(params, sort_keys=True))

    return ask


def _source_names(settings: Settings) -> dict[str, list[str]]:
    sources = settings.sources
    if not (sources.prometheus or sources.loki or sources.files):
        return {"metric": ["default"], "log": ["default"]}
    return {"metric": [*sources.prometheus], "log": [*sources.loki, *(["files"] if sources.files else [])]}


def _no_triage() -> Triage:
    from treewalk.model.triage import Triage

    return Triage()


def _no_notify() -> Notify:
    from treewalk.model.routing import Notify

    return Notify()


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def _state_folder(root: Path | None, settings: Settings) -> Path:
    if root is not None:
        return (root / settings.store.path).parent
    base = os.environ.get("XDG_STATE_HOME")
    return Path(base or Path.home() / ".local" / "state") / "treewalk"
