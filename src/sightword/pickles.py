"""Pickles, read as data: no code that one names is imported or called.

A pickle is a program for a small machine. Here it is interpreted by a machine that builds containers, strings and
numbers, and hands every name, call and object to the one who reads (a subclass), who knows the few that are expected
and raises ValueError for all others.
"""

from __future__ import annotations

import pickletools
import struct
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Name:
    """Of a class or function, which is never looked up."""

    name: str


class Machine:
    """What a pickle may say depends on the subclass; this one knows containers and plain values alone."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def known(self, name: str) -> Name:
        """Whether a class or function is expected (`module.name`)."""
        raise ValueError(f"it names {name}")

    def called(self, name: str, arguments: tuple[Any, ...]) -> Any:
        raise ValueError(f"it calls {name}")

    def new(self, name: str, arguments: Any) -> Any:
        raise ValueError(f"it makes an object of {name}")

    def build(self, made: Any, state: Any) -> None:
        raise ValueError("it gives an object a state")

    def persistent(self, told: Any) -> Any:
        raise ValueError("it refers to something outside of it")

    def step(self, opcode: str, argument: Any) -> None:
        stack = self.stack
        match opcode:
            case "PROTO" | "FRAME":
                pass
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
                stack.append(argument)
            # Of Python 2's strings, of which nobody knows whether they are text, pickletools makes text of latin-1.
            case "BINUNICODE" | "SHORT_BINUNICODE" | "BINSTRING" | "SHORT_BINSTRING":
                stack.append(argument)
            case "BINBYTES" | "SHORT_BINBYTES":
                stack.append(argument)
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode])
            case "EMPTY_TUPLE":
                stack.append(())
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "MARK":
                self.marks.append(len(stack))
            case "TUPLE":
                stack.append(tuple(self._marked()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(opcode[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case "APPEND" | "APPENDS":
                items = self._marked() if opcode == "APPENDS" else [stack.pop()]
                expect(stack[-1], list).extend(items)
            case "SETITEM" | "SETITEMS":
                items = self._marked() if opcode == "SETITEMS" else [stack.pop(-2), stack.pop()]
                expect(stack[-1], dict).update(zip(items[::2], items[1::2], strict=True))
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "GLOBAL":
                stack.append(self.known(argument.replace(" ", ".", 1)))
            case "STACK_GLOBAL":
                name, module = expect(stack.pop(), str), expect(stack.pop(), str)
                stack.append(self.known(f"{module}.{name}"))
            case "BINPERSID":
                stack.append(self.persistent(stack.pop()))
            case "NEWOBJ":
                arguments, kind = stack.pop(), expect(stack.pop(), Name)
                stack.append(self.new(kind.name, arguments))
            case "REDUCE":
                arguments = expect(stack.pop(), tuple)
                stack.append(self.called(expect(stack.pop(), Name).name, arguments))
            case "BUILD":
                state = stack.pop()
                self.build(stack[-1], state)
            case _:
                raise ValueError(f"it uses {opcode}, which no such file needs")

    def _marked(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items


def interpret(pickle: bytes, machine: Machine) -> Any:
    """What the pickle describes. Raises ValueError for what is damaged, or not expected by `machine`."""
    try:
        for opcode, argument, _ in pickletools.genops(pickle):
            if opcode.name == "STOP":
                return machine.stack.pop()
            machine.step(opcode.name, argument)
    except (IndexError, KeyError, TypeError, AttributeError, struct.error, OverflowError) as failure:
        raise ValueError(f"its pickle is damaged ({type(failure).__name__})") from None
    raise ValueError("its pickle has no end")


def expect(value: Any, kind: type[Any]) -> Any:
    if not isinstance(value, kind):
        raise TypeError
    return value
