#!/usr/bin/env python3
"""Judges dataset directories with flashinfer-bench's own models and loader and with the safetensors package.

    judge_dataset.py DIR...

Of each DIR: TraceSet.from_path loads every definition and workload; each workload has exactly its definition's variable
axes and inputs; scalars have the definition's type; integer and bool tensors are never random; every blob is read with the
safetensors package and has exactly the dtype and shape which definition and axes give (the rule of SOL-ExecBench, stricter
than flashinfer-bench's `validate`), and flashinfer-bench's own load_safetensors takes it; the definition's constraints hold on the
loaded tensors; no blob is an orphan, no reference dangles, no tensor in a blob is unused, no uuid comes twice. Where the dataset has
provenance/, TraceSet.from_path loads exactly as much with it as without it, every line there is JSON about a workload that was loaded, and
no two lines have the same uuid, collection and task.

Prints one line of counts a directory and every problem. Exit status 1 on any problem, 2 where there is nothing to judge.
"""
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

from flashinfer_bench.bench.utils import load_safetensors
from flashinfer_bench.data import TraceSet
from flashinfer_bench.utils import dtype_str_to_torch_dtype
from safetensors import safe_open

INTEGERS = {"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"}


def dtype_name(spec):
    return getattr(spec.dtype, "value", spec.dtype)


def check_scalar(value, dtype):
    """What is wrong with a scalar's JSON type, or None."""
    if dtype == "bool":
        ok = isinstance(value, bool)
    elif dtype in INTEGERS:
        ok = isinstance(value, int) and not isinstance(value, bool)
    else:
        ok = isinstance(value, float)
    return None if ok else f"scalar is a {type(value).__name__} ({value!r}), the definition says {dtype}"


def read_blobs(root, workload):
    """Reads the tensors a workload refers to: name -> tensor, name -> problem, and what was used: path -> keys."""
    tensors, problems, used = {}, [], {}
    for name, given in workload.inputs.items():
        if given.type != "safetensors":
            continue
        path = (root / given.path).resolve()
        if not path.is_relative_to(root):
            problems.append(f"{name}: path {given.path} leaves the dataset")
            continue
        if not path.is_file():
            problems.append(f"{name}: dangling, no file {given.path}")
            continue
        used.setdefault(path, set()).add(given.tensor_key)
        try:
            with safe_open(path, framework="pt") as blob:
                tensors[name] = blob.get_tensor(given.tensor_key)
        except Exception as err:  # the package has several kinds; each of them is the blob's fault
            problems.append(f"{name}: {given.path} key {given.tensor_key}: {err}")
    return tensors, problems, used


def check_inputs(definition, workload, tensors):
    problems = []
    try:
        shapes = dict(zip(definition.inputs, definition.get_input_shapes(workload.axes)))
    except ValueError as err:
        return [f"axes {workload.axes}: {err}"]
    for name, spec in definition.inputs.items():
        given, dtype = workload.inputs[name], dtype_name(spec)
        if (spec.shape is None) != (given.type == "scalar"):
            problems.append(f"{name}: is {given.type}, but its shape is {spec.shape}")
        elif given.type == "scalar":
            wrong = check_scalar(given.value, dtype)
            if wrong:
                problems.append(f"{name}: {wrong}")
        elif given.type == "random":
            if dtype == "bool" or dtype in INTEGERS:
                problems.append(f"{name}: {dtype} values are random")
        elif name in tensors:
            tensor = tensors[name]
            if list(tensor.shape) != list(shapes[name]):
                problems.append(f"{name}: shape {list(tensor.shape)}, definition and axes give {list(shapes[name])}")
            if tensor.dtype != dtype_str_to_torch_dtype(dtype):
                problems.append(f"{name}: dtype {tensor.dtype}, the definition says {dtype}")
    return problems


def check_constraints(definition, workload, tensors):
    """Evaluates the constraints which speak only of axes and loaded tensors; returns problems and how many were evaluated."""
    scope = {**definition.const_axes, **workload.axes, **tensors}
    scope |= {n: i.value for n, i in workload.inputs.items() if i.type == "scalar"}
    problems, evaluated = [], 0
    for constraint in definition.constraints or []:
        try:
            holds = bool(eval(constraint, {"__builtins__": {}}, scope))  # ours and upstream's definitions, not strangers'
        except NameError:
            continue  # speaks of a tensor whose values are random
        except Exception as err:
            problems.append(f"constraint {constraint!r}: {err}")
            continue
        evaluated += 1
        if not holds:
            problems.append(f"constraint {constraint!r} does not hold")
    return problems, evaluated


def check_workload(root, definition, workload):
    """Problems of one workload, what its blobs used, and counts."""
    if set(workload.axes) != set(definition.var_axes):
        return [f"axes {sorted(workload.axes)}, the definition's are {sorted(definition.var_axes)}"], {}, Counter()
    if set(workload.inputs) != set(definition.inputs):
        return [f"inputs {sorted(workload.inputs)}, the definition's are {sorted(definition.inputs)}"], {}, Counter()
    problems = [f"axis {name} is {value}" for name, value in workload.axes.items() if value <= 0]
    tensors, bad, used = read_blobs(root, workload)
    problems += bad + check_inputs(definition, workload, tensors)
    if not problems:
        try:
            load_safetensors(definition, workload, root)
        except Exception as err:
            problems.append(f"flashinfer-bench's loader: {err}")
    bad, evaluated = check_constraints(definition, workload, tensors)
    return problems + bad, used, Counter(tensors=len(tensors), constraints=evaluated)


def loaded(dataset):
    """How much a TraceSet holds."""
    return {kind: {name: len(held) for name, held in getattr(dataset, kind).items()} for kind in ("workloads", "solutions", "traces")} | {
        "definitions": sorted(dataset.definitions)}


def check_provenance(root, dataset, uuids):
    """Problems of provenance/, and how many lines it has."""
    place, problems, keys = root / "provenance", [], Counter()
    if not place.exists():
        return [], 0
    with tempfile.TemporaryDirectory() as directory:
        for entry in root.iterdir():
            if entry != place:
                (Path(directory) / entry.name).symlink_to(entry)
        if loaded(TraceSet.from_path(directory)) != loaded(dataset):
            problems.append("flashinfer-bench loads another dataset without provenance/")
    for path in sorted(p for p in place.rglob("*") if p.is_file()):
        for number, text in enumerate(path.read_text().splitlines(), 1):
            where = f"{path.relative_to(root)}:{number}"
            try:
                line = json.loads(text)
                key = (line["uuid"], line["collection"], line["task"])
            except (ValueError, TypeError, KeyError) as err:
                problems.append(f"{where}: {err!r}")
                continue
            keys[key] += 1
            if keys[key] == 2:
                problems.append(f"{where}: {key} is there twice")
            definition = dataset.definitions.get(path.stem)
            if definition is None or path != place / definition.op_type / path.name or line["uuid"] not in uuids[path.stem]:
                problems.append(f"{where}: no workload of {path.stem} has the uuid {line['uuid']}")
    return problems, keys.total()


def judge(root):
    """Counts and problems of one dataset."""
    root = root.resolve()
    try:
        dataset = TraceSet.from_path(str(root))
    except Exception as err:
        return Counter(), [f"flashinfer-bench does not load it: {err}"]
    counts, problems, used, uuids = Counter(definitions=len(dataset.definitions)), [], {}, Counter()
    by_definition = {name: {t.workload.uuid for t in dataset.workloads.get(name, [])} for name in dataset.definitions}
    for name, traces in sorted(dataset.workloads.items()):
        definition = dataset.definitions.get(name)
        if definition is None:
            problems.append(f"{name}: has workloads and no definition")
            continue
        place = root / "workloads" / definition.op_type / f"{name}.jsonl"
        if not place.is_file():
            problems.append(f"{name}: its workloads are not in {place.relative_to(root)}")
        counts["with_workloads"] += 1
        for trace in traces:
            counts["workloads"] += 1
            uuids[trace.workload.uuid] += 1
            bad, blobs, more = check_workload(root, definition, trace.workload)
            problems += [f"{name} {trace.workload.uuid}: {p}" for p in bad]
            counts += more
            for path, keys in blobs.items():
                used.setdefault(path, set()).update(keys)
    problems += [f"uuid {uuid} comes {n} times" for uuid, n in uuids.items() if n > 1]
    bad, counts["provenance"] = check_provenance(root, dataset, by_definition)
    problems += bad
    for path in sorted((root / "blob").rglob("*")):
        if not path.is_file():
            continue
        counts["blobs"] += 1
        if path.resolve() not in used:
            problems.append(f"orphan {path.relative_to(root)}")
            continue
        try:
            with safe_open(path, framework="pt") as blob:
                unused = set(blob.keys()) - used[path.resolve()]
        except Exception:  # unreadable, and so named already with the workload that refers to it
            continue
        if unused:
            problems.append(f"{path.relative_to(root)}: nothing refers to {sorted(unused)}")
    return counts, problems


def main(dirs):
    if not dirs:
        sys.exit(__doc__)
    total, failed = Counter(), 0
    for root in map(Path, dirs):
        if not (root / "definitions").is_dir():
            print(f"{root}: no dataset (no definitions/)")
            sys.exit(2)
        counts, problems = judge(root)
        print(f"{root}: {json.dumps(counts)} {'ok' if not problems else f'{len(problems)} PROBLEMS'}")
        for problem in problems:
            print(f"  {problem}")
        total += counts
        failed += len(problems)
    print(f"judged {len(dirs)} datasets by flashinfer-bench and safetensors: {json.dumps(total)}, {failed} problems")
    if total["workloads"] == 0:
        print("no workload in any of them: nothing was judged")
        sys.exit(2)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
