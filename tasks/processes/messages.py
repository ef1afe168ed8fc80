"""What travels from a child process: an object, and its large arrays beside it.

    number and sizes of the arrays, pickled object │ array │ array …

Pickled along, an array is copied several times under Python's lock; beside it the system copies it
from one process's memory into the other's, and nobody's Python waits for that.
"""

from __future__ import annotations

import io
import os
import struct
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np

PROTOCOL = 5
"""The first in which arrays may travel beside the object."""

SMALLEST_APART = 1 << 16
"""Bytes of an array that travels beside its object: a smaller one is copied sooner than sent."""

COUNT, SIZE = "!I", "Q"


@dataclass(frozen=True)
class Message:
    """A pickled object: `head` has the sizes of `arrays`, which follow it."""

    head: bytes
    arrays: list[memoryview]

    @classmethod
    def of(cls, content: Any) -> Message:
        """The object as it travels; raises whatever pickling it raises."""
        arrays: list[memoryview] = []

        def stays(buffer: Any) -> bool:
            raw = buffer.raw()
            if raw.nbytes >= SMALLEST_APART:
                arrays.append(raw)
            return raw.nbytes < SMALLEST_APART

        pickled = io.BytesIO()
        ForkingPickler(pickled, PROTOCOL, True, stays).dump(content)
        sizes = struct.pack(f"{COUNT}{len(arrays)}{SIZE}", len(arrays), *map(len, arrays))
        return cls(sizes + pickled.getvalue(), arrays)


def send(connection: Connection, message: Message) -> None:
    """Send the object, then its arrays; nobody else may send meanwhile."""
    connection.send_bytes(message.head)
    for array in message.arrays:
        while array.nbytes:
            array = array[os.write(connection.fileno(), array) :]


def receive(connection: Connection) -> Any:
    """The next object, its arrays writable. Raises `EOFError` when the other end is gone."""
    try:
        head = connection.recv_bytes()
    except OSError as error:  # also how an end in the middle of a message is told
        raise EOFError from error
    (count,) = struct.unpack_from(COUNT, head)
    sizes = struct.unpack_from(f"{COUNT}{count}{SIZE}", head)[1:]
    arrays = [_array(connection, size) for size in sizes]
    pickled = memoryview(head)[struct.calcsize(f"{COUNT}{count}{SIZE}") :]
    return ForkingPickler.loads(pickled, buffers=arrays)


def _array(connection: Connection, size: int) -> np.ndarray:
    array = np.empty(size, np.uint8)  # a bytearray would be filled with zeros, under the lock
    rest = array.data
    while rest.nbytes:
        read = os.readv(connection.fileno(), [rest])
        if not read:
            raise EOFError
        rest = rest[read:]
    return array
