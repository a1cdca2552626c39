#!/usr/bin/env python3
"""Baseline solutions on a GPU: the real `flashinfer-bench run` on small workloads made up here, and what each baseline computes.

    baselines.py INDEX OUT

INDEX is what test/interop/baselines prints. OUT becomes a dataset with one workload a definition: two requests with all their integers and
bounds, and unit queries and keys where a state is recurrent. Of definitions whose baselines are the same but for numbers the first is
taken; mixtures of experts are left out on GPUs before Blackwell, which cannot run them. Exit status 1 if anything did not pass.
"""
import json
import re
import subprocess
import sys
import uuid
from pathlib import Path

import torch
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test/interop"))
from baseline import AXES, inputs_of  # noqa: E402
from flashinfer_bench.data import Definition, Solution  # noqa: E402

# Floats that are no random ones: a recurrent state grows with its keys' length, and top_p is a probability.
FLOATS = {"gdn": ("q", "k"), "sampling": ("top_p",)}
MODULE = "from flashinfer_bench.cli.main import cli; cli()"


def lay_out(out, definition, solution):
    """Writes the definition, its solution and a workload."""
    id = str(uuid.uuid5(uuid.NAMESPACE_URL, definition.name))
    blob = f"blob/workloads/{definition.op_type}/{definition.name}/{definition.name}_{id}.safetensors"
    inputs, kept = {}, {}
    for name, value in inputs_of(definition).items():
        if not isinstance(value, torch.Tensor):
            inputs[name] = {"type": "scalar", "value": value}
        elif value.dtype in (torch.int32, torch.int64) or name in FLOATS.get(definition.op_type, ()):
            kept[name] = torch.nn.functional.normalize(value.float(), dim=-1).to(value.dtype) if definition.op_type == "gdn" and value.is_floating_point() else value
            inputs[name] = {"type": "safetensors", "path": blob, "tensor_key": name}
        else:
            inputs[name] = {"type": "random"}
    axes = {name: AXES[name] for name in definition.var_axes}
    line = {"definition": definition.name, "solution": None, "evaluation": None, "workload": {"uuid": id, "axes": axes, "inputs": inputs}}
    for path, text in {
        f"definitions/{definition.op_type}/{definition.name}.json": definition.model_dump_json(),
        f"solutions/baseline/{definition.op_type}/{definition.name}/{solution.name}.json": solution.model_dump_json(),
        f"workloads/{definition.op_type}/{definition.name}.jsonl": json.dumps(line) + "\n",
    }.items():
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_text(text)
    if kept:
        (out / blob).parent.mkdir(parents=True, exist_ok=True)
        save_file(kept, out / blob)


def main(index, out):
    out, chosen = Path(out), {}
    for line in map(json.loads, Path(index).read_text().splitlines()):
        if "none" in line or "/moe/" in line["definition"] and torch.cuda.get_device_capability() < (10, 0):
            continue
        definition = Definition.model_validate_json(Path(line["definition"]).read_text())
        solution = Solution.model_validate_json(Path(line["solution"]).read_text())
        body = solution.get_entry_source().content.split("\n", 1)[1]  # without the definition's name
        chosen.setdefault((re.sub(r"[0-9]+", "0", body), "lse" in definition.outputs, "_d256" in definition.name), (definition, solution))
    for definition, solution in chosen.values():
        lay_out(out, definition, solution)
    names = [definition.name for definition, _ in chosen.values()]
    failed = 0
    for definition, solution in chosen.values():
        outputs = out / f"{definition.name}.outputs.json"
        script = ROOT / "gpuworker/engine/evaluate/outputs.py"
        with (out / f"{definition.name}.log").open("w") as log:
            for command in (
                ["-c", MODULE, "run", "--local", out, "--definitions", definition.name, "--solutions", solution.name, "--save-results", "--timeout", "600"],
                [script, out, definition.name, solution.name, outputs],
            ):
                subprocess.run([sys.executable, *map(str, command)], stdout=log, stderr=subprocess.STDOUT)
        traces = [json.loads(text) for path in out.glob(f"traces/**/{definition.name}.jsonl") for text in path.read_text().splitlines()]
        status = [t["evaluation"]["status"] for t in traces] or ["MISSING"]
        seen = [f"{o['name']} {o['min']:.3g}…{o['max']:.3g}" + (f" NaN {o['nan']}" if o["nan"] else "") + (f" inf {o['inf']}" if o["inf"] else "")
                for o in (json.loads(outputs.read_text()) if outputs.exists() else [])]
        correct = [t["evaluation"].get("correctness") or {} for t in traces]
        errors = [f"max abs {c.get('max_absolute_error')}, rel {c.get('max_relative_error')}" for c in correct]
        print(f"{definition.name}: {' '.join(status)}; {'; '.join(errors)}; {', '.join(seen)}", flush=True)
        failed += status != ["PASSED"]
    print(f"{len(names) - failed} of {len(names)} passed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
