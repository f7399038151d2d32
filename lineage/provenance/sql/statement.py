"""What a statement may be: one SELECT, over the views, calling functions that only compute.

DuckDB parses it, and its tree is walked with everything forbidden that is not known: a node, a
table or a function that a later version brings is refused until somebody looks at it.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import duckdb

from lineage.errors import StatementError

_CLAUSES = frozenset(
    {"EMPTY", "EXPRESSION_LIST", "BASE_TABLE", "JOIN", "SUBQUERY", "PIVOT", "TABLE_FUNCTION"}
    | {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "DISTINCT_MODIFIER"}
    | {"LIMIT_MODIFIER", "LIMIT_PERCENT_MODIFIER", "ORDER_MODIFIER"}
    | {"ORDER_DEFAULT", "ASCENDING", "DESCENDING"}
)
_EXPRESSIONS = frozenset(
    {"BETWEEN", "CASE", "CAST", "COLLATE", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT"}
    | {"FUNCTION", "LAMBDA", "OPERATOR", "POSITIONAL_REFERENCE", "STAR", "SUBQUERY", "TYPE"}
    | {"WINDOW"}
)
_TABLE_FUNCTIONS = frozenset({"generate_series", "range", "unnest"})

_PURE = """
    SELECT lower(function_name) FROM duckdb_functions()
    WHERE function_type NOT IN ('pragma', 'table', 'table_macro')
    GROUP BY 1 HAVING bool_and(coalesce(stability = 'CONSISTENT', schema_name = 'main'))
"""
"""Functions that give the same for the same; a macro of the system catalogue asks about it."""

_IMPURE = frozenset({"current_date", "now", "random", "today", "unnest"})
_OF_PLANS = frozenset({"json_deserialize_sql", "json_serialize_plan", "json_serialize_sql"})


@dataclass(frozen=True, slots=True)
class Statement:
    """One SELECT that was looked at, and the views that it names."""

    text: str
    views: frozenset[str]


def checked(connection: duckdb.DuckDBPyConnection, text: str, views: Collection[str]) -> Statement:
    """Look at a statement over some views; nothing of it is carried out.

    Raises:
        StatementError: it is not one SELECT, or asks for more than the views and computation.
        duckdb.ParserException: it is no SQL.
    """
    parsed = connection.extract_statements(text)
    if len(parsed) != 1 or parsed[0].type != duckdb.StatementType.SELECT:
        kinds = " and ".join(each.type.name for each in parsed) or "nothing"
        raise StatementError(
            f"one SELECT is taken, and this is {kinds}",
            hint="it begins with SELECT, FROM, VALUES or WITH … SELECT, and changes nothing",
        )
    said = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [parsed[0].query])
    ((tree,),) = said.fetchall()
    walk = _Walk(frozenset(views), _functions())
    walk.into(json.loads(tree)["statements"], frozenset())
    return Statement(parsed[0].query, frozenset(walk.named))


@cache
def _functions() -> frozenset[str]:
    """The names that a statement may call: asking for them takes longer than most statements."""
    with duckdb.connect(":memory:") as connection:
        pure = {name for (name,) in connection.execute(_PURE).fetchall()}
    return frozenset(pure - _OF_PLANS | _IMPURE)


@dataclass
class _Walk:
    """A walk through a tree, which names the views it came by."""

    views: frozenset[str]
    functions: frozenset[str]
    named: set[str] = field(default_factory=set)

    def into(self, thing: object, known: frozenset[str]) -> None:
        """Look at a part of the tree where these names mean results of the statement's own."""
        if isinstance(thing, list):
            for each in thing:
                self.into(each, known)
        elif isinstance(thing, dict):
            self._node(thing, known)

    def _node(self, node: Mapping[str, Any], known: frozenset[str]) -> None:
        kind = node.get("class", node.get("type"))
        if isinstance(kind, str) and kind not in (_EXPRESSIONS if "class" in node else _CLAUSES):
            raise _forbidden(f"a statement cannot hold {kind.partition('_')[0]}")
        if kind == "BASE_TABLE":
            self._table(node, known)
        if kind == "TABLE_FUNCTION":
            self._function(node["function"], _TABLE_FUNCTIONS)
            self.into(node["function"]["arguments"], known)
            node = {name: part for name, part in node.items() if name != "function"}
        if "function_name" in node:
            self._function(node, self.functions)
        known = self._results(node.get("cte_map", {}).get("map", ()), known)
        self.into([part for name, part in node.items() if name != "cte_map"], known)

    def _results(
        self, results: Collection[Mapping[str, Any]], known: frozenset[str]
    ) -> frozenset[str]:
        """The names known after WITH; each knows those before it, and itself if recursive."""
        for result in results:
            later = known | {result["key"].lower()}
            recursive = result["value"]["query_node"]["type"] == "RECURSIVE_CTE_NODE"
            self.into(result["value"], later if recursive else known)
            known = later
        return known

    def _table(self, node: Mapping[str, Any], known: frozenset[str]) -> None:
        path = node["qualified_name"]["path"]
        name = path[-1].lower()
        if len(path) == 1 and name in known:
            return
        if len(path) > 1 or name not in self.views:
            raise _forbidden(f"there is no view {'.'.join(path)!r}")
        self.named.add(name)

    def _function(self, node: Mapping[str, Any], allowed: frozenset[str]) -> None:
        if node["function_name"].lower() not in allowed:
            raise _forbidden(f"a statement cannot call {node['function_name']!r}")


def _forbidden(message: str) -> StatementError:
    return StatementError(message, hint="`expunge sql` without a statement lists the views")
