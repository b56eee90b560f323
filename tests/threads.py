"""Many callers of the database at the same moment."""

import threading
from collections.abc import Callable
from typing import Any

import psycopg


def in_threads(url: str, length: int, do: Callable[[psycopg.Connection, int], Any]) -> list[Any]:
    """Run `do` in threads with a connection each; return what each returned or raised."""
    results: list[Any] = [None] * length
    start = threading.Barrier(length)

    def run(number: int) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            start.wait()
            try:
                results[number] = do(connection, number)
            except psycopg.Error as error:
                results[number] = error.sqlstate

    threads = [threading.Thread(target=run, args=(number,)) for number in range(length)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
