"""Reading lists from a pickle file without executing it.

A pickle is a program; loading one from the internet runs its author's code. This reader knows
only the instructions that build dicts, lists, tuples, strings and numbers, and refuses the rest.
"""

import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError

MAX_BYTES = 64 * 2**20

_MARK = object()


class _Machine:
    """The stack machine of pickle protocol 0-5, reduced to plain containers."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def pop_mark(self) -> list[Any]:
        """Everything above the topmost mark, which goes too."""
        at = max(i for i, item in enumerate(self.stack) if item is _MARK)
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def pop(self, count: int) -> list[Any]:
        """The topmost `count` values, lowest first."""
        if count > len(self.stack) or any(item is _MARK for item in self.stack[-count:]):
            raise ValueError("takes more values than there are")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def top(self, kind: type) -> Any:
        """The topmost value, which must be of a kind."""
        if not self.stack or type(self.stack[-1]) is not kind:
            raise ValueError(f"expects a {kind.__name__}")
        return self.stack[-1]


def _push(machine: _Machine, value: Any) -> None:
    machine.stack.append(value)


def _pairs(items: list[Any]) -> dict[Any, Any]:
    if len(items) % 2 or not all(isinstance(key, str | int) for key in items[::2]):
        raise ValueError("builds a dict from something other than pairs with plain keys")
    return dict(zip(items[::2], items[1::2], strict=True))


def _extend(machine: _Machine, items: list[Any]) -> None:
    machine.top(list).extend(items)


def _update(machine: _Machine, items: list[Any]) -> None:
    machine.top(dict).update(_pairs(items))


def _store(machine: _Machine, slot: int) -> None:
    machine.memo[slot] = machine.stack[-1]


_STRINGS = [
    "UNICODE",
    "BINUNICODE",
    "SHORT_BINUNICODE",
    "BINUNICODE8",
    "STRING",
    "BINSTRING",
    "SHORT_BINSTRING",
]
_NUMBERS = ["INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT"]

_OPCODES: dict[str, Callable[[_Machine, Any], None]] = {
    **{name: _push for name in (*_STRINGS, *_NUMBERS)},
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "STOP": lambda machine, _: None,
    "NONE": lambda machine, _: _push(machine, None),
    "NEWTRUE": lambda machine, _: _push(machine, True),
    "NEWFALSE": lambda machine, _: _push(machine, False),
    "MARK": lambda machine, _: _push(machine, _MARK),
    "EMPTY_LIST": lambda machine, _: _push(machine, []),
    "EMPTY_DICT": lambda machine, _: _push(machine, {}),
    "EMPTY_TUPLE": lambda machine, _: _push(machine, ()),
    "LIST": lambda machine, _: _push(machine, machine.pop_mark()),
    "DICT": lambda machine, _: _push(machine, _pairs(machine.pop_mark())),
    "TUPLE": lambda machine, _: _push(machine, tuple(machine.pop_mark())),
    "TUPLE1": lambda machine, _: _push(machine, tuple(machine.pop(1))),
    "TUPLE2": lambda machine, _: _push(machine, tuple(machine.pop(2))),
    "TUPLE3": lambda machine, _: _push(machine, tuple(machine.pop(3))),
    "APPEND": lambda machine, _: _extend(machine, machine.pop(1)),
    "APPENDS": lambda machine, _: _extend(machine, machine.pop_mark()),
    "SETITEM": lambda machine, _: _update(machine, machine.pop(2)),
    "SETITEMS": lambda machine, _: _update(machine, machine.pop_mark()),
    "MEMOIZE": lambda machine, _: _store(machine, len(machine.memo)),
    "PUT": _store,
    "BINPUT": _store,
    "LONG_BINPUT": _store,
    "GET": lambda machine, slot: _push(machine, machine.memo[slot]),
    "BINGET": lambda machine, slot: _push(machine, machine.memo[slot]),
    "LONG_BINGET": lambda machine, slot: _push(machine, machine.memo[slot]),
}


def read_pickle(path: Path) -> Any:
    """The dicts, lists, tuples, strings and numbers in a pickle file; nothing in it is executed.

    Raises BenchError naming the first instruction that does anything else (GLOBAL, REDUCE, ...),
    for a damaged file, and for one above 64 MiB.
    """
    if path.stat().st_size > MAX_BYTES:
        raise BenchError(f"{path} is larger than {MAX_BYTES // 2**20} MiB, which no list is.")
    machine = _Machine()
    try:
        for opcode, argument, at in pickletools.genops(path.read_bytes()):
            if opcode.name not in _OPCODES:
                raise BenchError(
                    f"{path} is refused: its instruction {opcode.name} at byte {at} can run code or "
                    "build objects, and lists of names need neither. Nothing was executed. Save "
                    'the lists as JSON: {"train": [...], "test": [...]}.'
                )
            _OPCODES[opcode.name](machine, argument)
        (value,) = machine.stack
    except (ValueError, KeyError, IndexError, OverflowError) as error:
        raise BenchError(f"{path} is a damaged pickle ({error}). Get the file again.") from error
    if value is _MARK:
        raise BenchError(f"{path} is a damaged pickle (no value). Get the file again.")
    return value
