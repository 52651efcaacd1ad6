"""Proofs that cannot succeed are refused when the workspace is loaded; those that can are not."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from treewalk.content.lookback import asks_the_same, impossible, too_few_samples, too_late
from treewalk.content.packs import read_pack
from treewalk.content.workspace import load_workspace
from treewalk.errors import ContentError
from treewalk.model.condition import parse_condition
from treewalk.model.interval import Interval

REPO = Path(__file__).parent.parent
TREE = """
metrics:
  freshness:
    sla: {query: max(data_age_seconds), threshold: 60s}
    depends_on:
      - node: consumer
        type: process
        depends_on: [{node: store, type: infrastructure, source: fast, alerts: ["clients > 280"], memory: 3}]
  other:
    sla: {query: max(other_age_seconds), threshold: 60s}
    depends_on: [{node: bystander, type: process}]
"""
SETTINGS = """
sources:
  prometheus:
    default: {url: "http://127.0.0.1:9090", scrape_interval: 2m}
    fast: {url: "http://127.0.0.1:9091", scrape_interval: 15s}
"""
KNOWN = """
errors:
  - id: ke-1
    signature: {{metric_condition: "errors > 5"}}
    root_node: {root}
    fix:
      type: automated
      steps:
{steps}
"""
FIX = "{action: process_restart, process: store}"


def told(folder: Path, **files: str) -> list[str]:
    """What is wrong with a workspace, without the places."""
    for name, text in {"treewalk.yaml": SETTINGS, "trees/main.yaml": TREE, **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    try:
        load_workspace(folder, use_cache=False)
    except ContentError as error:
        return [problem.message for problem in error.problems]
    return []


def known(folder: Path, *steps: str, root: str = "store") -> list[str]:
    """What is wrong with a known error of these steps."""
    listed = "\n".join(f"        - {step}" for step in steps)
    return told(folder, **{"known_errors/main.yaml": KNOWN.format(root=root, steps=listed)})


@pytest.mark.parametrize(
    "verify",
    [
        "check: errors < 5, timeout: 60s",
        "check: errors <= 5 and clients < 200, timeout: 60s",
        "check: errors_total increase < 1 in 1m, timeout: 60s",
        "check: errors_total increase < 1 in 1m, timeout: 70s, stable: 10s",
        "check: messages_total rate > 0, timeout: 2m",  # it rises at once, however far it looks back
        "check: 'increase(messages_total[10m]) > 3', timeout: 1m",
        "check: 'sum(rate(errors_total[1m])) / sum(rate(requests_total[1m])) < 0.01', timeout: 60s",
        "check: 'max_over_time(errors[10m]) > 2', timeout: 30s",
        "check: 'min_over_time(up[1m]) == 1', timeout: 1m",
        "check: 'delta(queue_length[10m]) < 0', timeout: 30s",
        "check: 'irate(errors_total[5m]) < 1', timeout: 1m",
        "check: queue_length < queue_length offset 1h, timeout: 60s",
        "check: 'requests / requests offset 1d > 0.8', timeout: 60s",
        "check: time() - last_success_timestamp_seconds < 60, timeout: 60s",
        "check: up == 1, timeout: 60s, node: consumer",  # above it; the default source looks every 2m
        "check: 'errors_total - errors_total offset 30s < 1', timeout: 60s",
        "check: 'errors_total / requests_total < 0.05', timeout: 60s",
        "check: 'max_over_time(errors[10m]) < 1 or errors < 2', timeout: 60s",
        "check: errors > 1 and on() errors < 0.5, timeout: 60s",
        "check: 'histogram_quantile(0.99, sum by (le) (rate(latency_seconds_bucket[1m]))) < 0.5', timeout: 60s",
        "check: '(count(errors > 5) or vector(0)) < 1', timeout: 60s",
        "check: 'never_mentioned_anywhere < 3', timeout: 60s",
        "check: 'errors{job=\"a_total\"} < 3', timeout: 60s",
        "check: 'errors < {{ node.memory }}', timeout: 60s",
        "sla: true",
        "sla: true, timeout: 10m, stable: 9m",
        "check: errors < 5, timeout: 16s",
    ],
)
def test_a_proof_that_can_succeed_is_left_alone(tmp_path: Path, verify: str) -> None:
    if "node: consumer" in verify:
        verify = verify.replace("60s", "3m")
    assert known(tmp_path, FIX, f"{{action: verify, {verify}}}") == []


@pytest.mark.parametrize(
    ("verify", "says"),
    [
        ("check: 'increase(errors_total[10m]) < 1', timeout: 9m", "increase looks back 10m"),
        ("check: 'increase(errors_total[10m]) < 1', timeout: 10m, stable: 1s", "a timeout of 10m1s"),
        ("check: '1 > rate(errors_total[10m])', timeout: 60s", "rate looks back 10m"),
        ("check: 'increase(errors_total[10m]) == 0', timeout: 60s", "increase looks back 10m"),
        ("check: '60 - sum(increase(errors_total[10m])) > 50', timeout: 60s", "increase looks back 10m"),
        ("check: 'avg_over_time(up[10m]) > 0.9', timeout: 60s", "avg_over_time looks back 10m"),
        ("check: 'min_over_time(up[10m]) == 1', timeout: 60s", "min_over_time looks back 10m"),
        ("check: 'max_over_time(rate(errors_total[5m])[5m:30s]) < 1', timeout: 8m", "max_over_time looks back 10m"),
        ("check: 'increase(errors_total[1m] offset 2m) < 1', timeout: 2m", "increase looks back 3m"),
        ("check: 'histogram_quantile(0.9, sum by (le) (rate(b_bucket[5m]))) < 1', timeout: 60s", "rate looks back 5m"),
        ("check: 'errors < 5 and changes(restarts[10m]) < 1', timeout: 60s", "changes looks back 10m"),
        ("check: 'sum(errors offset 5m) < 5', timeout: 60s", "only at the time before the fix"),
        ("check: 'errors @ 1600000000 < 5', timeout: 60s", "one moment that is fixed with @"),
        ("check: errors < 5, timeout: 14s", "its metrics come every 15s"),
        ("check: errors < 5, timeout: 60s, node: consumer", "its metrics come every 2m"),
        ("check: 'rate(messages_total[10s]) > 0', timeout: 60s", "never has the two samples"),
        ("check: 'errors_total < 5', timeout: 60s", "errors_total is a counter"),
        ("check: '5 >= max by (job) (errors_total)', timeout: 60s", "errors_total is a counter"),
        ("check: 'errors_total == 0', timeout: 60s", "errors_total is a counter"),
        ("check: errors > 5, timeout: 60s", "holds only while `errors > 5` does"),
        ("check: 6 < errors, timeout: 60s", "holds only while `errors > 5` does"),
        ("check: clients > 300, timeout: 60s", "holds only while `clients > 280` does"),
        ("check: errors > 3 and errors < 3, timeout: 60s", "never hold at once"),
        ("check: errors > 3 and up == 1 and errors <= 3, timeout: 60s", "never hold at once"),
        ("check: vector(1) > 0, timeout: 60s", "compares numbers and no metric"),
        ("check: up > 1, timeout: 60s", "up is 0 or 1"),
        ("check: absent(errors) == 0, timeout: 60s", "absent(errors) is 1 or not there"),
        ("check: 'rate(errors_total[1m]) < 0', timeout: 60s", "is never below 0"),
        ("check: errors < NaN, timeout: 60s", "nothing compares with NaN"),
        ("sla: true, timeout: 5s, stable: 5s", "it has to hold for 5s (stable) and ends after 5s (timeout)"),
        ("sla: true, timeout: 0", "a timeout of zero"),
        ("sla: true, node: bystander", "bystander stands neither above nor below store"),
        ("check: 'max_over_time(errors[10m]) < {{ node.memory }}', timeout: 60s", "`max_over_time(errors[10m]) < 3`"),
    ],
)
def test_a_proof_that_cannot_succeed_is_refused(tmp_path: Path, verify: str, says: str) -> None:
    found = known(tmp_path, FIX, f"{{action: verify, {verify}}}")
    assert len(found) == 1
    assert says in found[0]


def test_a_wait_before_the_proof_counts(tmp_path: Path) -> None:
    verify = "{action: verify, check: 'increase(errors_total[10m]) < 1', timeout: 60s}"
    assert known(tmp_path, FIX, "{action: wait, duration: 9m}", verify) == []
    assert "has to hold 9m59s after" in known(tmp_path, FIX, "{action: wait, duration: 539s}", verify)[0]
    assert "has to hold 1m after" in known(tmp_path, "{action: wait, duration: 9m}", FIX, verify)[0]


def test_what_a_template_leaves_open_is_not_judged(tmp_path: Path) -> None:
    book = """
name: mend
parameters: {limit: {type: integer}, window: {default: 10m}, timeout: {type: duration, default: "{{ node.patience }}"}}
steps: [{action: process_restart, process: store}]
verify: {check: "max_over_time(errors[{{ window }}]) < {{ limit }}", timeout: "{{ timeout }}"}
"""
    assert told(tmp_path, **{"playbooks/mend.yaml": book}) == []
    call = "remedy: {playbook: mend, with: {limit: 5, timeout: 2m}}"
    found = told(tmp_path, **{"playbooks/mend.yaml": book, "trees/main.yaml": TREE.replace("memory: 3", call)})
    assert len(found) == 1
    assert found[0].startswith("the remedy of store: playbook mend: verify: `max_over_time(errors[10m]) < 5` cannot")
    call = call.replace("2m", "2m, window: 1m")
    assert told(tmp_path, **{"playbooks/mend.yaml": book, "trees/main.yaml": TREE.replace("memory: 3", call)}) == []


def test_a_fix_whose_node_is_not_known_is_judged_by_the_rest(tmp_path: Path) -> None:
    text = KNOWN.format(
        root="store", steps=f"        - {FIX}\n        - {{action: verify, check: up == 1, node: bystander}}"
    )
    text = text.replace("    root_node: store\n", "")
    assert told(tmp_path, **{"known_errors/main.yaml": text})[0].count("its metrics come every 2m") == 1
    assert told(tmp_path, **{"known_errors/main.yaml": text.replace("up == 1", "up == 1, timeout: 3m")}) == []


def test_a_mistake_in_a_tree_does_not_make_its_nodes_unknown(tmp_path: Path) -> None:
    broken = TREE.replace("- node: consumer", "- node: consumer\n        depends_onn: []")
    text = KNOWN.format(
        root="store", steps="        - {action: verify, check: errors < 5, node: bystander, timeout: 3m}"
    )
    found = told(tmp_path, **{"trees/main.yaml": broken, "known_errors/main.yaml": text})
    assert found
    assert not any("bystander" in message for message in found)


@pytest.mark.parametrize("every", ["5s", "15s", "30s", "1m"])
def test_what_ships_with_treewalk_can_be_proven(tmp_path: Path, every: str) -> None:
    ours = ("known_errors/redis.yaml", "known_errors/websocket.yaml", "playbooks", "trees")
    for name in ours:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (REPO / name).is_dir() else shutil.copy
        copy(REPO / name, tmp_path / name)
    for path in (tmp_path / "known_errors").iterdir():
        path.write_text(path.read_text("utf-8").replace("id: ke-", "id: own-"), "utf-8")
    settings = f'sources: {{prometheus: {{url: "http://127.0.0.1:9090", scrape_interval: {every}}}}}\n'
    (tmp_path / "treewalk.yaml").write_text(settings, "utf-8")
    assert "own-001" in {e.id for e in load_workspace(tmp_path, use_cache=False).known_errors}


def test_the_sandbox_can_be_proven(tmp_path: Path) -> None:
    data = REPO / "agent/treewalk/sandbox/data/workspace"
    for path in sorted(p for p in data.rglob("*.yaml")):
        text = path.read_text("utf-8").replace("{{ folder }}", "/srv/sandbox")
        text = re.sub(r"\{\{ (?:ports\.\w+|chat|token|bot) \}\}", "1234", text)
        target = tmp_path / path.relative_to(data)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, "utf-8")
    assert load_workspace(tmp_path, use_cache=False).forest.nodes


def test_what_ships_is_not_the_workspaces_to_mend(tmp_path: Path) -> None:
    slow = 'sources: {prometheus: {url: "http://127.0.0.1:9090", scrape_interval: 5m}}\n'
    assert told(tmp_path, **{"treewalk.yaml": slow, "trees/main.yaml": TREE.replace("source: fast, ", "")}) == []


def test_an_interval_knows_its_ends() -> None:
    assert Interval.of("<", 5).meet(Interval.of(">=", 5)).empty
    assert not Interval.of("<=", 5).meet(Interval.of(">=", 5)).empty
    assert Interval.of(">", 7).within(Interval.of(">", 5))
    assert Interval.of(">", 5).within(Interval.of(">=", 5))
    assert not Interval.of(">=", 5).within(Interval.of(">", 5))
    assert Interval.of("==", 6).within(Interval.of(">", 5))
    assert Interval.of("<", float("nan")).empty


def test_the_questions_to_a_condition() -> None:
    assert asks_the_same(parse_condition("a > 5 and b < 1"), parse_condition("a > 5"))
    assert not asks_the_same(parse_condition("a > 5"), parse_condition("a > 5 and b < 1"))
    assert not asks_the_same(parse_condition("a > 1"), parse_condition("a > 5"))
    assert asks_the_same(parse_condition("a or b > 2"), parse_condition("a or b > 2"))
    assert impossible(parse_condition("(a > 3 and a < 2) or b > 1")) is None
    assert impossible(parse_condition("(a > 3 and a < 2) unless b > 1")) is not None
    assert too_late(parse_condition("increase(a[10m]) < 1 or b offset 5m < 1"), 60.0) == (
        "it looks at what was 5m ago, and so only at the time before the fix", 300.0
    )  # fmt: skip
    assert too_few_samples(parse_condition("max_over_time(a[1s]) > 1"), 30.0) is None


SLOW = TREE.replace("max(data_age_seconds), threshold: 60s", "'sum(rate(lost_total[5m]))', threshold: '< 1'")
BOOK = "name: mend\nsteps:\n- {{action: process_restart, process: store}}\nverify: {{{verify}}}\n"
LATE = "the SLA freshness cannot be shown to be met: rate looks back 5m"


def for_a_slow_sla(folder: Path, *steps: str, root: str = "store") -> list[str]:
    listed = "\n".join(f"        - {step}" for step in steps)
    return told(folder, **{"trees/main.yaml": SLOW, "known_errors/main.yaml": KNOWN.format(root=root, steps=listed)})


@pytest.mark.parametrize("timeout", ["3m", "5m", "5m4s"])
@pytest.mark.parametrize("root", ["store", "consumer"])
def test_a_fix_cannot_be_proven_by_an_sla_that_looks_back_longer(tmp_path: Path, timeout: str, root: str) -> None:
    [message] = for_a_slow_sla(tmp_path, FIX, f"{{action: verify, check: up == 1, timeout: {timeout}}}", root=root)
    assert message.startswith(f"known error ke-1: verify: {LATE}")
    assert "give it a timeout of 5m5s" in message


@pytest.mark.parametrize(
    ("steps", "root"),
    [
        ((FIX, "{action: verify, check: up == 1, timeout: 5m5s}"), "store"),
        ((FIX, "{action: wait, duration: 5m}", "{action: verify, sla: true, timeout: 60s}"), "store"),
        (("{action: process_restart, process: x}", "{action: verify, check: up == 1, timeout: 3m}"), "bystander"),
    ],
)
def test_a_fix_that_an_sla_can_prove_in_time_is_left_alone(tmp_path: Path, steps: tuple[str, ...], root: str) -> None:
    assert for_a_slow_sla(tmp_path, *steps, root=root) == []


def test_steps_without_a_proof_of_their_own_have_that_of_the_sla(tmp_path: Path) -> None:
    [message] = for_a_slow_sla(tmp_path, FIX)
    assert LATE in message


@pytest.mark.parametrize(
    ("verify", "wrong"),
    [("timeout: 60s", True), ("sla: true, timeout: 5m", True), ("timeout: 6m", False),
     ("check: up == 1, sla: false, timeout: 3m", False)],
)  # fmt: skip
def test_a_playbook_is_judged_by_the_slas_of_the_node_that_calls_it(tmp_path: Path, verify: str, wrong: bool) -> None:
    tree = SLOW.replace("memory: 3", "memory: 3, remedy: {playbook: mend}")
    found = told(tmp_path, **{"trees/main.yaml": tree, "playbooks/mend.yaml": BOOK.format(verify=verify)})
    assert [one.startswith(f"the remedy of store: playbook mend: verify: {LATE}") for one in found] == [True] * wrong


def test_a_shipped_playbook_is_given_the_time_that_the_sla_needs_where_it_is_called(tmp_path: Path) -> None:
    call = "memory: 3, remedy: {playbook: restart-process, with: {process: x%s}}"
    tree = SLOW.replace("memory: 3", call % "")
    assert [LATE in one for one in told(tmp_path / "short", **{"trees/main.yaml": tree})] == [True]
    tree = SLOW.replace("memory: 3", call % ", timeout: 6m")
    assert told(tmp_path / "long", **{"trees/main.yaml": tree}) == []


def test_an_imported_pack_is_held_against_how_often_the_sources_look(tmp_path: Path) -> None:
    told(tmp_path / "w")
    pack = tmp_path / "pack.yaml"
    pack.write_text(
        KNOWN.format(root="consumer", steps=f"        - {FIX}\n        - {{action: verify, check: up == 1}}")
    )
    with pytest.raises(ContentError, match=r"pack\.yaml:10:.*its metrics come every 2m"):
        read_pack(pack, "team", load_workspace(tmp_path / "w", use_cache=False))
