#!/usr/bin/env python3
"""Trace files by FlashInfer's own tracer without a GPU, and what `definitions harvest` made of trace files, judged.

    harvest.py write DIR          trace files of every template that makes arguments without a GPU, as each would be written by a
                                  call with them; and of the calls SGLang makes, with its 3-D KV cache, beside an evidence.json
    harvest.py judge STAGING...   what was staged: flashinfer-bench's own models load it; its reference, run on CPU tensors of the
                                  shapes and types the definition says, returns what the definition says; the counts add up

Prints a line a directory and every problem. Exit status 1 on any problem, 2 where there is nothing to judge.
"""
import importlib
import inspect
import json
import math
import pkgutil
import re
import sys
from pathlib import Path

import torch

HEADS, KV_HEADS, HEAD_DIM, SLOTS, BATCH = 32, 8, 128, 512, 4

# What SGLang collects: their references must run on the arguments that argument() makes, and return what the definition says. Of
# the others, whose arguments may have to go together in ways nobody wrote down, one that does not is printed and counted.
STRICT = re.compile(r"(gqa_(paged_decode|paged_prefill_causal|ragged_prefill_causal)|mla_paged_decode|(gemma_)?(fused_add_)?rmsnorm|layernorm"
                    r"|(top_k|top_p|top_k_top_p)_sampling_from_probs|min_p_sampling|top_[kp]_renorm_probs|silu_and_mul|gemm_bf16)(_[A-Za-z]+\d+)+")



def registry():
    """FlashInfer's registered templates: (function, template, label). Modules that need a GPU's libraries are passed over."""
    import flashinfer
    from flashinfer.api_logging import _TRACE_REGISTRY

    for module in pkgutil.walk_packages(flashinfer.__path__, "flashinfer.", onerror=lambda name: None):
        if module.name.count(".") > 2 or "jit" in module.name or "aot" in module.name or "__main__" in module.name:
            continue
        try:
            importlib.import_module(module.name)
        except Exception:  # optional backends fail in their own ways
            continue
    return sorted(_TRACE_REGISTRY, key=lambda e: (e[0].__module__, e[0].__qualname__, e[2]))


def own_arguments(template):
    """The arguments a template makes for tests of itself, without a GPU, or None. Without data where it does not look at any: some
    make the weights of all experts."""
    init = getattr(template, "init", None)
    if init is None:
        return None
    params = inspect.signature(init).parameters
    sizes = {name: 8 for name, p in params.items() if p.default is inspect.Parameter.empty and p.kind == p.KEYWORD_ONLY}
    for device in ("meta", "cpu"):
        try:
            made = init(**sizes, **({"device": device} if "device" in params else {}))
        except Exception:  # needs data, or a GPU, or sizes that go together
            continue
        return made if isinstance(made, dict) else None
    return None


def flat(arguments):
    """run's own arguments of those a wrapper's template makes for the constructor, plan and run."""
    for key in ("run", "run_kwargs"):
        if isinstance(arguments.get(key), dict):
            return arguments[key]
    return arguments


def as_sglang(out):
    """Files and evidence of the calls SGLang makes with a KV cache of [slots, heads, dim]."""
    from flashinfer.decode import BatchDecodeWithPagedKVCacheWrapper as Decode
    from flashinfer.prefill import BatchPrefillWithPagedKVCacheWrapper as Paged
    from flashinfer.prefill import BatchPrefillWithRaggedKVCacheWrapper as Ragged

    bf16 = torch.bfloat16
    cache = tuple(torch.zeros(SLOTS, KV_HEADS, HEAD_DIM, dtype=bf16) for _ in range(2))
    q = torch.zeros(BATCH, HEADS, HEAD_DIM, dtype=bf16)
    kv = torch.zeros(BATCH, KV_HEADS, HEAD_DIM, dtype=bf16)
    functions = {}
    for wrapper, given in ((Decode, {"q": q, "paged_kv_cache": cache}), (Paged, {"q": q, "paged_kv_cache": cache}),
                           (Ragged, {"q": q, "k": kv, "v": kv})):
        wrapper.run.fi_trace(save_dir=out, **given)
        arguments = {"kwarg_q": describe(q)}
        for name, value in given.items():
            if isinstance(value, tuple):
                arguments.update({f"kwarg_{name}__{i}": describe(t) for i, t in enumerate(value)})
            else:
                arguments[f"kwarg_{name}"] = describe(value)
        call = {"arguments": arguments}
        if wrapper is not Ragged:
            call["plan"] = {"page_size": 1, "num_qo_heads": HEADS, "num_kv_heads": KV_HEADS, "head_dim": HEAD_DIM}
        functions[f"{wrapper.__name__}.run"] = call
    (out / "evidence.json").write_text(json.dumps({"functions": functions}))


def describe(tensor):
    return {"dtype": str(tensor.dtype).removeprefix("torch."), "shape": list(tensor.shape)}


def write(out):
    own = out / "own"
    own.mkdir(parents=True, exist_ok=True)
    written, without = 0, []
    for function, template, label in registry():
        arguments = own_arguments(template)
        if arguments is None:
            without.append(label)
            continue
        trace = template.build_fi_trace_fn(f"{function.__module__}.{function.__qualname__}")
        try:
            trace(save_dir=own, **{k: v for k, v in flat(arguments).items() if k not in ("save_dir", "name")})
        except Exception as err:
            print(f"  {label}: {type(err).__name__}: {err}")
            continue
        written += 1
    (out / "sglang").mkdir(exist_ok=True)
    as_sglang(out / "sglang")
    print(f"{out}: {len(list(out.glob('*/*.json'))) - 1} trace files of {written} templates and 3 calls; {len(without)} templates make no arguments without a GPU")


def argument(definition, name, spec, sizes):
    """An input of a small call of the definition."""
    from flashinfer_bench.utils import dtype_str_to_torch_dtype

    dtype = dtype_str_to_torch_dtype(getattr(spec.dtype, "value", spec.dtype))
    if spec.shape is None:
        return 0.5 if dtype.is_floating_point else dtype.is_complex or 1
    shape = [sizes[axis] for axis in spec.shape]
    if name.endswith("indptr"):
        return torch.arange(shape[0], dtype=dtype)
    if not dtype.is_floating_point:
        return torch.zeros(shape, dtype=dtype) if "indices" in name else torch.ones(shape, dtype=dtype)
    values = torch.rand(shape) if "prob" in name or name in ("top_p", "min_p") else torch.randn(shape)
    return (values / values.sum(-1, keepdim=True) if "prob" in name else values).to(dtype)


def small_sizes(definition):
    """Sizes that go together: BATCH requests of one token; one more offset than requests."""
    sizes = {}
    for name, axis in definition.axes.items():
        sizes[name] = axis.value if axis.type == "const" else BATCH + 1 if name in ("len_indptr", "len_cu_seqlens") else BATCH
    return sizes


# The most numbers a definition's inputs may have for its reference to be run here; weights of all experts have more.
MOST_NUMBERS = 1 << 24


def too_large(definition):
    sizes = small_sizes(definition)
    shapes = [[sizes[axis] for axis in spec.shape or []] for spec in definition.inputs.values()]
    return sum(math.prod(shape) for shape in shapes) > MOST_NUMBERS


def run_reference(definition):
    """What a definition's reference does wrong on the arguments it says it takes, or None."""
    from flashinfer_bench.utils import dtype_str_to_torch_dtype

    sizes = small_sizes(definition)
    arguments = [argument(definition, name, spec, sizes) for name, spec in definition.inputs.items()]
    space = {}
    exec(compile(definition.reference, definition.name, "exec"), space)
    results = space["run"](*arguments)
    results = list(results) if isinstance(results, (tuple, list)) else [results]
    if len(results) != len(definition.outputs):
        return f"returns {len(results)} values, the outputs are {list(definition.outputs)}"
    for result, (name, spec) in zip(results, definition.outputs.items()):
        if spec.shape is None:
            continue
        want = [sizes[axis] for axis in spec.shape]
        dtype = dtype_str_to_torch_dtype(getattr(spec.dtype, "value", spec.dtype))
        if list(result.shape) != want or result.dtype != dtype:
            return f"{name} is {result.dtype}{list(result.shape)}, the definition says {dtype}{want}"
    return None


def judge_one(path, problems, counts):
    from flashinfer_bench.data import Definition

    try:
        definition = Definition.model_validate_json(path.read_text())
    except ValueError as err:
        problems.append(f"{path}: {err}")
        return
    counts["loaded"] += 1
    if definition.name != path.stem or definition.op_type != path.parent.name:
        problems.append(f"{path}: it is {definition.op_type}/{definition.name}")
    if too_large(definition):
        counts["too large"] += 1
        return
    try:
        wrong = run_reference(definition)
    except Exception as err:
        wrong = f"{type(err).__name__}: {err}"
    strict = STRICT.fullmatch(definition.name) is not None
    counts["as said" if not wrong else "otherwise"] += 1
    if wrong and strict:
        problems.append(f"{definition.name}: its reference {wrong}")
    elif wrong:
        print(f"  {definition.name}: its reference {wrong}")


def judge(dirs):
    failed = judged = 0
    for root in map(Path, dirs):
        problems, counts = [], {"loaded": 0, "as said": 0, "otherwise": 0, "too large": 0}
        files = sorted(root.glob("definitions/*/*.json"))
        for path in files:
            judge_one(path, problems, counts)
        report = json.loads((root / "harvest.json").read_text())
        n, entries = report["counts"], report["files"]
        if n["files"] != n["staged"] + n["duplicates"] + n["set_aside"] or n["files"] != len(entries):
            problems.append(f"harvest.json: {n} does not add up over {len(entries)} files")
        if sorted(e["path"] for e in entries if e["status"] == "staged") != [str(f.relative_to(root)) for f in files]:
            problems.append("harvest.json names other definitions than are staged")
        for e in entries:
            if e["status"] == "set_aside" and not e.get("detail"):
                problems.append(f"{e['source']} is set aside without a word")
        print(f"{root}: {n}, {counts}, {len(problems)} problems")
        for problem in problems:
            print(f"  {problem}")
        failed += len(problems)
        judged += len(files)
    sys.exit(1 if failed else 0 if judged else 2)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["write", out]:
            write(Path(out))
        case ["judge", *dirs] if dirs:
            judge(dirs)
        case _:
            sys.exit(__doc__)
