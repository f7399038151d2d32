import hashlib
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from storage import ledger
from storage.catalogue import Catalogue
from storage.catalogue.tables import Commitment, Model

NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)
PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | PRINTABLE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PRINTABLE, inner, max_size=3),
    max_leaves=8,
)


@given(content=st.dictionaries(PRINTABLE, JSON, max_size=4))
def test_the_digest_is_sha256_of_sorted_json_without_spaces(content: dict[str, object]) -> None:
    # For printable ASCII and whole numbers RFC 8785 is what the standard library can write.
    plain = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    assert ledger.json_digest(content) == hashlib.sha256(plain).hexdigest()


def test_the_digest_of_the_example_in_rfc_8785_follows_its_canonical_form() -> None:
    content = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 1e-27],
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/",
        "literals": [None, True, False],
    }
    canonical = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert ledger.json_digest(content) == hashlib.sha256(canonical.encode()).hexdigest()


def test_a_commitment_binds_kind_id_and_content(catalogue: Catalogue) -> None:
    with catalogue.write() as session:
        digests = {
            ledger.commit(session, kind, row_id, content, NOON)
            for kind in ("plan", "request")
            for row_id in ("a", "b")
            for content in ({"x": 1}, {"x": 2}, {})
        }
    assert len(digests) == 12


def test_entries_are_numbered_in_the_order_they_were_written(catalogue: Catalogue) -> None:
    with catalogue.read() as session:
        assert ledger.revision(session) == 0
    digests = []
    for number in range(3):
        with catalogue.write() as session:
            digests.append(ledger.commit(session, "plan", f"plan-{number}", {}, NOON))
            session.flush()
            assert ledger.revision(session) == number + 1
    with catalogue.read() as session:
        rows = session.scalars(select(Commitment).order_by(Commitment.sequence)).all()
    assert [(row.sequence, row.kind, row.row_id, row.digest) for row in rows] == [
        (number + 1, "plan", f"plan-{number}", digest) for number, digest in enumerate(digests)
    ]


def test_neither_row_nor_commitment_exists_without_the_other(catalogue: Catalogue) -> None:
    def fails() -> None:
        with catalogue.write() as session:
            session.add(Model(id="model-1", name="m", created_at=NOON))
            ledger.commit(session, "model", "model-1", {}, NOON)
            session.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    with catalogue.read() as session:
        assert session.scalar(select(Model)) is None
        assert ledger.revision(session) == 0
