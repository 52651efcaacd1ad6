"""One connection to a Redis for one action, and what each way of breaking means for what was done."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from treewalk.actions.parameters import shown
from treewalk.errors import ActionFailed, SourceRejected, SourceTimeout, SourceUnreachable
from treewalk.ports import Hands

_FULL = "max number of clients"
_PAUSE = 0.2  # seconds between tries while the server gives no connection
_MOST = 100  # characters of an answer that are shown


class Session:
    """What an action says to the server. `changing` is set before the first command that changes something."""

    def __init__(self, client: Any, where: str) -> None:
        self.client = client
        self.where = where
        self.changing = False

    def ask(self, *command: Any) -> Any:
        """A command that changes nothing."""
        return self.client.execute_command(*command)

    def change(self, *command: Any) -> Any:
        """A command that changes something: from here on a broken connection means that nobody knows."""
        self.changing = True
        return self.client.execute_command(*command)


@contextmanager
def session(url: str, hands: Hands) -> Iterator[Session]:
    """A connected session; closed afterwards. Answers are bytes.

    Raises SourceUnreachable and SourceRejected (nothing was changed), ActionFailed (the server refused the change) and
    SourceTimeout (a change was under way; its outcome is not known).
    """
    from redis import exceptions

    where = shown(url)
    current = Session(_client(url, hands), where)
    try:
        _come_in(current, hands.timeout)
        yield current
    except exceptions.AuthenticationError:
        raise SourceRejected(f"Redis {where} refuses the user or password") from None
    except (exceptions.NoPermissionError, exceptions.ResponseError) as error:
        kind = ActionFailed if current.changing else SourceRejected
        raise kind(f"Redis {where} refused: {str(error)[:_MOST]}") from None
    except (exceptions.TimeoutError, exceptions.ConnectionError) as error:
        if current.changing:
            message = f"Redis {where} broke off ({type(error).__name__}); whether it was changed is not known"
            raise SourceTimeout(message) from None
        raise SourceUnreachable(f"Redis {where} is not reachable ({_why(error)}); nothing was changed") from None
    finally:
        current.client.close()


def _client(url: str, hands: Hands) -> Any:
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    try:
        client = Redis.from_url(
            hands.resolve(url),
            socket_timeout=hands.timeout,
            socket_connect_timeout=hands.timeout,
            max_connections=1,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
        )
    except (ValueError, TypeError):  # their texts may hold the address with its password
        message = f"{shown(url)} is not an address of a Redis; write redis://host:port/0 or connection:NAME"
        raise SourceRejected(message) from None
    client.response_callbacks.clear()  # answers as they come: nothing is reshaped, nothing lost
    return client


def _come_in(current: Session, timeout: float) -> None:
    """The first answer. A server whose clients are all taken is asked again: places come free as others leave."""
    from redis import exceptions

    deadline = time.monotonic() + timeout
    while True:
        try:
            current.ask("PING")
            return
        except exceptions.AuthenticationError:
            raise
        except exceptions.ConnectionError as error:
            if _FULL not in str(error) or time.monotonic() + _PAUSE > deadline:
                raise
            time.sleep(_PAUSE)


def _why(error: Exception) -> str:
    if _FULL in str(error):
        return "all its client connections are taken"
    if type(error).__name__ == "BusyLoadingError":
        return "it is loading its data"
    return "no answer in time" if type(error).__name__ == "TimeoutError" else "no connection"
