"""What a solution computes on each workload of a dataset, summed up: a file of JSON, an element an output.

    outputs.py DATASET DEFINITION SOLUTION FILE

A workload that it cannot be run on is said on standard error, and left out of the file; the exit status is 1 then.
"""
import json
import sys
from pathlib import Path

from flashinfer_bench.bench.utils import gen_inputs, load_safetensors
from flashinfer_bench.compile import BuilderRegistry
from flashinfer_bench.data import TraceSet


def sum_up(tensor):
    values = tensor.double().flatten()
    finite = values[values.isfinite()]
    some = finite.numel() > 0
    return {
        "elements": values.numel(), "nan": int(values.isnan().sum()), "inf": int(values.isinf().sum()),
        "min": float(finite.min()) if some else 0.0, "max": float(finite.max()) if some else 0.0,
    }


def main(root, name, solution, file, device="cuda"):
    traces = TraceSet.from_path(root)
    definition = traces.definitions[name]
    (source,) = [s for s in traces.solutions[name] if s.name == solution]
    run = BuilderRegistry.get_instance().build(definition, source)
    made, failed = [], False
    for trace in traces.workloads[name]:
        uuid = trace.workload.uuid
        try:
            inputs = gen_inputs(definition, trace.workload, device=device, safe_tensors=load_safetensors(definition, trace.workload, Path(root)))
            outputs = run(*inputs)
            outputs = outputs if isinstance(outputs, (tuple, list)) else [outputs]
            made += [{"definition": name, "workload": uuid, "name": output, **sum_up(tensor)} for output, tensor in zip(definition.outputs, outputs, strict=True)]
        except Exception as err:
            failed = True
            print(f"workload {uuid}: {type(err).__name__}: {err}", file=sys.stderr)
    Path(file).write_text(json.dumps(made))
    sys.exit(failed)


if __name__ == "__main__":
    main(*sys.argv[1:])
