"""A worker process: `python -m synthcohort.execute._worker HANDLE`, orders in, reports out, over a socket.

It ends when the driver closes the socket, and at once when the driver is dead. SIGTERM is its Ctrl-C: the job is left
so that it can be taken up again. It leads a session of its own: Ctrl-C on the terminal reaches the driver alone.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from multiprocessing.connection import Connection

from ._perform import Order, Report, in_one_line, perform


def main(handle: int) -> None:
    """Perform orders until there are no more."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    connection, orders = Connection(handle), queue.SimpleQueue[Order]()
    threading.Thread(target=_listen, args=(connection, orders), daemon=True).start()
    try:
        while True:
            order = orders.get()
            connection.send(_performed(order))
    except (KeyboardInterrupt, BrokenPipeError):
        os._exit(130)


def _performed(order: Order) -> Report:
    try:
        return perform(order)
    except Exception as error:  # of the machinery, not of the job
        return Report(order.key, "failed", in_one_line(error))


def _listen(connection: Connection, orders: queue.SimpleQueue[Order]) -> None:
    """Take orders; when the driver is gone, so is this process: its claims are seen to be dead."""
    try:
        while True:
            orders.put(connection.recv())
    except (EOFError, OSError):
        os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
