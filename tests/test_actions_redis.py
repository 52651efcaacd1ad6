"""Actions on a real Redis: previews change nothing, runs do what they say, and what is refused changes nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import ValidationError
from redis import Redis
from redis.exceptions import ResponseError
from treewalk.actions import action
from treewalk.errors import ActionFailed, SourceRejected, SourceTimeout, SourceUnreachable
from treewalk.ports import Hands

from tests.support.hostile import HOSTILE
from tests.support.redis import free_port, running_redis

pytestmark = pytest.mark.needs("redis-server")


def hands(key: str = "run-1", timeout: float = 5.0, **values: str) -> Hands:
    return Hands(resolve=lambda text: values.get(text, text), timeout=timeout, key=key)


async def preview(kind: str, /, using: Hands | None = None, **params: Any) -> str:
    one = action(kind)
    return await one.preview(one.parameters.model_validate(params), using or hands())


async def run(kind: str, /, using: Hands | None = None, **params: Any) -> Any:
    one = action(kind)
    return await one.run(one.parameters.model_validate(params), using or hands())


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    options = ("--enable-debug-command", "local", "--maxclients", "60")
    with running_redis(tmp_path_factory.mktemp("redis"), *options) as found:
        yield found


@pytest.fixture
def redis(port: int) -> Iterator[Redis]:
    client = Redis(port=port, decode_responses=True)
    client.flushall()
    yield client
    client.close()


@pytest.fixture
def url(port: int) -> str:
    return f"redis://127.0.0.1:{port}/0"


def others(port: int, count: int, name: str | None = None) -> list[Redis]:
    clients = [Redis(port=port, client_name=name, single_connection_client=True) for _ in range(count)]
    for client in clients:
        client.ping()
    return clients


def connected(redis: Redis) -> int:
    return len(redis.client_list())


class TestKillIdleClients:
    kind = "redis_kill_idle_clients"

    async def test_idle_clients_are_closed_and_active_named_and_subscribed_ones_stay(
        self, port: int, redis: Redis, url: str
    ) -> None:
        idle, named = others(port, 4), others(port, 1, "keep-me")
        subscriber = redis.pubsub()
        subscriber.subscribe("news")
        subscriber.get_message(timeout=1)
        time.sleep(2.1)
        redis.ping()
        before = connected(redis)
        assert "would close 4 of" in await preview(self.kind, url=url, idle="2s", except_names=["keep-*"])
        assert connected(redis) == before
        result = await run(self.kind, url=url, idle="2s", except_names=["keep-*"])
        assert result.data["closed"] == 4
        assert connected(redis) == before - 4
        assert named[0].connection is not None
        named[0].connection.send_command("PING")
        assert named[0].connection.read_response() in (b"PONG", True)
        assert (await run(self.kind, url=url, idle="2s", except_names=["keep-*"])).data["closed"] == 0
        subscriber.close()
        for client in (*idle, *named):
            client.close()

    async def test_only_the_named_and_at_most_so_many_are_closed(self, port: int, redis: Redis, url: str) -> None:
        idle = others(port, 3, "leak")
        time.sleep(1.1)
        redis.ping()
        assert (await run(self.kind, url=url, idle="1s", only_names="leak", at_most=2)).data["closed"] == 2
        assert (await run(self.kind, url=url, idle="1s", only_names=["nobody"])).data["closed"] == 0
        assert (await run(self.kind, url=url, idle="1s", addr="10.*")).data["closed"] == 0
        assert (await run(self.kind, url=url, idle="1s", only_names="le?k", addr="127.*")).data["closed"] == 1
        for client in idle:
            client.close()

    async def test_a_replica_is_never_closed(self, tmp_path: Path, port: int, redis: Redis, url: str) -> None:
        with running_redis(tmp_path, "--replicaof", f"127.0.0.1 {port}", "--repl-ping-replica-period", "60") as second:
            for _ in range(100):
                if redis.info("replication")["connected_slaves"]:
                    break
                time.sleep(0.1)
            time.sleep(1.2)
            await run(self.kind, url=url, idle="1s")
            await run(self.kind, url=f"redis://127.0.0.1:{second}/0", idle="1s")
            assert redis.info("replication")["connected_slaves"] == 1

    async def test_a_full_server_is_asked_until_a_place_is_free(self, tmp_path: Path) -> None:
        with running_redis(tmp_path, "--maxclients", "5") as full:
            taken = others(full, 5)
            address = f"redis://127.0.0.1:{full}/0"
            with pytest.raises(SourceUnreachable, match="all its client connections are taken"):
                await run(self.kind, hands(timeout=0.5), url=address, idle="1s")
            taken.pop().close()
            time.sleep(1.1)
            assert (await run(self.kind, url=address, idle="1s")).data["closed"] == 4

    def test_it_may_run_as_the_fix_of_a_known_error(self) -> None:
        one = action(self.kind)
        facts = one.facts(one.parameters.model_validate({"url": "redis://u:word@h:6379/0", "idle": 300}))
        assert (facts.tier, facts.idempotent, facts.classes) == ("known", False, frozenset())
        assert facts.touches == ("clients of redis h:6379",)


class TestActiveDefrag:
    kind = "redis_active_defrag"

    async def test_it_is_turned_off_and_a_server_that_cannot_do_it_says_so(self, redis: Redis, url: str) -> None:
        assert "no → yes" in await preview(self.kind, url=url)
        assert redis.config_get("activedefrag") == {"activedefrag": "no"}
        try:
            redis.config_set("activedefrag", "yes")
        except ResponseError:
            with pytest.raises(ActionFailed, match="refused"):
                await run(self.kind, url=url, on=True)
        else:
            result = await run(self.kind, url=url, on=False)
            assert result.undo == {"action": self.kind, "url": url, "on": True}
        assert (await run(self.kind, url=url, on=False)).data["after"] == "no"
        assert redis.config_get("activedefrag") == {"activedefrag": "no"}

    async def test_a_user_without_the_right_is_refused(self, redis: Redis, url: str) -> None:
        redis.acl_setuser("looker", enabled=True, passwords=["+word"], commands=["+ping", "+config|get"])
        with pytest.raises(ActionFailed, match="no permissions"):
            await run(self.kind, url=url.replace("//", "//looker:word@"), on=False)
        with pytest.raises(SourceRejected) as caught:
            await run(self.kind, url=url.replace("//", "//looker:made-up-word@"), on=False)
        assert "made-up-word" not in str(caught.value)
        redis.acl_deluser("looker")


class TestMaxMemory:
    kind = "redis_max_memory"

    async def test_the_limit_is_raised_within_the_bound_and_put_back(self, redis: Redis, url: str) -> None:
        redis.config_set("maxmemory", 24_000_000)
        params = {"url": url, "factor": 1.5, "add": "4MB", "at_most": "48MB"}
        assert "24MB → 40MB" in await preview(self.kind, **params)
        assert redis.config_get("maxmemory")["maxmemory"] == "24000000"
        result = await run(self.kind, **params)
        assert redis.config_get("maxmemory")["maxmemory"] == "40000000"
        with pytest.raises(ActionFailed, match="64MB, above the bound of 48MB; it is 40MB now"):
            await run(self.kind, **params)
        with pytest.raises(SourceRejected, match="above the bound"):
            await preview(self.kind, **params)
        undo = dict(result.undo)
        assert await run(undo.pop("action"), **undo)
        assert redis.config_get("maxmemory")["maxmemory"] == "24000000"
        redis.config_set("maxmemory", 0)

    async def test_no_limit_is_not_raised_and_no_data_is_thrown_away(self, redis: Redis, url: str) -> None:
        with pytest.raises(ActionFailed, match="no memory limit"):
            await run(self.kind, url=url, factor=2, at_most="1GB")
        redis.config_set("maxmemory", 100_000_000)
        redis.config_set("maxmemory-policy", "allkeys-lru")
        with pytest.raises(ActionFailed, match="would throw data away"):
            await run(self.kind, url=url, to="100kB", at_most="1GB")
        assert redis.config_get("maxmemory")["maxmemory"] == "100000000"
        redis.config_set("maxmemory-policy", "noeviction")
        redis.config_set("maxmemory", 0)

    @pytest.mark.parametrize(
        "wrong",
        [{}, {"factor": 2}, {"at_most": "1GB"}, {"at_most": "1GB", "factor": 2, "to": "1GB"},
         {"at_most": "1GB", "factor": 0.5}, {"at_most": "1GB", "add": "-1GB"}, {"at_most": "nan", "factor": 2},
         {"at_most": "1GB", "factor": float("nan")}, {"at_most": "1GB", "factor": 2, "shell": "x"}],
    )  # fmt: skip
    def test_an_amount_without_a_bound_or_that_lowers_is_refused(self, url: str, wrong: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            action(self.kind).parameters.model_validate({"url": url, **wrong})


def stuck(redis: Redis, *bodies: str, stream: str = "events:1", consumer: str = "c1") -> list[str]:
    """Entries handed to a consumer that never acknowledges them."""
    redis.xgroup_create(stream, "writers", id="$", mkstream=True)
    names = [str(redis.xadd(stream, {"body": body})) for body in bodies]
    redis.xreadgroup("writers", consumer, {stream: ">"}, count=50)
    return names


class TestSkipMessage:
    kind = "redis_skip_message"
    params: ClassVar[dict[str, Any]] = {
        "streams": ["events:1"],
        "group": "writers",
        "dead_letter": "events:dead",
        "min_idle": "200ms",
    }

    async def test_the_stuck_head_is_copied_then_acknowledged_and_nothing_deleted(self, redis: Redis, url: str) -> None:
        first, second, _ = stuck(redis, "not json", "fine", "fine too")
        time.sleep(0.3)
        assert f"{first} of events:1" in await preview(self.kind, url=url, **self.params)
        assert redis.xlen("events:dead") == 0
        assert redis.xpending("events:1", "writers")["pending"] == 3
        result = await run(self.kind, url=url, **self.params)
        assert result.data["skipped"] == [{"stream": "events:1", "id": first}]
        [(_, copy)] = redis.xrange("events:dead")
        assert copy["body"] == "not json"
        assert (copy["treewalk_stream"], copy["treewalk_id"]) == ("events:1", first)
        assert redis.xpending("events:1", "writers")["min"] == second
        assert redis.xlen("events:1") == 3

    async def test_run_again_it_copies_nothing_twice_and_spares_what_stood_behind(self, redis: Redis, url: str) -> None:
        _, second, _ = stuck(redis, "not json", "fine", "fine too")
        time.sleep(0.3)
        await run(self.kind, url=url, **self.params)
        for key in ("run-1", "run-2", ""):
            result = await run(self.kind, hands(key), url=url, **self.params)
            assert result.data["skipped"] == []
        assert redis.xlen("events:dead") == 1
        redis.xreadgroup("writers", "c1", {"events:1": "0"})  # its consumer is given it anew and stays stuck
        time.sleep(0.3)
        assert (await run(self.kind, hands("run-1"), url=url, **self.params)).data["skipped"] == []
        again = await run(self.kind, hands("run-3"), url=url, **self.params)
        assert again.data["skipped"] == [{"stream": "events:1", "id": second}]

    async def test_a_run_cut_off_between_copy_and_acknowledgement_is_finished(
        self, redis: Redis, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, second = stuck(redis, "not json", "fine")
        time.sleep(0.3)
        from treewalk.actions.redis_session import Session

        whole = Session.change

        def cut_off(self: Session, *command: Any) -> Any:
            if command[0] == "XACK":
                raise RuntimeError("the power went")
            return whole(self, *command)

        monkeypatch.setattr(Session, "change", cut_off)
        with pytest.raises(RuntimeError):
            await run(self.kind, url=url, **self.params)
        monkeypatch.undo()
        assert redis.xpending("events:1", "writers")["min"] == first
        for key in ("run-1", "run-2"):
            await run(self.kind, hands(key), url=url, **self.params)
        assert redis.xlen("events:dead") == 1
        assert redis.xpending("events:1", "writers")["min"] == second

    async def test_every_consumer_has_a_head_of_its_own_and_the_longest_stuck_goes_first(
        self, redis: Redis, url: str
    ) -> None:
        [first] = stuck(redis, "not json", consumer="a")
        time.sleep(0.3)
        second = str(redis.xadd("events:1", {"body": "also not"}))
        redis.xreadgroup("writers", "b", {"events:1": ">"})
        time.sleep(0.3)
        assert (await run(self.kind, url=url, **self.params)).data["skipped"][0]["id"] == first
        assert (await run(self.kind, hands("2"), url=url, **self.params)).data["skipped"][0]["id"] == second

    async def test_deliveries_are_counted_and_a_fresh_head_is_left_alone(self, redis: Redis, url: str) -> None:
        stuck(redis, "not json")
        assert (await run(self.kind, url=url, **{**self.params, "min_idle": "60s"})).data["skipped"] == []
        many = {**self.params, "min_idle": None, "min_deliveries": 3}
        assert (await run(self.kind, url=url, **many)).data["skipped"] == []
        for _ in range(2):
            redis.xreadgroup("writers", "c1", {"events:1": "0"})
        assert len((await run(self.kind, url=url, **many)).data["skipped"]) == 1

    async def test_bytes_repeated_fields_and_forged_origins_are_copied_as_they_are(
        self, redis: Redis, url: str
    ) -> None:
        redis.xgroup_create("events:1", "writers", id="$", mkstream=True)
        fields = ["a", b"\xff\x00", "a", "2", "treewalk_id", "0-1", "x", "\n{{ 7*7 }}"]
        entry = redis.execute_command("XADD", "events:1", "*", *fields)
        reading = ("XREADGROUP", "GROUP", "writers", "c1", "STREAMS", "events:1", ">")
        redis.execute_command(*reading, NEVER_DECODE=[])
        time.sleep(0.3)
        await run(self.kind, url=url, **self.params)
        raw = Redis.from_url(url, protocol=2)
        raw.response_callbacks.clear()
        [[_, copied]] = raw.execute_command("XRANGE", "events:dead", "-", "+")
        assert copied[:8] == [b"a", b"\xff\x00", b"a", b"2", b"treewalk_id", b"0-1", b"x", b"\n{{ 7*7 }}"]
        assert copied[copied.index(b"treewalk_id", 6) + 1] == str(entry).encode()
        raw.close()

    async def test_an_entry_that_was_trimmed_is_recorded_and_acknowledged(self, redis: Redis, url: str) -> None:
        stuck(redis, "not json")
        redis.xtrim("events:1", maxlen=0, approximate=False)
        time.sleep(0.3)
        await run(self.kind, url=url, **self.params)
        [(_, copy)] = redis.xrange("events:dead")
        assert copy["treewalk_body"] == "trimmed from the stream"
        assert redis.xpending("events:1", "writers")["pending"] == 0

    async def test_nothing_is_acknowledged_when_the_copy_is_refused(self, redis: Redis, url: str) -> None:
        stuck(redis, "not json")
        redis.set("plain", "x")
        time.sleep(0.3)
        with pytest.raises((ActionFailed, SourceRejected), match="WRONGTYPE"):
            await run(self.kind, url=url, **{**self.params, "dead_letter": "plain"})
        redis.config_set("maxmemory", 1)
        with pytest.raises(ActionFailed):
            await run(self.kind, url=url, **self.params)
        redis.config_set("maxmemory", 0)
        assert redis.xpending("events:1", "writers")["pending"] == 1

    async def test_a_group_that_is_not_there_is_said_to_be(self, redis: Redis, url: str) -> None:
        with pytest.raises(ActionFailed, match="no group writers on stream events:1"):
            await run(self.kind, url=url, **self.params)
        with pytest.raises(SourceRejected, match="no group"):
            await preview(self.kind, url=url, **self.params)
        assert not redis.exists("events:1")

    @pytest.mark.parametrize(
        "wrong",
        [{"min_idle": None}, {"streams": []}, {"dead_letter": "events:1"}, {"min_idle": None, "min_deliveries": 0},
         {"at_most": 0}, {"min_idle": "-1s"}],
    )  # fmt: skip
    def test_what_makes_no_sense_is_refused(self, url: str, wrong: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            action(self.kind).parameters.model_validate({"url": url, **self.params, **wrong})


EVERY = {
    "redis_kill_idle_clients": {"idle": 1},
    "redis_active_defrag": {"on": False},
    "redis_max_memory": {"factor": 2, "at_most": "1GB"},
    "redis_skip_message": {"streams": ["s"], "group": "g", "dead_letter": "d", "min_idle": 1},
}


@pytest.mark.parametrize("kind", EVERY)
async def test_nobody_there_means_that_nothing_was_changed(kind: str) -> None:
    gone = f"redis://:made-up-word@127.0.0.1:{free_port()}/0"
    for go in (preview, run):
        with pytest.raises(SourceUnreachable, match="nothing was changed") as caught:
            await go(kind, url=gone, **EVERY[kind])
        assert "made-up-word" not in str(caught.value)


@pytest.mark.parametrize("kind", EVERY)
async def test_a_silent_server_is_unreachable_before_a_change(kind: str, port: int, url: str) -> None:
    sleeper = Redis(port=port, single_connection_client=True)
    sleeper.connection.send_command("DEBUG", "SLEEP", "1")  # type: ignore[union-attr]
    time.sleep(0.1)
    with pytest.raises(SourceUnreachable, match="no answer in time"):
        await run(kind, hands(timeout=0.2), url=url, **EVERY[kind])
    time.sleep(1)
    sleeper.close()


async def test_an_answer_that_does_not_come_after_a_change_is_a_time_out(
    redis: Redis, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from treewalk.actions.redis_session import Session

    whole = Session.change

    def slowly(self: Session, *command: Any) -> Any:
        other = Redis.from_url(url, single_connection_client=True)
        other.connection.send_command("DEBUG", "SLEEP", "1")  # type: ignore[union-attr]
        time.sleep(0.1)
        return whole(self, *command)

    monkeypatch.setattr(Session, "change", slowly)
    redis.config_set("maxmemory", 1_000_000_000)
    with pytest.raises(SourceTimeout, match="not known"):
        await run("redis_max_memory", hands(timeout=0.3), url=url, factor=2, at_most="10GB")
    time.sleep(1)
    assert redis.config_get("maxmemory")["maxmemory"] == "2000000000"  # it had come about
    redis.config_set("maxmemory", 0)


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:20]))
async def test_hostile_texts_stay_texts(redis: Redis, url: str, text: str) -> None:
    redis.set("canary", "alive")
    tries: list[tuple[str, dict[str, Any]]] = [
        ("redis_kill_idle_clients", {"url": url, "idle": 1000, "only_names": [text], "addr": text}),
        ("redis_skip_message", {"url": url, **TestSkipMessage.params, "streams": [text], "group": text}),
        ("redis_skip_message", {"url": url, **TestSkipMessage.params, "dead_letter": text}),
        *((kind, {**params, "url": text}) for kind, params in EVERY.items()),
    ]
    for kind, params in tries:
        try:
            done = await run(kind, hands(timeout=0.5), **params)
        except (ValidationError, ActionFailed, SourceRejected, SourceUnreachable):
            continue
        assert (kind, done.data["closed"]) == ("redis_kill_idle_clients", 0)
    assert redis.keys() == ["canary"]


async def test_an_address_may_be_a_reference(redis: Redis, url: str) -> None:
    named = hands(**{"connection:main": url})
    assert "redis connection:main" in await preview("redis_active_defrag", named, url="connection:main")


async def test_idle_clients_are_not_closed_again_by_itself_after_a_crash(redis: Redis, port: int, url: str) -> None:
    """Run again it closes the next ones, so that it is not the same as once."""
    idle = others(port, 4, "leaky")
    time.sleep(1.2)
    params = {"url": url, "idle": 1, "only_names": ["leaky"], "at_most": 2}
    closed = [(await run("redis_kill_idle_clients", **params)).data["closed"] for _ in range(2)]
    assert closed == [2, 2]
    one = action("redis_kill_idle_clients")
    assert not one.facts(one.parameters.model_validate(params)).idempotent
    for client in idle:
        client.close()
