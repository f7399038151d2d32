"""Drawing a view of the provenance graph: as a tree of text, in DOT, in Mermaid.

Pure functions of the view. Edges that only refer to a container, or only steered a choice, are
drawn apart from those that taint. Labels are escaped: a name can hold anything.
"""

from collections.abc import Iterator, Sequence

import networkx as nx

from lineage.provenance.model import SEMANTICS, EdgeKind, Node, Semantics

_DOT_SHAPES = {
    "dataset-version": "cylinder",
    "transform": "cds",
    "fit": "component",
    "segment": "box",
    "checkpoint": "note",
    "model-version": "ellipse",
    "publication": "house",
}
_MERMAID_SHAPES = {"dataset-version": ("[(", ")]"), "model-version": ("([", "])")}


def path_view(path: Sequence[Node]) -> "nx.DiGraph[str]":
    """A path as a view: each node leads to the next, by edges of unknown kind."""
    view: nx.DiGraph[str] = nx.DiGraph()
    for node in path:
        view.add_node(node.id, node=node)
    view.add_edges_from(zip([n.id for n in path], [n.id for n in path[1:]], strict=False))
    return view


def selection(whole: "nx.DiGraph[str]", nodes: Sequence[str]) -> "nx.DiGraph[str]":
    """Some nodes of a view, with every edge between them."""
    return whole.subgraph(nodes).copy()


def tree(view: "nx.DiGraph[str]") -> str:
    """The view as text, a node a line, from every node that nothing in the view leads to.

    An only successor stands below its node without indentation. A node that was drawn before is
    named again and not followed again. An edge that does not taint is left out where another, which
    does, leads to the same node.
    """
    return "\n".join(_tree_lines(_without_shortcuts(view)))


def dot(view: "nx.DiGraph[str]") -> str:
    """The view in the DOT language of Graphviz."""
    lines = ["digraph provenance {", "  rankdir=LR;"]
    for node in _nodes(view):
        shape = _DOT_SHAPES[node.kind.value]
        label = f'"{_dot_text(node.label)}\\n{_dot_text(node.id)}"'
        lines.append(f'  "{_dot_text(node.id)}" [shape={shape}, label={label}];')
    for start, end, kind in _edges(view):
        style = ", style=dashed" if _dashed(kind) else ""
        label = f' [label="{kind}"{style}]' if kind else ""
        lines.append(f'  "{_dot_text(start)}" -> "{_dot_text(end)}"{label};')
    return "\n".join([*lines, "}"])


def mermaid(view: "nx.DiGraph[str]") -> str:
    """The view as a Mermaid flowchart."""
    names = {node.id: f"n{number}" for number, node in enumerate(_nodes(view))}
    lines = ["flowchart LR"]
    for node in _nodes(view):
        before, after = _MERMAID_SHAPES.get(node.kind.value, ("[", "]"))
        label = f"{mermaid_text(node.label)}<br/>{mermaid_text(node.id)}"
        lines.append(f'  {names[node.id]}{before}"{label}"{after}')
    for start, end, kind in _edges(view):
        arrow = "-.->" if _dashed(kind) else "-->"
        label = f"|{kind}|" if kind else ""
        lines.append(f"  {names[start]} {arrow}{label} {names[end]}")
    return "\n".join(lines)


def _nodes(view: "nx.DiGraph[str]") -> list[Node]:
    return [view.nodes[identifier]["node"] for identifier in view]


def _edges(view: "nx.DiGraph[str]") -> Iterator[tuple[str, str, str]]:
    for start, end, data in view.edges(data=True):
        yield start, end, str(data.get("kind", ""))


def _dashed(kind: str) -> bool:
    return bool(kind) and SEMANTICS[EdgeKind(kind)] is not Semantics.INFLUENCE


def _without_shortcuts(view: "nx.DiGraph[str]") -> "nx.DiGraph[str]":
    """The view in which no node that something taints hangs from a container as well."""
    tainted = {end for _, end, kind in _edges(view) if not _dashed(kind)}
    kept: nx.DiGraph[str] = nx.DiGraph()
    kept.add_nodes_from(view.nodes(data=True))
    kept.add_edges_from(
        (start, end) for start, end, kind in _edges(view) if not _dashed(kind) or end not in tainted
    )
    return kept


def _tree_lines(view: "nx.DiGraph[str]") -> Iterator[str]:
    drawn: set[str] = set()
    roots = [node for node in view if view.in_degree(node) == 0]
    # A stack and not recursion: a run may have thousands of checkpoints, one below the other.
    waiting = [(node, "", "") for node in reversed(roots)]
    while waiting:
        identifier, before, below = waiting.pop()
        node: Node = view.nodes[identifier]["node"]
        again = identifier in drawn
        yield f"{before}{_one_line(node.label)}  [{identifier}]" + (" (above)" if again else "")
        drawn.add(identifier)
        followers = [] if again else list(view.successors(identifier))
        if len(followers) == 1:
            waiting.append((followers[0], below, below))
        else:
            ends = [("├─ ", "│  ")] * (len(followers) - 1) + [("└─ ", "   ")]
            for follower, (branch, rest) in reversed(list(zip(followers, ends, strict=False))):
                waiting.append((follower, below + branch, below + rest))


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _dot_text(text: str) -> str:
    """What stands between the quotes of DOT: only quotes and backslashes need escaping."""
    return _one_line(text).replace("\\", r"\\").replace('"', r"\"")


def mermaid_text(text: str) -> str:
    """Text of a quoted Mermaid label: what could end it or mark it up becomes entity codes."""
    return "".join(
        letter if letter.isalnum() or letter in " -–_.,/()" else f"#{ord(letter)};"
        for letter in _one_line(text)
    )
