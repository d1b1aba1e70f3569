"""Machine code of the kernels for one size of problem, through numba; needed once for a size."""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import inspect
import re
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["compile_kernels"]

_PREFIX = "_gpu_solver_kernels"
_SMALLEST = "SIZES = (1, 2, 1)"
_lock = threading.Lock()
_modules: dict[tuple[str, tuple[int, int, int]], ModuleType] = {}


def compile_kernels(
    source: str, sizes: tuple[int, int, int]
) -> tuple[dict[str, tuple[str, int]], bytes]:
    """Compile the entries of a module of loops for these sizes.

    Returns
    -------
    names : dict
        For every entry its name in the machine code and how many integers it takes.
    code : bytes
        An object file that needs nothing but itself.
    """
    import llvmlite.binding as llvm
    from numba import types

    with _lock:
        module = _module(source, sizes)
        names: dict[str, tuple[str, int]] = {}
        whole: Any = None
        for name in module.ENTRIES:
            function = getattr(module, name)
            count = len(inspect.signature(function.py_func).parameters)
            if not function.signatures:
                function.compile(types.void(*[types.int64] * count))
            made = function.overloads[function.signatures[0]]
            names[name] = (made.fndesc.llvm_func_name, count)
            part = llvm.parse_assembly(made.library.get_llvm_str())
            if whole is None:
                whole = part
            else:
                whole.link_in(part)
        text = str(whole)
        outside = re.findall(r"^declare .*?@([^\s(]+)", text, re.MULTILINE)
        foreign = [name for name in outside if not name.strip('"').startswith("llvm.")]
        if foreign:
            raise RuntimeError(f"the kernels of {source!r} need {foreign} of numba's run time.")
        return names, _machine_code(llvm, whole)


def _machine_code(llvm: Any, module: Any) -> bytes:
    """Compile optimised code for this machine."""
    target = llvm.Target.from_triple(llvm.get_process_triple())
    machine = target.create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=3,
        jit=True,
        reloc="pic",
    )
    return machine.emit_object(module)


def _module(source: str, sizes: tuple[int, int, int]) -> ModuleType:
    """The module of that source, run for these sizes."""
    key = (source, sizes)
    if key in _modules:
        return _modules[key]
    path = Path(__file__).parent / f"{source}.py"
    text = path.read_text().replace(_SMALLEST, f"SIZES = {sizes}")
    suffix = "_".join(map(str, sizes))
    of_loops = "from gpu_solver.fused.loops import"
    if of_loops in text:  # for these sizes too
        _module("loops", sizes)
        text = text.replace(of_loops, f"from {_PREFIX}_loops_{suffix} import")
    module = ModuleType(f"{_PREFIX}_{source}_{suffix}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    exec(compile(text, str(path), "exec"), vars(module))
    _modules[key] = module
    return module
