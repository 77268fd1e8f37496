"""Finds a named thing in any window through the accessibility bus and presses it.

Usage: atspi.py ROLE NAME [SECONDS]   presses a button, link, check box; only looks for anything else
       atspi.py text WORDS [SECONDS]  looks for a node that says these words, whatever its role
       atspi.py list                  prints role and name of everything there is
Exit code 0 when found, and pressed where it can be; 1 when not found in time; 2 when it cannot be pressed.
"""

import sys
import time

import pyatspi

PRESSABLE = {"button", "push button", "toggle button", "link", "check box", "radio button", "menu item", "page tab"}
# Names of one role in different versions of the toolkit.
ALIASES = {"button": {"button", "push button"}, "dialog": {"dialog", "alert", "alert dialog"}}


def walk(node, depth=0):
    """Yields every node below, with its depth. Nodes can vanish at any time; those are passed over."""
    if node is None or depth > 80:
        return
    try:
        role, name, count = node.getRoleName(), node.name or "", node.childCount
    except Exception:  # the bus reports a vanished node as one of several errors
        return
    yield node, depth, role, name
    for i in range(min(count, 5000)):
        try:
            child = node.getChildAtIndex(i)
        except Exception:
            continue
        yield from walk(child, depth + 1)


def desktop():
    for app in pyatspi.Registry.getDesktop(0):
        yield from walk(app)


def says(node):
    try:
        return node.queryText().getText(0, -1)
    except Exception:  # it has no text, or has vanished
        return ""


def find(role, name, seconds):
    roles = ALIASES.get(role, {role})
    end = time.time() + seconds
    while True:
        for node, _, r, n in desktop():
            if r in roles and n.strip() == name or role == "text" and name in says(node):
                return node, r
        if time.time() > end:
            return None, None
        time.sleep(0.1)


def main(args):
    if args == ["list"]:
        for _, depth, role, name in desktop():
            print("  " * depth + role, repr(name))
        return 0
    if len(args) not in (2, 3):
        print(__doc__, file=sys.stderr)
        return 2
    node, role = find(args[0], args[1], float(args[2]) if len(args) == 3 else 15)
    if node is None:
        print("not found:", args[0], repr(args[1]))
        for _, depth, r, n in desktop():
            print("  " * depth + r, repr(n))
        return 1
    if args[0] == "text" or role not in PRESSABLE:
        print("found", role, repr(args[1]))
        return 0
    try:
        node.queryAction().doAction(0)
    except Exception as e:
        print("cannot press", role, repr(args[1]), e)
        return 2
    print("pressed", role, repr(args[1]))
    return 0


sys.exit(main(sys.argv[1:]))
