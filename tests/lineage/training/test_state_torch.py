"""torch's tensors through the codec."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from lineage.errors import StateError
from lineage.training import state as codec

DTYPES = sorted(
    {
        dtype
        for name in dir(torch)
        if isinstance(dtype := getattr(torch, name), torch.dtype) and not name.startswith("q")
    },
    key=str,
)


def through(state: dict[str, Any]) -> Any:
    """The state as it comes back, after the codec has checked itself."""
    data, digest = codec.encode_verified(state)
    restored = codec.decode(data)
    assert codec.digest(restored) == digest
    return restored


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3)], ids=str)
def test_a_tensor_of_any_dtype_comes_back_in_every_bit(
    dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    generator = torch.Generator().manual_seed(0)
    count = math.prod(shape) * dtype.itemsize
    octets = torch.randint(256, (count,), dtype=torch.uint8, generator=generator)
    # Viewed from one dimension: `view(dtype)` wants a last dimension to divide.
    tensor = octets.view(dtype).reshape(shape)
    restored = through({"t": tensor})["t"]
    assert (restored.dtype, restored.shape) == (dtype, tensor.shape)
    assert restored.untyped_storage().tolist() == octets.tolist()


def test_nan_payloads_in_tensors_survive() -> None:
    bits = torch.tensor([0x7FA00001, 0x7FC12345, -0x3EDCBB], dtype=torch.int32)
    restored = through({"t": bits.view(torch.float32)})["t"]
    assert restored.view(torch.int32).tolist() == bits.tolist()


def layouts() -> dict[str, torch.Tensor]:
    image = torch.arange(240.0).reshape(2, 4, 5, 6)
    return {
        "channels last": image.to(memory_format=torch.channels_last),
        "one channel last": image[:, :1].contiguous(memory_format=torch.channels_last),
        "transposed": image.transpose(0, 3),
        "permuted": image.permute(2, 0, 3, 1),
        "inside a larger one": image[1].permute(2, 0, 1),
        "three dimensions last": torch.arange(240.0)
        .reshape(2, 3, 4, 5, 2)
        .contiguous(memory_format=torch.channels_last_3d),
    }


@pytest.mark.parametrize("name", layouts())
def test_a_dense_tensor_keeps_its_strides(name: str) -> None:
    tensor = layouts()[name]
    restored = through({"t": tensor})["t"]
    assert restored.stride() == tensor.stride()
    assert torch.equal(restored, tensor)
    assert restored.untyped_storage().nbytes() == tensor.numel() * tensor.itemsize


def test_views_with_gaps_or_repeats_come_back_as_their_values() -> None:
    base = torch.arange(12.0).reshape(3, 4)
    views = {
        "gaps": base[:, ::2],
        "repeated": base[0].expand(5, 4),
        "overlap": base[0].unfold(0, 2, 1),
    }
    restored = through(views)
    for name, view in views.items():
        assert torch.equal(restored[name], view)
        assert restored[name].is_contiguous()


def test_conjugate_and_negative_views_come_back_as_their_values() -> None:
    value = torch.tensor([1 + 2j, 3 - 4j])
    state = {"value": value, "conjugate": value.conj(), "negative": value.conj().imag}
    restored = through(state)
    assert all(torch.equal(restored[name], tensor) for name, tensor in state.items())


def test_layout_sharing_gradients_and_parameters_do_not_enter_the_digest() -> None:
    image = torch.arange(240.0).reshape(2, 4, 5, 6)
    plain = codec.digest({"a": image, "b": image.clone()})
    assert codec.digest({"a": image, "b": image}) == plain
    channels_last = image.to(memory_format=torch.channels_last)
    assert codec.digest({"a": channels_last, "b": nn.Parameter(image)}) == plain
    assert codec.digest({"a": image[:, :2], "b": image}) != plain


def test_a_tensor_and_an_array_of_the_same_bytes_have_different_digests() -> None:
    tensor = torch.arange(3)
    assert codec.digest({"a": tensor}) != codec.digest({"a": tensor.numpy()})


def test_the_same_memory_is_shared_again_and_other_views_of_it_are_not() -> None:
    base = torch.arange(6.0)
    restored = through(
        {
            "a": base,
            "b": base.detach(),
            "empty": torch.empty(0),
            "void": torch.empty(0),
            "head": base[:3],
            "tail": base[3:],
            "square": base.reshape(2, 3),
            "bits": base.view(torch.int32),
        }
    )
    restored["a"][0] = 9
    assert restored["b"][0] == 9
    assert restored["tail"].tolist() == [3, 4, 5]
    assert restored["empty"] is not restored["void"]
    assert restored["head"][0] == restored["square"][0, 0] == restored["bits"][0] == 0


def test_dtypes_devices_and_sizes_come_back() -> None:
    state = {
        "dtype": [torch.bfloat16, torch.float8_e5m2],
        "device": {torch.device("cuda:1"): torch.device("cpu")},
        "size": torch.Size([2, 0]),
    }
    assert through(state) == state
    assert type(through(state)["size"]) is torch.Size


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: torch.eye(2).to_sparse(), "sparse"),
        (lambda: torch.eye(2).to_sparse_csr(), "sparse"),
        (lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "quantised"),
        (lambda: torch.empty(2, device="meta"), "without memory"),
        (lambda: torch._efficientzerotensor((2,)), "without memory"),
        (lambda: nn.parameter.UninitializedParameter(), "UninitializedParameter"),
        (lambda: torch.nested.nested_tensor([torch.ones(1), torch.ones(2)]), "nested"),
        (lambda: {torch.ones(1): 1}, "identity"),
        (lambda: {(1, torch.ones(1)): 1}, "identity"),
        (lambda: torch.Generator(), "Generator"),
        (lambda: nn.Linear(1, 1), "Linear"),
    ],
)
def test_a_tensor_that_octets_cannot_restore_is_refused_by_its_path(
    make: Callable[[], Any], word: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of the prototypes made here
        value = make()
    state = {"optimizer": {"state": {0: {"moment": value}}}}
    for function in (codec.encode, codec.digest):
        with pytest.raises(StateError, match=r"optimizer\.state\[0\]\.moment") as caught:
            function(state)
        assert word in caught.value.message
        assert caught.value.hint


def test_decoding_ignores_the_default_device_and_dtype() -> None:
    data = codec.encode({"t": torch.arange(4.0)})
    with torch.device("meta"):
        restored: Any = codec.decode(data)
    assert restored["t"].tolist() == [0, 1, 2, 3]


def test_the_state_of_a_random_generator_comes_back() -> None:
    generator = torch.Generator().manual_seed(5)
    torch.randn(7, generator=generator)
    other = torch.Generator()
    other.set_state(through({"g": generator.get_state()})["g"])
    assert torch.equal(torch.randn(3, generator=other), torch.randn(3, generator=generator))
