"""A workspace: found, laid over what ships, cached, and never run unless it is declared."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from treewalk import Probe, Verdict, check, healthy
from treewalk.content import cache, codec
from treewalk.content.checks import load_checks
from treewalk.content.secrets import resolver
from treewalk.content.starter import write_workspace
from treewalk.content.workspace import find_workspace, load_forest, load_workspace
from treewalk.errors import ContentError, SettingsError, UsageError
from treewalk.model.place import Problem

CHECK = '''"""A check."""
from treewalk import Probe, Seconds, Verdict, check, healthy


@check("{name}")
async def run(probe: Probe, *, patience: Seconds = 5) -> Verdict:
    """{doc}"""
    return healthy("yes")
'''


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "treewalk"


def write(folder: Path, **files: str) -> Path:
    for name, text in {"treewalk.yaml": "{}\n", **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return folder


def test_a_workspace_is_found_upward_from_the_working_folder(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert find_workspace(None, {}, tmp_path / "a" / "b") == tmp_path.resolve()


def test_the_option_wins_over_the_variable_and_the_variable_over_the_folder(tmp_path: Path) -> None:
    one, two, three = (write(tmp_path / n) for n in ("one", "two", "three"))
    assert find_workspace(one, {"TREEWALK_WORKSPACE": str(two)}, three) == one
    assert find_workspace(None, {"TREEWALK_WORKSPACE": str(two)}, three) == two
    assert find_workspace(one / "treewalk.yaml", {}, three) == one
    assert find_workspace(Path("../one"), {}, three) == one


def test_a_strangers_workspace_upward_is_refused_with_the_way_out_and_one_that_is_named_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path)
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    (tmp_path / "below").mkdir()
    with pytest.raises(UsageError, match=r"belongs to another user .*--workspace /.*TREEWALK_WORKSPACE=/"):
        find_workspace(None, {}, tmp_path / "below")
    assert find_workspace(tmp_path, {}, tmp_path) == tmp_path
    assert find_workspace(None, {"TREEWALK_WORKSPACE": str(tmp_path)}, tmp_path) == tmp_path


@pytest.mark.parametrize("path", [".", "treewalk.yaml", "checks", "checks/own.py"])
def test_a_workspace_that_everybody_may_write_to_is_refused(path: str, tmp_path: Path) -> None:
    write(tmp_path, **{"checks/own.py": ""})
    assert find_workspace(None, {}, tmp_path) == tmp_path
    (tmp_path / path).chmod(0o777)
    with pytest.raises(UsageError, match="everybody may write to"):
        find_workspace(None, {}, tmp_path)
    assert find_workspace(tmp_path, {}, tmp_path) == tmp_path


def test_root_by_sudo_is_the_user_who_typed_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    owner = tmp_path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert find_workspace(None, {"SUDO_UID": str(owner)}, tmp_path) == tmp_path
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(UsageError, match="belongs to another user"):
        find_workspace(None, {"SUDO_UID": str(owner)}, tmp_path)


def test_with_the_examples_no_check_of_the_workspace_runs(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    write(tmp_path, **{"checks/own.py": f"open({str(mark)!r}, 'w').close()\n"})
    load_workspace(tmp_path, example=True, use_cache=False)
    assert not mark.exists()
    with pytest.raises(ContentError, match="defines no check"):
        load_workspace(tmp_path, use_cache=False)
    assert mark.exists()


def test_a_named_folder_that_is_no_workspace_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no workspace at"):
        find_workspace(tmp_path, {}, tmp_path)


def test_code_of_a_folder_that_is_not_declared_is_never_run(tmp_path: Path) -> None:
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks" / "evil.py").write_text("open('ran', 'w')\n")
    environment = {k: v for k, v in os.environ.items() if k != "TREEWALK_WORKSPACE"}
    for command in (["checks"], ["--example", "validate"], ["--example", "tree"]):
        done = subprocess.run(
            [sys.executable, "-m", "treewalk", *command],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert not (tmp_path / "ran").exists()


def test_one_source_or_a_map_of_names(tmp_path: Path) -> None:
    text = (
        "sources:\n  prometheus: {url: http://127.0.0.1:9090, timeout: 5s}\n"
        "  loki:\n    eu: {url: http://127.0.0.1:3100, tenant: a}\n    us: {url: http://127.0.0.1:3101}\n"
    )
    sources = load_workspace(write(tmp_path, **{"treewalk.yaml": text}), use_cache=False).settings.sources
    assert (sources.prometheus["default"].url, sources.prometheus["default"].timeout) == ("http://127.0.0.1:9090", 5.0)
    assert [(name, s.tenant) for name, s in sources.loki.items()] == [("eu", "a"), ("us", None)]


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}\n", "sources: {}\n", "sources: {files: {streams: []}}\n"])
def test_every_key_of_the_settings_is_optional(tmp_path: Path, text: str) -> None:
    assert load_workspace(write(tmp_path, **{"treewalk.yaml": text}), use_cache=False).settings.walk.concurrency == 32


def test_the_state_stands_in_the_workspace_or_in_the_users_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_workspace(write(tmp_path), use_cache=False).state == tmp_path / ".treewalk"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert load_workspace(None, use_cache=False).state == tmp_path / "state" / "treewalk"


def test_secrets_come_from_the_environment_or_a_file_and_errors_never_hold_them(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-file\n")
    resolve = resolver({"USER_NAME": "me", "PASS": "s3cret"}, tmp_path)
    assert resolve("http://${USER_NAME}:${PASS}@host") == "http://me:s3cret@host"
    assert resolve("file:token") == "from-file"
    assert resolve("plain $HOME ${") == "plain $HOME ${"
    with pytest.raises(SettingsError, match="MISSING is not set") as caught:
        resolve("${PASS}:${MISSING}")
    assert "s3cret" not in str(caught.value)
    with pytest.raises(SettingsError, match=r"nothing cannot be read: No such file"):
        resolve("file:nothing")


@pytest.mark.parametrize(
    ("written", "read"),
    [("64MB", 64_000_000), ("1GiB", 2**30), ("1.5 MB", 1_500_000), ("'10,000'", 10_000), ("5000", 5000)],
)
def test_a_size_is_written_with_a_unit_or_as_a_number_of_bytes(tmp_path: Path, written: str, read: int) -> None:
    text = f"sources: {{files: {{max_bytes: {written}}}, loki: {{url: 'http://l', max_bytes: {written}}}}}\n"
    sources = load_workspace(write(tmp_path, **{"treewalk.yaml": text}), use_cache=False).settings.sources
    assert sources.files
    assert (sources.files.max_bytes, sources.loki["default"].max_bytes) == (read, read)


@pytest.mark.parametrize("written", ["60s", "5%", "'< 5MB'", "9000 cats", "12.5", "-5MB", "yes", ".inf", "[1]", ""])
def test_what_is_no_size_is_refused_at_its_place(tmp_path: Path, written: str) -> None:
    text = f"sources:\n  files:\n    max_bytes: {written}\n"
    with pytest.raises(ContentError, match=r"treewalk.yaml:3:\d+: .*write a size like 64MB"):
        load_workspace(write(tmp_path, **{"treewalk.yaml": text}), use_cache=False)


@pytest.mark.parametrize(
    ("zone", "hint"),
    [("Europe/Berln", "did you mean Europe/Berlin?"), ("America/NewYork", "did you mean America/New_York?"),
     ("CEST", "write it like Europe/Berlin"), ("../etc/passwd", "write it like Europe/Berlin")],
)  # fmt: skip
def test_a_time_zone_of_log_files_that_does_not_exist_is_refused_at_its_place(
    tmp_path: Path, zone: str, hint: str
) -> None:
    text = f"sources:\n  files:\n    streams:\n    - {{labels: {{a: b}}, path: x, timezone: {zone}}}\n"
    with pytest.raises(ContentError, match=r"treewalk.yaml:4:43: .*no such time zone") as caught:
        load_workspace(write(tmp_path, **{"treewalk.yaml": text}), use_cache=False)
    assert hint in str(caught.value)


def test_a_duration_left_empty_is_refused_at_its_place(tmp_path: Path) -> None:
    with pytest.raises(ContentError, match=r"treewalk.yaml:1:\d+: walk.deadline: a duration is written like 30s"):
        load_workspace(write(tmp_path, **{"treewalk.yaml": "walk: {deadline: }\n"}), use_cache=False)


def test_a_wrong_setting_beside_a_secret_does_not_show_it(tmp_path: Path) -> None:
    text = "sources: {prometheus: {url: 'http://u:hunter2@h', password: [hunter2], bearer_token: {a: hunter2}}}\n"
    with pytest.raises(ContentError) as caught:
        load_workspace(write(tmp_path, **{"treewalk.yaml": text}), use_cache=False)
    assert len(caught.value.problems) == 2
    assert "hunter2" not in str(caught.value)


def test_an_own_check_works_like_a_built_in_one_and_the_same_name_wins(tmp_path: Path) -> None:
    files = {
        "checks/mine.py": CHECK.format(name="mine", doc="Mine."),
        "checks/over.py": CHECK.format(name="http", doc="My own http."),
        "trees/a.yaml": "nodes:\n  - {node: n, healthcheck: {method: mine, patience: 1m}}\n"
        "  - {node: m, healthcheck: {method: http, patience: 5}}\n",
    }
    found = load_workspace(write(tmp_path, **files), use_cache=False)
    assert found.checks["mine"].origin == "checks/mine.py"
    assert found.checks["http"].doc == "My own http."
    assert found.checks["redis"].origin == "built-in"
    spec = found.forest.node("n").healthcheck
    assert spec
    assert spec.params == {"patience": "1m"}
    assert found.checks["mine"].bind(spec.params) == {"patience": 60.0}
    assert str(tmp_path / "checks") not in sys.path
    assert "treewalk_checks.mine" in sys.modules


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def broken(:\n", "a.py:1:12: not Python: invalid syntax"),
        ("x = 1\nimport no_such_module_here\n", "a.py:2:1: cannot be loaded: ModuleNotFoundError: No module named"),
        ("raise SystemExit(3)\n", "a.py:1:1: cannot be loaded: SystemExit: 3"),
        ("def f():\n    f()\n\n\nf()\n", "a.py:2:1: cannot be loaded: RecursionError"),
        ("x = '\x00'\n", "a.py:1"),
        ("", "a.py:1:1: defines no check"),
    ],
)
def test_a_broken_check_file_is_a_problem_with_its_line(tmp_path: Path, source: str, message: str) -> None:
    (tmp_path / "a.py").write_text(source)
    problems: list[Problem] = []
    assert load_checks(tmp_path, None, "", problems) == {}
    assert len(problems) == 1
    assert str(problems[0]).startswith(message)
    assert "treewalk_checks.a" not in sys.modules or source == ""


def test_files_that_begin_with_an_underscore_are_helpers(tmp_path: Path) -> None:
    (tmp_path / "_shared.py").write_text("raise RuntimeError\n")
    problems: list[Problem] = []
    assert load_checks(tmp_path, None, "", problems) == {}
    assert not problems


def test_a_forest_and_known_errors_survive_json_without_loss(tmp_path: Path) -> None:
    found = load_workspace(None, example=True, use_cache=False)
    data = json.loads(json.dumps(codec.forest_to_json(found.forest)))
    assert codec.forest_from_json(data) == found.forest
    errors = json.loads(json.dumps(codec.known_errors_to_json(found.known_errors)))
    assert codec.known_errors_from_json(errors) == found.known_errors
    again = codec.forest_from_lines(codec.forest_to_lines(found.forest))
    assert again == found.forest
    assert again.dependents == found.forest.dependents
    assert list(again.nodes) == list(found.forest.nodes)
    assert again.tree("consumer_lag") == found.forest.tree("consumer_lag")


FULL = """\
windows:
  NIGHT: {days: [mon, sat], from: "22:00", to: "06:00", timezone: Europe/Berlin}
metrics:
  s:
    description: d
    sla: {query: q, threshold: "> 80% of entities", unit: percent, window: NIGHT, source: default}
    gatus_check: "a / b"
    alerts: [A, {alertname: B}]
    owner: me
    tags: {tier: 1}
    runbook: {url: x, list: [1, 2.5, true, null, "é"]}
    depends_on:
      - node: n
        type: process
        description: the node
        healthcheck: {method: promql, condition: up == 1}
        logs: {loki_query: '{a="b"}', source: default}
        metrics: [up, 'rate(x[5m])']
        alerts: ["x increase > 3 in 5m", "a > 1 and b < 2"]
        aka: [other]
        source: default
        depends_on: [{node: m, ports: [1, 2]}]
  t:
    sla: {query: q, baseline: {window: 25m, baseline: 2d, direction: up, threshold: 4}}
"""


def test_what_comes_from_the_cache_equals_what_was_read(tmp_path: Path) -> None:
    root = write(tmp_path, **{"trees/a.yaml": FULL})
    read = load_workspace(root).forest
    kept = load_forest(root)
    assert type(kept.nodes) is not type(read.nodes)
    assert kept == read
    assert kept.node("n").conditions == read.node("n").conditions
    with pytest.raises(UsageError, match="no node named 'nn'"):
        kept.node("nn")


def test_every_file_that_matters_changes_the_key(tmp_path: Path) -> None:
    root = write(tmp_path, **{"trees/a.yaml": "nodes: [{node: a}]\n", "checks/c.py": CHECK.format(name="c", doc="C.")})
    assert list(load_workspace(root).forest.nodes) == ["a"]
    write(tmp_path, **{"trees/a.yaml": "nodes: [{node: b}]\n"})
    assert list(load_forest(root).nodes) == ["b"]
    write(tmp_path, **{"trees/b.yaml": "nodes: [{node: c, healthcheck: {method: c}}]\n"})
    assert list(load_forest(root).nodes) == ["b", "c"]
    write(tmp_path, **{"checks/c.py": CHECK.format(name="d", doc="Another one.")})
    with pytest.raises(ContentError, match="no check named 'c'"):
        load_forest(root)


@pytest.mark.parametrize("damage", ["", "{", "[]\n{}", "null", "\x00", "x" * 100])
def test_a_damaged_cache_is_as_if_there_were_none(tmp_path: Path, own_cache: Path, damage: str) -> None:
    root = write(tmp_path, **{"trees/a.yaml": FULL})
    load_workspace(root)
    (entry,) = own_cache.glob("*.json")
    for content in (damage, entry.read_text() + damage, entry.read_text()[:-5], damage + entry.read_text()):
        if content != entry.read_text():
            entry.write_text(content)
            assert set(load_forest(root).nodes) == {"n", "m"}


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    root = write(tmp_path / "w", **{"trees/a.yaml": FULL})
    assert "n" in load_workspace(root).forest.nodes
    assert "n" in load_forest(root).nodes


def test_the_cache_is_the_users_own_and_does_not_grow_without_end(tmp_path: Path, own_cache: Path) -> None:
    for number in range(25):
        load_workspace(write(tmp_path, **{"trees/a.yaml": f"nodes: [{{node: n{number}}}]\n"}))
    assert len(list(own_cache.iterdir())) <= 20
    assert own_cache.stat().st_mode & 0o077 == 0
    assert all(p.stat().st_mode & 0o077 == 0 for p in own_cache.iterdir())


def test_reading_the_cache_imports_nothing_heavy(tmp_path: Path) -> None:
    root = write(tmp_path, **{"trees/a.yaml": FULL})
    load_workspace(root)
    code = (
        "import sys; from pathlib import Path; from treewalk.content.workspace import load_forest; "
        f"assert 'n' in load_forest(Path({str(root)!r})).nodes; "
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'pydantic', 'promql_parser', 'networkx', 'ruamel'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_old_entries_go_first(tmp_path: Path) -> None:
    forest = load_workspace(None, use_cache=False).forest
    for number in range(22):
        cache.save(tmp_path, f"{number:02}", forest)
        os.utime(tmp_path / f"{number:02}.json", (time.time() - 1000 + number,) * 2)
    cache.save(tmp_path, "99", forest)
    assert not (tmp_path / "00.json").exists()
    assert cache.load(tmp_path, "21") is not None


def test_a_new_workspace_validates_and_is_never_written_over(tmp_path: Path) -> None:
    folder = tmp_path / "ops"
    written = write_workspace(folder)
    assert {p.relative_to(folder).parts[0] for p in written} >= {"treewalk.yaml", "trees", "known_errors", "checks"}
    found = load_workspace(folder, use_cache=False)
    assert found.forest.slas
    assert any(e.place.file.startswith("known_errors/") for e in found.known_errors)
    assert any(c.origin.startswith("checks/") for c in found.checks.values())
    before = {p: p.read_bytes() for p in written}
    with pytest.raises(UsageError, match="there already; nothing was written"):
        write_workspace(folder)
    assert {p: p.read_bytes() for p in written} == before


def test_a_parameter_called_method_is_refused_because_that_key_names_the_check() -> None:
    with pytest.raises(UsageError, match="cannot be called 'method'"):

        @check("mine")
        async def mine(probe: Probe, *, method: str = "GET") -> Verdict:
            return healthy("yes")
