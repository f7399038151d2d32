"""Damaged typed files: read as they say, or refused by one sentence; never a crash, a row less."""

import os
import zlib
from base64 import b85decode
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.errors import InvalidInputError
from storage.intake import inspect

TABLE = pa.table(
    {
        "k": [f"p{row}" for row in range(7)],
        "label": pa.array(list("abcabca")).dictionary_encode(),
        "n": [1, 2, None, 4, 5, 6, 7],
        "v": pa.array([[1.0, 2.0]] * 7, pa.list_(pa.float32(), 2)),
        "flag": [True, False, True, True, False, True, True],
        "large": pa.array(["x"] * 7, pa.large_string()),
        "view": pa.array(
            [f"a text that is not short, {row}" for row in range(7)], pa.string_view()
        ),
        "amount": [Decimal(row) for row in range(7)],
    }
)
SAMPLE = 400
# One byte of the length of a dictionary was changed: Arrow reads far behind its buffer.
SEGFAULT = zlib.decompress(
    b85decode(
        "c-rlk&1(}u7{+JQGz}$4l%TOxDYcYZO3m(0zS`O^Yg?p>_=Sq7ND3BF<7=%&Pz!=o@X(`wfCmx(2#+3m=&^r-#~wU*"
        "a(!m^S=>#HC@3m)<;icKop)y6d1o@Ip67X+mQq<|u6C7CDb=ddxWi>7RTB98#q$i?pjE`qL7mV#{1r$;ru{YI&?#ZY"
        "%JG>$40H!7c&1%h<M`MJVpHFXy#c*P`==l#YuY;*W7_lN5^_!BX$toVsK+1QYRNJt9Mf=NasIZse-gxCzIpUbVNMy`"
        "=Qw|>)x2vY^1d*q8kELA^VEE1e4l~Zd~d?K@Ue{X-!;j@jI-?Lobq!vS#Jiht&Op!y*@AZ@1k()h%q^a`I^-V^KI;B"
        ">ab8VK3F?+_1>_?%FjE;70&o0sYKFm%d<UL`CyLWp2#CI$(A`jPpEHKi)wyl$ZRA(6{$x;J>AyFio`uw3TWo>(TdJv"
        "Z+sptNq-Jq>2Q>I-UHm@PUJnie~|Y&xk0`puUqlB(1-B_CSId|m59fOevSS5lJWM?f1uxLXm94j@m5mt_RzP{uQvF#"
        "RJ?z%2jX>7zrojjGJb#LS%UjI#hlu?pLTIS?cu)O2X#OP%=$xzpkC;(S$F6N$1g$^Xc!uWCZH*3208(qgib?ep$pI@"
        "o^RK9Ce1@Pp<6u9?m>&tL+BCo*wh<(20e#fMD~po#1=<f(NdI>l%*n7vGLFr+Y#FpTZ>&3yCim5?26b`aSGy~k0XvN"
        "juxjVPDz}yI2CcK;ugfU#l?`WxLVwzxFvDR;#S11iY|z@MLVMLMlHH1x+J<Rx+1#ztM%Q>^Pz+1;z8EA+nl+qbsyBv"
        "dJmfK0c&o48%nJE5YJXqd-EGG$@))2vs?pnzMSGZoPo}9EiOWrxgJ-|_l|24?yGvCZr7c<Ti5ksz4T|?_ETbOj5p)_"
        "=8#!3N9M^+vWx5{d&pk0kL)K0$U(9|+N49eq$Z1Gi7b;9vPuq-!{i8glpH0;$nk(Hq?({7)g(Qsj?t59ik?)*=}9$B"
        "PpTPuQq9r_v?9M7|1Vd@f_=2Ze}U)y%TjOsE7A0CogM#oychgmLVX2XOcHk"
    )
)


def as_file(path: Path) -> None:
    with pa.ipc.new_file(path, TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=4)


def as_packed_file(path: Path) -> None:
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(path, TABLE.schema, options=options) as writer:
        writer.write_table(TABLE, max_chunksize=4)


def as_stream(path: Path) -> None:
    with pa.ipc.new_stream(path, TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=4)


def as_parquet(path: Path) -> None:
    pq.write_table(TABLE, path, row_group_size=4)


def as_plain_parquet(path: Path) -> None:
    pq.write_table(TABLE, path, row_group_size=4, compression="none", use_dictionary=False)


WRITERS: dict[str, Callable[[Path], None]] = {
    "file.arrow": as_file,
    "packed.arrow": as_packed_file,
    "stream.ipc": as_stream,
    "t.parquet": as_parquet,
    "plain.parquet": as_plain_parquet,
}


def test_case_segfault(tmp_path: Path) -> None:
    path = tmp_path / "segfault.arrow"
    path.write_bytes(SEGFAULT)
    taking_in = in_a_child(lambda: outcome(path, subject_columns=("person",)))
    assert taking_in == "segfault.arrow cannot be read as arrow"


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_with_one_damaged_byte_is_read_or_refused(tmp_path: Path, name: str) -> None:
    assert_sound(tmp_path, name, Random(0), SAMPLE)


@pytest.mark.soak
@pytest.mark.parametrize("name", WRITERS)
def test_a_file_with_any_damaged_byte_is_read_or_refused(tmp_path: Path, name: str) -> None:
    assert_sound(tmp_path, name, Random(int(os.environ.get("SEED", "0"))), 4_000)


def assert_sound(tmp_path: Path, name: str, random: Random, sample: int) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    whole = path.read_bytes()
    found = in_a_child(lambda: "\n".join(sorted({*damaged(path, whole, random, sample)})))
    allowed = {
        "",
        f"{name} cannot be read as {path.suffix[1:]}",
        f"{name} is empty",
        f"{name} has no rows",
    }
    other = [line for line in found.split("\n") if line not in allowed]
    # What else is refused is a file that says something else, in one sentence about it.
    assert all(name in line and "Error" not in line for line in other), other


def damaged(path: Path, whole: bytes, random: Random, sample: int) -> Iterator[str]:
    for _ in range(sample):
        at, bits = random.randrange(len(whole)), random.randrange(1, 256)
        path.write_bytes(whole[:at] + bytes([whole[at] ^ bits]) + whole[at + 1 :])
        yield outcome(path)


def outcome(path: Path, **roles: tuple[str, ...]) -> str:
    """Nothing where the file is taken with seven rows; the sentence, or what else happened."""
    try:
        intake = inspect(path, **{"id_columns": (), "subject_columns": (), **roles})
        rows = [row for batch in intake.batches() for row in batch.to_pylist()]
    except InvalidInputError as refused:
        return refused.message.replace(f"{path.parent}/", "").replace("\n", " ")
    return "" if len(rows) == intake.rows == 7 else f"Error {len(rows)} rows"


def in_a_child(work: Callable[[], str]) -> str:
    """What work returns in a process of its own, which a signal may end."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, work().encode()[:60_000])
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    return answer.decode()


def refusal(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(InvalidInputError) as refused:
        inspect(path, id_columns=(), subject_columns=())
    return refused.value.message


def test_a_stream_that_was_cut_between_two_batches_is_no_shorter_stream(tmp_path: Path) -> None:
    path = tmp_path / "t.ipc"
    as_stream(path)
    whole = path.read_bytes()
    assert refusal(path, whole[:-8]).endswith("t.ipc cannot be read as ipc")


def test_a_footer_that_forgets_a_batch_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.arrow"
    short, long = tmp_path / "short", tmp_path / "long"
    schema = pa.schema([("n", pa.int64())])
    for each, batches in ((short, 1), (long, 2)):
        with pa.ipc.new_file(each, schema) as writer:
            for _ in range(batches):
                writer.write_batch(pa.record_batch([pa.array([1, 2])], schema))
    one, two = short.read_bytes(), long.read_bytes()
    footer = len(one) - 10 - int.from_bytes(one[-10:-6], "little")
    body = len(two) - 10 - int.from_bytes(two[-10:-6], "little")
    assert refusal(path, two[:body] + one[footer:]).endswith("cannot be read as arrow")


def test_text_with_damaged_letters_is_refused_by_row(tmp_path: Path) -> None:
    path = tmp_path / "t.arrow"
    bad: Any = pa.array([b"fine", b"\xff"]).view(pa.string())
    with pa.ipc.new_file(path, pa.schema([("t", pa.string())])) as writer:
        writer.write_batch(pa.record_batch({"t": bad}))
    with pytest.raises(InvalidInputError, match="row 2 of"):
        inspect(path, id_columns=(), subject_columns=())
