"""A check file that fails when it is loaded."""


def start() -> None:
    raise RuntimeError("no such server")


start()
