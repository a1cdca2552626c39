#!/usr/bin/env python3
"""Prints the distinct constraints that FlashInfer's trace templates state as plain strings, one a line, sorted.

    constraints.py WHEEL

What internal/fitrace/testdata/constraints.txt holds. Strings that are put together at run time (f-strings) are left out. Standard library
only; the wheel is read and not run.
"""
import ast
import sys
import zipfile


def strings(node):
    """The strings of an expression, without those inside an f-string."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif not isinstance(node, ast.JoinedStr):
        for child in ast.iter_child_nodes(node):
            yield from strings(child)


def constraints(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "constraints":
            yield from strings(node.value)
        elif isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and "constraint" in t.id.lower() for t in node.targets):
            yield from strings(node.value)


def main(wheel):
    found = set()
    with zipfile.ZipFile(wheel) as z:
        for name in z.namelist():
            if name.startswith("flashinfer/trace/templates/") and name.endswith(".py"):
                found.update(constraints(ast.parse(z.read(name))))
    print("\n".join(sorted(found)))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
