"""The reference page defines ``stable/1``: code and oracle must agree with its numbers."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from lineage.schedule import Records, ScheduleSpec, schedule_for
from lineage.schedule.mixer import Domain, mixed, tweak

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "schedule.md").read_text("utf-8")
ROW = re.compile(r"^\| (\w+) \| (\d+) \| (\d+) \| `(\w{16})` \| `(\w{16})` \|$", re.MULTILINE)
HASHES = [(d, int(s), int(e), int(x, 16), int(h, 16)) for d, s, e, x, h in ROW.findall(PAGE)]
SALT = bytes(range(32))


def test_the_page_has_vectors_for_every_domain():
    assert {domain for domain, *_ in HASHES} == set(Domain)


@pytest.mark.parametrize(("domain", "seed", "epoch", "x", "expected"), HASHES)
def test_hashes_are_those_of_the_page(oracle, domain, seed, epoch, x, expected):
    mask = tweak(SALT, Domain(domain), seed, epoch)
    assert mixed(np.array([x], np.uint64), mask).tolist() == [expected]
    assert oracle.hash(SALT, domain, x, seed, epoch) == expected


@pytest.mark.parametrize("text", re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL))
def test_the_schedule_is_that_of_the_page(oracle, text):
    vector = json.loads(text)
    spec = ScheduleSpec.model_validate(vector["specification"])
    keys = [int(key, 16) for key in vector["keys"]]
    placement = [int(place, 16) for place in vector["placement"]]
    risks = vector.get("risks", [0.0] * len(keys))
    digests = [row.to_bytes(32, "big") for row in range(len(keys))]
    records = Records(
        np.arange(len(keys)),
        np.array(keys, np.uint64),
        np.array(placement, np.uint64),
        lambda rows: [digests[row] for row in rows],
        column={"risk": np.array(risks)}.__getitem__,
    )
    drawn = schedule_for(spec, SALT).epochs(records)
    steps = [epoch.rows(step).tolist() for epoch in drawn for step in epoch.steps]
    assert steps == vector["steps"]
    plain = list(zip(keys, placement, digests, risks, strict=True))
    assert oracle(spec, SALT).batches(plain) == vector["steps"]
    for shard, slice_, *others in vector.get("cells", []):
        assert others == [
            row
            for row, (place, risk) in enumerate(zip(placement, risks, strict=True))
            if oracle(spec, SALT).cell(place, risk) == (shard, slice_)
        ]
