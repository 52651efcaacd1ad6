"""An alert finds its SLA, or is said to have none, with the line to add."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from treewalk.model.alert import Alert
from treewalk.model.tree import Sla
from treewalk.stages.route import Router

from tests.support.trees import HERE


def sla(name: str, **fields: object) -> Sla:
    return Sla(name, None, None, None, None, (), HERE, **fields)  # type: ignore[arg-type]


ROUTER = Router(
    [
        sla("freshness", gatus_check="Data Latency / Redis Freshness", alerts=("EntityDataStale", "Shared")),
        sla("orders", alerts=({"alertname": "OrdersLate", "cluster": "prod"}, {"team": "orders"}, "Shared", {})),
        sla("alone", gatus_check="Alone"),
    ]
)


def alert(name: str, **labels: str) -> Alert:
    return Alert("alertmanager", "f", "firing", name, labels)


@pytest.mark.parametrize(
    ("given", "slas"),
    [
        (alert("X", sla="orders"), ("orders",)),
        (alert("X", treewalk_sla="orders", sla="freshness"), ("orders",)),
        (alert("EntityDataStale", sla="not one of ours"), ("freshness",)),
        (alert("Data Latency / Redis Freshness", gatus_check="Data Latency / Redis Freshness"), ("freshness",)),
        (alert("x", gatus_check="data latency/redis  freshness"), ("freshness",)),
        (alert("Alone", gatus_check="Alone"), ("alone",)),
        (alert("EntityDataStale"), ("freshness",)),
        (alert("OrdersLate", cluster="prod"), ("orders",)),
        (alert("OrdersLate", cluster="test"), ()),
        (alert("Anything", team="orders"), ("orders",)),
        (alert("Shared"), ("freshness", "orders")),
        (alert("Nobody"), ()),
        (alert("entitydatastale"), ()),
    ],
)
def test_an_alert_means_the_slas_that_name_it(given: Alert, slas: tuple[str, ...]) -> None:
    assert ROUTER.route(given).slas == slas


def test_one_that_means_nothing_is_told_with_the_line_to_add() -> None:
    found = ROUTER.route(alert("DiskFull"))
    assert found.because.startswith("no SLA for this alert")
    assert found.hint == 'alerts: ["DiskFull"]'
    assert ROUTER.route(alert("a / b", gatus_check="a / b")).hint == 'gatus_check: "a / b"'


def test_a_label_that_names_no_sla_gets_the_nearest_name() -> None:
    assert "did you mean 'orders'?" in ROUTER.route(alert("X", sla="order")).because


@given(st.text(min_size=1, max_size=80).filter(lambda t: t.isprintable()))
def test_the_line_to_add_is_yaml_whatever_the_name_holds(name: str) -> None:
    from ruamel.yaml import YAML

    hint = Router([]).route(alert(name)).hint
    assert YAML(typ="safe", pure=True).load(hint) == {"alerts": [name]}
