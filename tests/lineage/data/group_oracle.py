"""What transforms of groups and joins make, in plain Python over ids: no positions, no tables.

It imports nothing of the code it judges. A dataset is a dictionary id → `Row`.
"""

import json
import struct
from hashlib import blake2b, sha256
from itertools import product
from typing import NamedTuple

SALT = bytes(range(32))


class Row(NamedTuple):
    """A row: its cells, whom it is about, the added rows it was made of, and those in sight."""

    household: int
    value: int
    people: tuple[str, ...]
    roots: frozenset
    sight: frozenset = frozenset()


def doubled(rows):
    return [(row.household, row.value * 2, [n]) for n, row in enumerate(rows)]


def twice(rows):
    return [(row.household, row.value + more, [n]) for n, row in enumerate(rows) for more in (0, 1)]


def less_the_sum(rows):
    total = sum(row.value for row in rows)
    return [(row.household, row.value - total, [n]) for n, row in enumerate(rows)]


def first_of_a_kind(rows):
    return [(rows[0].household, rows[0].value, [0])]


def first_of_a_household(rows):
    return [(rows[0].household, rows[0].value, [*range(len(rows))])]


def top_two(rows):
    best = sorted(range(len(rows)), key=lambda n: -rows[n].value)[:2]
    return [(rows[n].household, rows[n].value, [n]) for n in best]


def packed(rows):
    made = []
    for first in range(0, len(rows), 2):
        number = rows[first].value
        if first + 1 < len(rows):
            number += 10 * rows[first + 1].value
        made.append((rows[0].household, number, [n for n in (first, first + 1) if n < len(rows)]))
    return made


def summed(rows):
    return [(rows[0].household, sum(row.value for row in rows), [*range(len(rows))])]


def above_the_mean(rows):
    total = sum(row.value for row in rows)
    return [
        (row.household, row.value, [n])
        for n, row in enumerate(rows)
        if row.value * len(rows) >= total
    ]


def matched(left, right):
    return [
        (ours.household, ours.value * 10 + theirs.value, [n, len(left) + m])
        for (n, ours), (m, theirs) in product(enumerate(left), enumerate(right))
        if ours.value != theirs.value
    ]


def outer(left, right):
    if not left:
        return [(row.household, row.value, [n]) for n, row in enumerate(right)]
    total = sum(row.value for row in right)
    theirs = [len(left) + m for m in range(len(right))]
    return [(row.household, row.value + 10 * total, [n, *theirs]) for n, row in enumerate(left)]


RECORD = {"doubled": doubled, "twice": twice}
AGGREGATE = {"less_the_sum": less_the_sum}
GROUP = {
    "first_of_a_kind": (first_of_a_kind, ["value"]),
    "first_of_a_household": (first_of_a_household, ["household", "value"]),
    "top_two": (top_two, ["household"]),
    "packed": (packed, ["household"]),
    "summed": (summed, ["household"]),
    "above_the_mean": (above_the_mean, ["household"]),
}
JOIN = {"matched": (matched, ["household"]), "outer": (outer, ["household"])}


def image(name, inputs, depth):
    """What a function makes of datasets; ``depth`` is how far its output is from files."""
    if name in RECORD or name in AGGREGATE:
        return _row_by_row(name, *inputs, depth)
    function, by = {**GROUP, **JOIN}[name]
    made = {}
    for key in {tuple(getattr(row, c) for c in by) for rows in inputs for row in rows.values()}:
        groups = [
            {who: rows[who] for who in _ordered(rows) if _key(rows[who], by) == key}
            for rows in inputs
        ]
        if name != "matched" or all(groups):
            made |= _of_group(name, function, groups, key, depth)
    return made


def _row_by_row(name, rows, depth):
    order = _ordered(rows)
    made, ranks = {}, {}
    everybody = frozenset().union(*(row.roots | row.sight for row in rows.values()))
    function = {**RECORD, **AGGREGATE}[name]
    for household, value, (source,) in function([rows[who] for who in order]):
        row = rows[order[source]]
        sight = everybody if name in AGGREGATE else row.sight
        who = _numbered(order[source], ranks, depth)
        made[who] = Row(household, value, row.people, row.roots, sight)
    return made


def _of_group(name, function, groups, key, depth):
    names = [who for group in groups for who in group]
    rows = [row for group in groups for row in group.values()]
    sight = frozenset().union(*(row.roots | row.sight for row in rows))
    made, ranks = {}, {}
    for household, value, sources in function(*(list(group.values()) for group in groups)):
        those = [rows[n] for n in sources]
        text = json.dumps([names[n] for n in sources], separators=(",", ":"))
        who = _numbered(text if name == "matched" else _digest(key), ranks, depth)
        people = tuple(dict.fromkeys(person for row in those for person in row.people))
        roots = frozenset().union(*(row.roots for row in those))
        inherited = frozenset().union(*(row.sight for row in those))
        made[who] = Row(household, value, people, roots, inherited if name == "matched" else sight)
    return made


def _numbered(base, ranks, depth):
    rank = ranks[base] = ranks.get(base, -1) + 1
    return f"{base}{'#' * depth}{rank}" if rank else base


def _key(row, by):
    return tuple(getattr(row, column) for column in by)


def _digest(key):
    """The id of a group: a keyed hash of the encodings ``row/1`` of its whole numbers."""
    cells = b"".join(b"\x01" + struct.pack("<q", number) for number in key)
    return sha256(sha256(b"expunge-group" + SALT).digest() + cells).hexdigest()[:32]


def _ordered(rows):
    def digest(who):
        keyed = blake2b(who.encode(), digest_size=32, key=SALT, person=b"expunge-record")
        return keyed.digest()

    return sorted(rows, key=digest)
