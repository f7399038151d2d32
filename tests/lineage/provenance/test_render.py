import re

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lineage.provenance.model import SEMANTICS, EdgeKind, Node, NodeKind, Semantics
from lineage.provenance.render import dot, mermaid, path_view, selection, tree

LABELS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@st.composite
def views(draw: st.DrawFn) -> "nx.MultiDiGraph[str]":
    """A small graph without circles: edges lead from earlier nodes to later ones."""
    size = draw(st.integers(1, 7))
    view: nx.MultiDiGraph[str] = nx.MultiDiGraph()
    for number in range(size):
        kind = draw(st.sampled_from(list(NodeKind)))
        node = Node(id=f"id-{number}", kind=kind, label=draw(LABELS))
        view.add_node(node.id, node=node)
    for start in range(size):
        for end in range(start + 1, size):
            for kind in draw(st.sets(st.sampled_from(list(EdgeKind)), max_size=2)):
                view.add_edge(f"id-{start}", f"id-{end}", key=kind, kind=kind)
    return view


def shown(label: str) -> str:
    """A label on one line: what no terminal prints is a space."""
    return "".join(letter if letter.isprintable() else " " for letter in label)


def labels(view: "nx.DiGraph[str]") -> list[str]:
    return [shown(view.nodes[node]["node"].label) for node in view]


def dashed(kind: EdgeKind) -> bool:
    return SEMANTICS[kind] is not Semantics.INFLUENCE


QUOTED = r'"((?:[^"\\]|\\.)*)"'


def unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


@given(views())
def test_dot_read_back_has_the_same_nodes_labels_and_edges(view):
    lines = dot(view).split("\n")
    assert lines[0] == "digraph provenance {"
    assert lines[-1] == "}"
    nodes, edges = [], []
    for line in lines[2:-1]:
        if found := re.fullmatch(rf"  {QUOTED} \[shape=\w+, label={QUOTED}\];", line):
            label, _, identifier = found[2].rpartition(r"\n")
            assert found[1] == identifier
            nodes.append((identifier, unquoted(label)))
        else:
            found = re.fullmatch(
                rf"  {QUOTED} -> {QUOTED} \[label={QUOTED}(, style=dashed)?\];", line
            )
            assert found
            edges.append((found[1], found[2], found[3], bool(found[4])))
    assert nodes == list(zip(view, labels(view), strict=True))
    assert edges == [(a, b, str(kind), dashed(kind)) for a, b, kind in view.edges(data="kind")]


@given(views())
def test_mermaid_read_back_has_the_same_nodes_labels_and_edges(view):
    lines = mermaid(view).split("\n")
    assert lines[0] == "flowchart LR"
    names, texts, edges = {}, [], []
    for line in lines[1:]:
        if found := re.fullmatch(
            r'  (n\d+)(?:\[\(|\(\[|\[)"([^"<>]*)<br/>([^"<>]*)"(?:\)\]|\]\)|\])', line
        ):
            names[found[1]] = found[3]
            texts.append(re.sub(r"#(\d+);", lambda code: chr(int(code[1])), found[2]))
        else:
            found = re.fullmatch(r"  (n\d+) (-->|-\.->)\|([a-z-]+)\| (n\d+)", line)
            assert found
            edges.append((names[found[1]], names[found[4]], found[3], found[2] == "-.->"))
    assert list(names.values()) == list(view)
    assert texts == labels(view)
    assert edges == [(a, b, str(kind), dashed(kind)) for a, b, kind in view.edges(data="kind")]


@given(views())
def test_a_tree_names_every_node_and_marks_those_it_drew_above(view):
    lines = tree(view).split("\n")
    found = [re.search(r"\[(id-\d+)\]( \(above\))?$", line) for line in lines]
    assert all(found)
    firsts = [each[1] for each in found if not each[2]]
    assert sorted(firsts) == sorted(view)
    for number, each in enumerate(found):
        drawn_before = each[1] in [other[1] for other in found[:number]]
        assert drawn_before == bool(each[2])


@given(views())
def test_a_tree_has_a_line_for_every_root_and_every_edge_that_taints(view):
    pairs = {(a, b): dashed(kind) for a, b, kind in view.edges(data="kind")}
    for a, b, kind in view.edges(data="kind"):
        pairs[a, b] = pairs[a, b] and dashed(kind)
    tainted = {b for (_, b), only_dashed in pairs.items() if not only_dashed}
    kept = [(a, b) for (a, b), only_dashed in pairs.items() if not only_dashed or b not in tainted]
    roots = set(view) - {b for _, b in kept}
    assert len(tree(view).split("\n")) == len(roots) + len(kept)


def chain(length: int) -> "nx.DiGraph[str]":
    return path_view(
        [Node(id=f"id-{n}", kind=NodeKind.SEGMENT, label=f"s{n}") for n in range(length)]
    )


def test_a_branch_is_indented_and_an_only_successor_is_not():
    view = chain(3)
    for name in ("left", "right"):
        view.add_node(name, node=Node(id=name, kind=NodeKind.FIT, label=name))
    view.add_edge("id-2", "left")
    view.add_edge("id-2", "right")
    view.add_node("last", node=Node(id="last", kind=NodeKind.FIT, label="last"))
    view.add_edge("left", "last")
    assert tree(view).split("\n") == [
        "s0  [id-0]",
        "s1  [id-1]",
        "s2  [id-2]",
        "├─ left  [left]",
        "│  last  [last]",
        "└─ right  [right]",
    ]


def test_a_very_long_chain_is_drawn_whole():
    assert len(tree(chain(20_000)).split("\n")) == 20_000


def test_a_path_is_drawn_without_saying_what_kind_its_edges_are():
    view = chain(2)
    assert dot(view).split("\n")[-2] == '  "id-0" -> "id-1";'
    assert mermaid(view).split("\n")[-1] == "  n0 --> n1"


@pytest.mark.parametrize("draw", [tree, dot, mermaid])
def test_nothing_can_be_drawn(draw):
    assert draw(path_view([])) in ("", "digraph provenance {\n  rankdir=LR;\n}", "flowchart LR")


def test_a_selection_keeps_the_edges_between_what_was_selected():
    part = selection(chain(4), ["id-1", "id-2", "id-3"])
    assert list(part.edges) == [("id-1", "id-2"), ("id-2", "id-3")]
    assert part.nodes["id-1"]["node"].label == "s1"
