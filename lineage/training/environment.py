"""What decides the bits of a computation besides its program, its data and its seed.

The environment is recorded with every run and compared when bits must be reproduced; the process
is pinned while a program runs.
"""

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rfc8785
import threadpoolctl
from pydantic import BaseModel, ConfigDict

from lineage.training.seeds import generators_kept

_VARIABLES = (
    *("OMP_NUM_THREADS", "OMP_DYNAMIC", "OMP_SCHEDULE", "KMP_DETERMINISTIC_REDUCTION"),
    *("MKL_NUM_THREADS", "MKL_DOMAIN_NUM_THREADS", "MKL_DYNAMIC", "MKL_THREADING_LAYER"),
    *("MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "MKL_DEBUG_CPU_TYPE"),
    *("OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "BLIS_ARCH_TYPE"),
    *("VECLIB_MAXIMUM_THREADS", "NPY_DISABLE_CPU_FEATURES", "NPY_ENABLE_CPU_FEATURES"),
    *("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"),
    *("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE", "TORCH_COMPILE_DISABLE"),
    *("CUBLAS_WORKSPACE_CONFIG", "CUBLASLT_WORKSPACE_SIZE", "NVIDIA_TF32_OVERRIDE"),
    *("TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "TORCH_CUDNN_V8_API_DISABLED", "CUDNN_FRONTEND_DISABLE"),
    *("NCCL_ALGO", "NCCL_PROTO", "PYTORCH_ENABLE_MPS_FALLBACK", "PYTHONHASHSEED", "GLIBC_TUNABLES"),
)
# Of the TF32 switches only the newer names: to read the older ones can raise.
_FLAGS = (
    *("get_default_dtype", "is_deterministic_algorithms_warn_only_enabled"),
    *("utils.deterministic.fill_uninitialized_memory", "backends.fp32_precision"),
    *("backends.mkldnn.enabled", "backends.mkldnn.deterministic"),
    *("backends.mkldnn.matmul.fp32_precision", "backends.mkldnn.conv.fp32_precision"),
    *("backends.mkldnn.rnn.fp32_precision", "backends.cuda.matmul.fp32_precision"),
    *("backends.cudnn.enabled", "backends.cudnn.benchmark", "backends.cudnn.deterministic"),
    *(
        "backends.cudnn.version",
        "backends.cudnn.conv.fp32_precision",
        "backends.cudnn.rnn.fp32_precision",
    ),
    "backends.cuda.matmul.allow_fp16_reduced_precision_reduction",
    "backends.cuda.matmul.allow_bf16_reduced_precision_reduction",
    *("backends.cuda.flash_sdp_enabled", "backends.cuda.mem_efficient_sdp_enabled"),
    *("backends.cuda.math_sdp_enabled", "backends.mha.get_fastpath_enabled"),
    "backends.opt_einsum.enabled",
)
_CPU_FIELDS = ("vendor_id", "cpu family", "model", "CPU implementer", "CPU part", "CPU variant")


class Difference(NamedTuple):
    """A field in which two environments differ, with both values as text."""

    field: str
    ours: str
    theirs: str


class Environment(BaseModel):
    """Everything that can change a bit of a result: hardware, libraries, threads and flags."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    python: str
    """Implementation and version."""
    system: str
    """Operating system and C library, whose ``libm`` computes ``exp`` and its like."""
    machine: str
    """Instruction set architecture."""
    cpu: str
    """Vendor, family and model: BLAS libraries choose kernels by them."""
    isa: dict[str, str]
    """Library → vector extensions it found and uses."""
    versions: dict[str, str]
    """Library → version; torch is absent where the program has no use for it."""
    builds: dict[str, str]
    """Library → digest of how it was built: compiler, BLAS, options."""
    blas: tuple[str, ...]
    """NumPy's BLAS: name, version, kernel family, threading layer, threads."""
    threads: int
    """Threads inside one operation: torch's, or for a program without torch those of the BLAS."""
    deterministic: bool
    """Whether torch is held to deterministic algorithms; true without torch."""
    devices: tuple[str, ...]
    """Every accelerator the program could use: type, name, capability."""
    world_size: int
    """Processes that train one model together."""
    flags: dict[str, str]
    """Process-wide switches: precision, library choice, denormals."""
    variables: dict[str, str]
    """Environment variables that are set and choose kernels, threads or order."""

    @property
    def digest(self) -> str:
        """SHA-256 (hexadecimal) of the RFC 8785 form of all fields."""
        return sha256(rfc8785.dumps(self.model_dump(mode="json"))).hexdigest()

    def difference(self, other: "Environment") -> tuple[Difference, ...]:
        """Each field that differs, in order of name; empty if the digests are equal."""
        ours, theirs = _flat(self), _flat(other)
        return tuple(
            Difference(field, ours.get(field, "(none)"), theirs.get(field, "(none)"))
            for field in sorted(ours.keys() | theirs.keys())
            if ours.get(field) != theirs.get(field)
        )


def _flat(environment: Environment) -> dict[str, str]:
    flat: dict[str, str] = {}
    for field, value in environment.model_dump(mode="json").items():
        if isinstance(value, dict):
            flat |= {f"{field}.{name}": text for name, text in value.items()}
        else:
            flat[field] = ", ".join(value) if isinstance(value, list) else str(value)
    return flat


def fingerprint(*, uses_torch: bool, world_size: int = 1) -> Environment:
    """The environment as it is now; take it inside :func:`deterministic`, where programs run.

    Imports torch only where the program uses it.
    """
    config: Any = np.show_config(mode="dicts")
    blas = _blas()
    fields: dict[str, Any] = {
        "isa": {"numpy": " ".join(config.get("SIMD Extensions", {}).get("found", ["none found"]))},
        "versions": {"numpy": np.__version__},
        "builds": {"numpy": _build([config.get("Compilers"), config.get("Build Dependencies")])},
        "flags": {"flush_denormal": str(np.multiply(5e-324, 1.0) == 0.0)},
        "threads": max((each["num_threads"] for each in blas), default=1),
        "deterministic": True,
        "devices": (),
    }
    if uses_torch:
        ours = _torch_fields()
        fields = {k: v | ours[k] if isinstance(v, dict) else ours[k] for k, v in fields.items()}
    return Environment(
        python=f"{platform.python_implementation()} {platform.python_version()}",
        system=" ".join((platform.system(), *platform.libc_ver())).strip(),
        machine=platform.machine(),
        cpu=_cpu(),
        blas=tuple(_described(each) for each in blas),
        world_size=world_size,
        variables={name: os.environ[name] for name in _VARIABLES if name in os.environ},
        **fields,
    )


def _blas() -> list[dict[str, Any]]:
    """NumPy's BLAS; where it bundles none, every BLAS in the process."""
    found: list[dict[str, Any]] = threadpoolctl.threadpool_info()
    blas = [each for each in found if each["user_api"] == "blas"]
    return [each for each in blas if "numpy" in each["filepath"]] or blas


def _described(blas: dict[str, Any]) -> str:
    names = ("internal_api", "version", "architecture", "threading_layer")
    known = [str(blas[name]) for name in names if blas.get(name)]
    return " ".join([*known, f"threads={blas['num_threads']}"])


def _build(configuration: object) -> str:
    return sha256(repr(configuration).encode()).hexdigest()[:16]


def _cpu() -> str:
    """Linux names the model in ``/proc/cpuinfo``; elsewhere Python knows a name."""
    about = Path("/proc/cpuinfo")
    if not about.exists():
        return platform.processor()
    first = about.read_text().split("\n\n", 1)[0]
    lines = [[part.strip() for part in line.partition(":")] for line in first.splitlines()]
    return " ".join(value for name, _, value in lines if name in _CPU_FIELDS)


def _torch_fields() -> dict[str, Any]:
    import torch

    return {
        "isa": {"torch": torch.backends.cpu.get_cpu_capability()},
        "versions": {"torch": str(torch.__version__)},
        "builds": {"torch": _build(torch.__config__.show())},
        "flags": {flag: str(_value(attrgetter(flag)(torch))) for flag in _FLAGS},
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "devices": _devices(),
    }


def _value(flag: object) -> object:
    return flag() if callable(flag) else flag


def _devices() -> tuple[str, ...]:
    import torch

    devices = []
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        devices.append(f"cuda {about.name} {about.major}.{about.minor}")
    if torch.backends.mps.is_available():
        devices.append(f"mps macOS {platform.mac_ver()[0]}")
    return tuple(devices)


@contextmanager
def deterministic(*, uses_torch: bool, threads: int = 1) -> Iterator[None]:
    """Pin what decides bits, and leave the process as it was found.

    Inside: deterministic algorithms (an operation that has none raises), cuDNN and oneDNN likewise,
    no autotuning, ``threads`` threads in every BLAS and OpenMP pool that is loaded. On leaving:
    the flags, the thread counts and the state of every global random generator come back.
    """
    with ExitStack() as stack:
        stack.enter_context(generators_kept(uses_torch=uses_torch))
        if uses_torch:
            _pin_torch(stack, threads)
        stack.enter_context(threadpoolctl.threadpool_limits(threads))
        yield


def _pin_torch(stack: ExitStack, threads: int) -> None:
    import torch

    stack.callback(torch.set_deterministic_debug_mode, torch.get_deterministic_debug_mode())
    torch.set_deterministic_debug_mode("error")
    _pin_inductor(stack)
    stack.callback(torch.set_num_threads, torch.get_num_threads())
    torch.set_num_threads(threads)
    cudnn, mkldnn = torch.backends.cudnn, torch.backends.mkldnn
    pins = (
        (cudnn, "deterministic", True),
        (cudnn, "benchmark", False),
        (mkldnn, "deterministic", True),
    )
    for backend, flag, value in pins:
        stack.callback(setattr, backend, flag, getattr(backend, flag))
        setattr(backend, flag, value)
    # cuBLAS is deterministic only with a fixed workspace; torch raises where this is not set.
    if torch.cuda.is_available() and "CUBLAS_WORKSPACE_CONFIG" not in os.environ:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
        stack.callback(os.environ.pop, "CUBLAS_WORKSPACE_CONFIG")


def _pin_inductor(stack: ExitStack) -> None:
    """What ``torch.use_deterministic_algorithms`` also does, without its 1.4 s import of Inductor.

    Where that is not loaded yet it reads the variable, should the program compile something.
    """
    inductor: Any = sys.modules.get("torch._inductor.config")
    if inductor is not None:
        stack.callback(setattr, inductor, "deterministic", inductor.deterministic)
        inductor.deterministic = True
    elif "TORCHINDUCTOR_DETERMINISTIC" not in os.environ:
        os.environ["TORCHINDUCTOR_DETERMINISTIC"] = "1"
        stack.callback(os.environ.pop, "TORCHINDUCTOR_DETERMINISTIC")
