#!/usr/bin/env python3
"""FlashInfer's own logger for a stand-in that has none (gpuworker/engine/sglang/sglangtest).

    logger_process.py WHEELS_DIR RELEASE

Answers a line when it is ready. Then takes a call a line, a JSON object: function, module, signature, self (a number for the object, 0
of none), args ([key, Python expression]...), result (an expression). Makes the call under the logger of that release's wheel, on CPU
tensors, and answers a line when it returned.
"""
import json
import os
import sys
import typing

import torch

import flashinfer_wheel

objects = {}


def function_of(logged, module, name, signature):
    """A function, or a class's method, that computes nothing, decorated: of each name one, so that its calls are numbered."""
    space = {"__name__": module, "torch": torch, "NoneType": type(None), **vars(typing)}
    method = name.rpartition(".")[2]
    exec(f"def {method}{signature}: return _results.pop()", space)
    space["_results"] = results = []
    return logged(space[method]), results


def self_of(name, number, module):
    if number not in objects:
        objects[number] = type(name.rpartition(".")[0], (), {"__module__": module})()
    return objects[number]


def main(wheels, release):
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the logger may print
    logged = flashinfer_wheel.api_logging(flashinfer_wheel.find(wheels, release)).flashinfer_api
    functions = {}
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        call = json.loads(line)
        name, number = call["function"], call["self"]
        if name not in functions:
            functions[name] = function_of(logged, call["module"], name, call["signature"])
        function, results = functions[name]
        values = {"torch": torch, "self": self_of(name, number, call["module"]) if number else None}
        args = [(key, eval(expression, values)) for key, expression in call["args"]]
        results.append(eval(call["result"], values))
        function(*[v for key, v in args if key.startswith("arg_")],
                 **{key.removeprefix("kwarg_"): v for key, v in args if key.startswith("kwarg_")})
        print("logged", file=answers, flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
