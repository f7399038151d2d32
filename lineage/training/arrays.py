"""NumPy arrays and torch tensors as a layout and octets: exact, and without importing torch.

Octets are the elements in C order, in the byte order the dtype names (torch: the machine's, which
torch supports only as little-endian). A dense array that is not in C order (Fortran order,
channels-last, transposed) keeps its strides, because kernels choose by stride and another kernel
gives other bits. Views with gaps or repeats (slices, ``expand``) keep their values only.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from lineage.errors import StateError

if TYPE_CHECKING:
    import torch

Octets: TypeAlias = NDArray[np.uint8]
Array: TypeAlias = "NDArray[np.generic] | torch.Tensor"

TYPES = {
    "numpy.ndarray": "numpy",
    "torch.Tensor": "torch",
    "torch.nn.parameter.Parameter": "torch",
}
"""Qualified type name → kind. A subclass carries behaviour that octets cannot: it is refused."""

_PORTABLE = {
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64"),
}


@dataclass(frozen=True, slots=True)
class Layout:
    """Everything about an array but its octets.

    ``dtype`` is NumPy's ``dtype.str`` or torch's name; ``stride`` counts elements and is None in C
    order; ``device`` is the type of device that held the array (restored arrays are on the CPU).
    """

    kind: Literal["numpy", "torch"]
    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...] | None
    device: str


def qualified(kind: type) -> str:
    """Module and name of a type: how torch's types are told without importing torch."""
    return f"{kind.__module__}.{kind.__qualname__}"


def layout_of(array: Array, path: str) -> Layout:
    """The layout of an array.

    Raises:
        StateError: octets and layout would not restore it (sparse, quantised, objects, meta, …).
    """
    if isinstance(array, np.ndarray):
        numpy_dtype(array.dtype.str, path)
        stride = tuple(s // array.itemsize for s in array.strides)
        return Layout("numpy", array.dtype.str, array.shape, _kept(array.shape, stride), "cpu")
    _check_tensor(array, path)
    shape, dtype = tuple(array.shape), str(array.dtype).removeprefix("torch.")
    return Layout("torch", dtype, shape, _kept(shape, array.stride()), array.device.type)


def numpy_dtype(name: str, path: str) -> np.dtype[np.generic]:
    """The dtype called ``name``, if plain bytes describe its elements on every machine.

    Raises:
        StateError: it holds objects, text or fields, or its width depends on the platform.
    """
    dtype = np.dtype(name)
    if dtype.kind not in "biufcmM" or dtype.char in "gG":
        raise StateError.at(
            path,
            f"NumPy values of dtype {name} cannot be stored exactly",
            hint="track numbers, booleans or times of at most 64 bits (complex: 128); "
            "keep text and objects in a list or a dict",
        )
    return dtype


def _check_tensor(tensor: "torch.Tensor", path: str) -> None:
    if str(tensor.layout) != "torch.strided" or tensor.is_nested:
        what, hint = "a sparse or nested tensor", "track `tensor.to_dense()`, or rebuild it"
    elif tensor.is_quantized:
        what, hint = "a quantised tensor", "track its `int_repr()`, scale and zero point"
    elif tensor.numel() and not tensor.data_ptr():
        what, hint = "a tensor without memory (meta or lazy)", "initialise it before tracking it"
    else:
        return
    raise StateError.at(path, f"{what} cannot be stored exactly", hint=hint)


def _kept(shape: tuple[int, ...], stride: tuple[int, ...]) -> tuple[int, ...] | None:
    """The stride where it is worth keeping: dense, and not the one of C order."""
    return stride if stride != c_stride(shape) and is_dense(shape, stride) else None


def c_stride(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of C order, as torch counts them (an empty dimension counts as one).

    >>> c_stride((2, 0, 3))
    (3, 3, 1)
    """
    return tuple(math.prod(max(n, 1) for n in shape[i + 1 :]) for i in range(len(shape)))


def is_dense(shape: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    """Whether the strides visit each of ``prod(shape)`` elements once, without a gap.

    >>> is_dense((2, 3), (1, 2)), is_dense((2, 3), (6, 2)), is_dense((2, 3), (0, 1))
    (True, False, False)
    """
    reach = 1
    for step, n in sorted((s, n) for s, n in zip(stride, shape, strict=True) if n != 1):
        if step != reach:
            return False
        reach *= n
    return min(shape, default=1) > 0 and min(stride, default=0) >= 0


def identity(array: Array) -> tuple[object, ...] | None:
    """Equal for two arrays that are the same memory seen the same way.

    None for an empty tensor: those have no address to tell them apart.
    """
    if isinstance(array, np.ndarray):
        start = array.__array_interface__["data"][0]
        return ("numpy", start, array.shape, array.strides, array.dtype)
    storage = (str(array.device), array.untyped_storage().data_ptr(), array.storage_offset())
    view = (tuple(array.shape), array.stride(), array.dtype, array.is_conj(), array.is_neg())
    return ("torch", *storage, *view) if array.numel() else None


def octets_of(array: Array) -> Octets:
    """The elements in C order: uint8 of shape (bytes,), shared with the array where it can be."""
    if isinstance(array, np.ndarray):
        return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    resolved = array.detach().resolve_conj().resolve_neg()
    return cast(Octets, _bytewise(resolved).contiguous().cpu().numpy().reshape(-1))


def _bytewise(tensor: "torch.Tensor") -> "torch.Tensor":
    """A uint8 view of the tensor's memory, shape (..., itemsize).

    ``Tensor.view(dtype)`` refuses 0-d and strided tensors, and ``contiguous`` some dtypes.
    """
    import torch

    size, view = tensor.element_size(), torch.empty(0, dtype=torch.uint8, device=tensor.device)
    stride = (*(size * step for step in tensor.stride()), 1)
    start = size * tensor.storage_offset()
    return view.set_(tensor.untyped_storage(), start, (*tensor.shape, size), stride)


def portable(layout: Layout, octets: Octets) -> NDArray[np.generic]:
    """The octets as an array that every safetensors reader knows.

    A dtype that some reader lacks becomes uint8 of shape (..., itemsize).
    """
    if layout.kind == "torch" and layout.dtype not in _PORTABLE:
        return octets.reshape(*layout.shape, _itemsize(layout, ""))
    dtype = np.dtype(layout.dtype)
    if dtype.name in _PORTABLE and dtype.isnative:
        return octets.view(dtype).reshape(layout.shape)
    return octets.reshape(*layout.shape, dtype.itemsize)


def _itemsize(layout: Layout, path: str) -> int:
    if layout.kind == "numpy":
        return numpy_dtype(layout.dtype, path).itemsize
    return torch_dtype(layout.dtype, path).itemsize


def torch_dtype(name: str, path: str) -> "torch.dtype":
    """The torch dtype called ``name``; imports torch.

    Raises:
        StateError: the installed torch has none of that name.
    """
    import torch

    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise StateError.at(
            path,
            f"torch {torch.__version__} has no dtype {name!r}",
            hint="read the state with the torch version of its run",
        )
    return dtype


def restored(layout: Layout, octets: Octets, path: str) -> Array:
    """The array of a layout and its octets, in memory of its own on the CPU.

    Memory comes from the library's own allocator, as in training: kernels may choose by alignment.

    Raises:
        StateError: the octets are too few or too many, or the layout is none that is written.
    """
    stride = layout.stride or c_stride(layout.shape)
    wanted = math.prod(layout.shape) * _itemsize(layout, path)
    dense = layout.stride is None or is_dense(layout.shape, stride)
    if len(octets) != wanted or not dense or layout.dtype.startswith(("qint", "quint")):
        raise StateError.at(
            path,
            f"the layout and the {len(octets)} bytes of an array do not belong together",
            hint="the file is damaged: start from another checkpoint",
        )
    if layout.kind == "torch":
        return _restored_tensor(layout, stride, octets, path)
    order = sorted(range(len(stride)), key=lambda i: -stride[i])
    memory = np.empty([layout.shape[i] for i in order], np.dtype(layout.dtype))
    array = memory.transpose(np.argsort(order)) if order else memory
    array[...] = octets.view(memory.dtype).reshape(layout.shape)
    return array


def _restored_tensor(
    layout: Layout, stride: tuple[int, ...], octets: Octets, path: str
) -> "torch.Tensor":
    import torch

    memory = torch.empty(len(octets), dtype=torch.uint8, device="cpu")
    # `empty_strided` warns for complex32; a view of no bytes given this memory does not.
    tensor = torch.empty(0, dtype=torch.uint8, device="cpu").view(torch_dtype(layout.dtype, path))
    tensor.set_(memory.untyped_storage(), 0, layout.shape, stride)
    _bytewise(tensor).copy_(torch.from_numpy(octets).reshape(*layout.shape, tensor.itemsize))
    return tensor
