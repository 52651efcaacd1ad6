"""Incidents as data, for reports; `written` fills every free text of one."""

from __future__ import annotations

from collections.abc import Callable

from treewalk.model.story import (
    Asked,
    Blame,
    Done,
    Earlier,
    Fact,
    Fired,
    Lesson,
    Measured,
    Missing,
    Moment,
    Proven,
    Recognised,
    Record,
    Ruled,
    Signal,
    Spot,
    Step,
    Story,
    Uncounted,
    Value,
)

T = 1_768_452_430.0  # 2026-01-15 04:47:10Z


def written(of: Callable[[str], str] = lambda text: text, ending: str | None = "resolved") -> Story:
    """An incident of a full Redis with every field set; each free text went through `of`."""
    signals = (
        Signal(of("log_pattern"), "holds", of("7 lines match"), "e2"),
        Signal(of("metric"), "not", of("12"), None),
    )
    known = Recognised(of("ke-001"), of("Too many consumers hold connections"), of("resource_exhaustion"), of("high"),
                       of("trusted"), signals)  # fmt: skip
    below = {"consumer": ("redis_instance", "kafka"), "kafka": (), "redis_instance": ("host",), "host": ()}
    status = {"consumer": "degraded", "kafka": "healthy", "redis_instance": "unhealthy", "host": ""}
    reason = {"consumer": "lag 4,112", "kafka": "3 brokers", "redis_instance": "297 clients against < 280", "host": ""}
    return Story(
        number=12,
        slas=(of("orders_fresh"), of("stock_fresh")),
        severity="P2",
        state="closed" if ending else "acting",
        ending=ending,
        why=of("the steps of ke-001 at redis_instance; it has held for 60s"),
        cause=of("alertmanager: OrdersStale"),
        opened=T,
        diagnosed=T + 1.4,
        closed=T + 192 if ending else None,
        alerts=(Fired(of("OrdersStale"), of("alertmanager"), "firing", T - 95, T - 1, 4, of("orders are 95s old")),),
        measured=Measured("violated", of("95s against < 60s"), of("95s"), of("60s"), T - 120, True),
        root=Blame(of("redis_instance"), of("297 clients against < 280"), of("known"), 0.93, "resource_exhaustion",
                   (of("consumer"), of("redis_instance")), ("e2",), (of("host"),)),
        known=known,
        near=(known,),
        evidence=(
            Fact("e1", of("consumer"), "metric", of("prometheus"), of("lag"), of("lag 4,112"), (), 1, False, False),
            Fact("e2", of("redis_instance"), "log", of("loki"), of("q"), of("7 lines"), (of("pool"),), 7, True, True),
        ),
        gaps=(Missing(of("host"), of("its health"), of("no answer within 5s")),),
        spots=tuple(Spot(of(n), status[n], of(reason[n]), tuple(map(of, kids))) for n, kids in below.items()),
        tops=(of("consumer"),),
        remarks=(of("the clocks differ by 2s"),),
        help=(of("a metric of the host"),),
        plan=of("the steps of ke-001"),
        playbook=of("kill_idle"),
        basis="known",
        steps=(Step("mend", of("redis_instance"), of("kill idle clients"), 0.0, "full"),
               Step("wait", "", of("let it settle"), 30.0, None), Step("verify", of("redis_instance"), "", 0.0, None)),
        decisions=(Ruled(T + 2, of("mend"), of("redis_instance"), "ask", of("ask tier"), of("a first time"), "ask"),),
        questions=(Asked(T + 2, T + 1802, of("kill idle clients?"), True, of("ana"), of("telegram"), T + 80),),
        uncounted=(Uncounted(T + 81, of("ben"), False, of("web"), "already"),),
        actions=(Done(of("mend"), of("redis_instance"), T + 82, "done", T + 83, of("killed 41 clients")),
                 Done(of("mend"), of("consumer"), T + 84, "unknown", T + 85, of("no answer"))),
        proof=Proven("holds", of("it has held for 60s"), (Value(of("orders_fresh"), of("95s"), of("2s")),
                                                          Value(of("clients"), None, of("256")))),
        lessons=(Lesson(of("learned-1"), "candidate"),),
        record=Record(7, 4, 3),
        fix="won",
        timeline=(
            Moment(T, "open", of("opened: alertmanager: OrdersStale")),
            Moment(T, "diagnosing", of("looking at orders_fresh")),
            Moment(T + 1.4, "diagnosed", of("root cause: redis_instance")),
            Moment(T + 1.5, "planned", of("plan: the steps of ke-001 at redis_instance")),
            Moment(T + 2, "asking", of("a human is asked: a first time")),
            Moment(T + 80, "answer", of("ana approved it (telegram)")),
            Moment(T + 82, "acting", of("would kill idle clients (ask tier: approved)")),
            Moment(T + 83, "did", of("killed 41 clients")),
            Moment(T + 100, "verifying", of("proving it for up to 5m")),
            Moment(T + 180, "verified", of("holds: it has held for 60s")),
            Moment(T + 192, "closed", of("resolved")),
        ),
    )  # fmt: skip


def earlier(of: Callable[[str], str] = lambda text: text) -> tuple[Earlier, ...]:
    """Two incidents before it, of the same node."""
    first = Earlier(
        3, T - 864_000, of("orders_fresh"), of("redis_instance"), of("ke-001"), "resolved", "returned", of("x")
    )
    return (Earlier(9, T - 86_400, of("orders_fresh"), of("redis_instance"), None, "escalated", None, of("y")), first)
