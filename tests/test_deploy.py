"""What deploy/ ships is what its own linters accept, and what treewalk, Gatus and Alertmanager would make of it."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import promql_parser
import pytest
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML
from treewalk.app import App
from treewalk.content.workspace import load_workspace
from treewalk.integrations import gatus
from treewalk.server.keys import keys_of
from treewalk.stages.route import Router

from tests.support.serving import serving

REPO = Path(__file__).parent.parent
DEPLOY = REPO / "deploy"
BIN = Path(sys.executable).parent
RULES = ("prometheus-rules.yml", "example-rules.yml")
HOSTILE = 'x" \\ } {"status": "RESOLVED"}, ❌ - `[BODY].age < 60`, `len("a")`'


def run(*command: str | Path, cwd: Path = REPO) -> str:
    """What a command says on its standard output; it has to succeed."""
    done = subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def read_yaml(name: str) -> Any:
    return YAML(typ="safe").load((DEPLOY / name).read_text())


@pytest.fixture
def deployed(tmp_path: Path) -> Path:
    """A copy of deploy/ in which the secrets are there, and are where the configurations say."""
    folder = tmp_path / "deploy"
    shutil.copytree(DEPLOY, folder, ignore=lambda _, names: {"secrets"} & set(names))
    (folder / "secrets").mkdir()
    run("sh", folder / "secrets.sh")
    for path in (*folder.glob("*.y*ml"), folder / "workspace" / "treewalk.yaml"):
        path.write_text(path.read_text().replace("/run/secrets/", f"{folder}/secrets/"))
    return folder


def metrics_known(workspace: Path) -> set[str]:
    """Every name under which a running treewalk can be asked for its metrics."""
    (workspace / "treewalk.yaml").write_text("{}\n")
    with serving(workspace) as served:
        text = httpx.get(f"{served.url}/metrics").text
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}
    names = set()
    for metric in text_string_to_metric_families(text):
        if metric.name.startswith("treewalk_") and not metric.name.endswith("_created"):
            names |= {metric.name + suffix for suffix in suffixes.get(metric.type, ("",))}
    return names


def expressions() -> Iterator[tuple[str, str]]:
    """Every PromQL of the dashboard and of the rules, with where it stands."""
    for panel in json.loads((DEPLOY / "grafana" / "treewalk.json").read_text())["panels"]:
        for target in panel.get("targets", ()):
            yield (
                f"panel {panel['title']}",
                target["expr"].replace("$__rate_interval", "5m").replace("$job", "treewalk"),
            )
    for name in RULES:
        for group in read_yaml(name)["groups"]:
            yield from ((f"{name}: {rule['alert']}", rule["expr"]) for rule in group["rules"])


def test_every_question_of_the_dashboard_and_the_rules_is_promql_about_metrics_that_there_are(tmp_path: Path) -> None:
    known, asked = metrics_known(tmp_path), set()
    for where, text in expressions():
        promql_parser.parse(text)
        names = set(re.findall(r"\btreewalk_\w+", text))
        assert names <= known, f"{where}: {names - known}"
        asked |= names
    assert known == asked, "a metric that is neither in the dashboard nor in a rule"


def test_the_panels_of_the_dashboard_stand_beside_one_another() -> None:
    dashboard = json.loads((DEPLOY / "grafana" / "treewalk.json").read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for spot in (panel["gridPos"] for panel in panels)
        for x in range(spot["x"], spot["x"] + spot["w"])
        for y in range(spot["y"], spot["y"] + spot["h"])
    ]
    assert len(cells) == len(set(cells)), "two panels overlap"
    assert max(x for x, _ in cells) < 24
    variables = {one["name"] for one in dashboard["templating"]["list"]} | {"__rate_interval"}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(panels))) <= variables


@pytest.mark.needs("promtool")
def test_prometheus_takes_its_configuration_and_the_rules_say_what_they_should(deployed: Path) -> None:
    run("promtool", "check", "config", deployed / "prometheus.yml")
    for name in RULES:
        run("promtool", "check", "rules", deployed / name)
    shutil.copy(REPO / "tests" / "deploy" / "rules.yml", deployed / "tests.yml")
    run("promtool", "test", "rules", deployed / "tests.yml")


@pytest.mark.needs("amtool")
def test_alertmanager_takes_its_configuration_and_a_human_hears_of_treewalk_itself(deployed: Path) -> None:
    config = deployed / "alertmanager.yml"
    run("amtool", "check-config", config)
    route = ("amtool", "config", "routes", "test", "--config.file", config)
    assert run(*route, "alertname=TargetDown").split() == ["treewalk"]
    assert run(*route, "alertname=TreewalkDown", "service=treewalk").split() == ["humans"]


@pytest.mark.needs("systemd-analyze")
def test_the_unit_is_one_that_systemd_takes_and_that_is_shut_in(tmp_path: Path) -> None:
    unit = tmp_path / "treewalk.service"
    text = (DEPLOY / "systemd" / "treewalk.service").read_text()
    assert "ExecStart=/opt/treewalk/bin/treewalk " in text
    unit.write_text(text.replace("/opt/treewalk/bin/treewalk", str(BIN / "treewalk")))
    run("systemd-analyze", "verify", "--recursive-errors=no", unit)
    run("systemd-analyze", "security", "--offline=yes", "--no-pager", "--threshold=20", unit)


def test_the_compose_file_fits_its_schema_and_names_only_what_is_there(deployed: Path) -> None:
    run(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", deployed / "compose.yaml")
    compose = YAML(typ="safe").load((deployed / "compose.yaml").read_text())
    for name, service in compose["services"].items():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            there = (deployed / source).exists() if source.startswith(".") else source in compose["volumes"]
            assert there, f"{name}: {volume}"
        assert set(service.get("secrets", ())) <= set(compose["secrets"])
        assert set(service["networks"]) <= set(compose["networks"])
        assert all((deployed / path).is_file() for path in service.get("env_file", ()))
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    assert all((deployed / one["file"]).is_file() for one in compose["secrets"].values())


def test_the_token_that_opens_everything_is_given_to_treewalk_alone() -> None:
    services = read_yaml("compose.yaml")["services"]
    assert [n for n, one in services.items() if "treewalk_token" in one.get("secrets", ())] == ["treewalk"]


def test_a_secret_is_made_once_and_differs_from_the_others(deployed: Path) -> None:
    def secrets() -> dict[str, str]:
        return {p.name: p.read_text() for p in (deployed / "secrets").iterdir() if not p.name.startswith(".")}

    before = secrets()
    assert len(set(before.values())) == len(before) == 5
    run("sh", deployed / "secrets.sh")
    assert secrets() == before


def test_the_container_file_has_nothing_that_its_linter_minds() -> None:
    run(BIN / "hadolint", DEPLOY / "Containerfile")


def test_everything_that_the_container_file_copies_is_there_and_is_let_in() -> None:
    let_in = {
        line[1:] for line in (DEPLOY / "Containerfile.containerignore").read_text().splitlines() if line[0] == "!"
    }
    copied: set[str] = set()
    for line in (DEPLOY / "Containerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            copied |= set(line.split()[1:-1])
    assert copied == let_in
    assert all((REPO / name).exists() for name in copied)


def test_the_workspace_of_the_compose_file_is_whole_and_its_alerts_mean_its_sla(
    deployed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = load_workspace(deployed / "workspace")
    token = (deployed / "secrets" / "gatus.env").read_text().strip().partition("=")
    app = App(workspace, environ={token[0]: token[2]})
    assert not keys_of(workspace.settings.server, app.resolve).none
    slas = workspace.forest.slas
    listed = {name for sla in slas.values() for name in sla.alerts if isinstance(name, str)}
    told = {rule["alert"] for group in read_yaml("example-rules.yml")["groups"] for rule in group["rules"]}
    assert listed == told
    checks = {f"{one['group']} / {one['name']}" for one in read_yaml("gatus.yaml")["endpoints"] if one.get("alerts")}
    assert {sla.gatus_check for sla in slas.values()} == checks


def gatus_body(status: str, texts: dict[str, str]) -> bytes:
    """What Gatus makes of the shipped template: plain texts in the place of its words."""
    body = read_yaml("gatus.yaml")["alerting"]["custom"]["body"]
    for word, text in {"ALERT_TRIGGERED_OR_RESOLVED": status, **texts}.items():
        body = body.replace(f"[{word}]", text)
    return str(body).encode()


@pytest.mark.parametrize(("status", "meant"), [("TRIGGERED", "firing"), ("RESOLVED", "resolved")])
def test_the_gatus_template_survives_texts_that_would_break_a_json_body(status: str, meant: str) -> None:
    texts = {
        "ENDPOINT_GROUP": "platform",
        "ENDPOINT_NAME": "observability",
        "ENDPOINT_URL": f"http://prometheus:9090/{HOSTILE}",
        "ALERT_DESCRIPTION": HOSTILE,
        "RESULT_ERRORS": f"{HOSTILE}\nstatus: RESOLVED\nname: another",
        "RESULT_CONDITIONS": HOSTILE,
    }
    found = gatus.parse(gatus_body(status, texts))
    (alert,) = found.alerts
    assert (alert.status, alert.labels["gatus_check"]) == (meant, "platform / observability")
    assert found.problems == ()
    slas = load_workspace(DEPLOY / "workspace").forest.slas
    assert Router(slas.values()).route(alert).slas == ("observability_answers",)


def test_the_shipped_gatus_template_is_the_one_in_the_docs() -> None:
    body = read_yaml("gatus.yaml")["alerting"]["custom"]["body"]
    text = (REPO / "docs" / "serve.md").read_text()
    assert all(line in text for line in body.splitlines())


def test_the_docs_of_the_unit_name_the_secrets_that_its_file_holds() -> None:
    lines = (DEPLOY / "systemd" / "treewalk.env").read_text().splitlines()
    held = {line.partition("=")[0] for line in lines if line and not line.startswith("#")}
    text = (REPO / "docs" / "deploy.md").read_text()
    assert set(re.findall(r"\$\{(\w+)\}", text)) == held
