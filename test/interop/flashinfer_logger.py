#!/usr/bin/env python3
"""FlashInfer's own logger, of released wheels, under the environments that `collect --plan-only` prints.

    flashinfer_logger.py TRACEFLEET WHEELS_DIR OUT_DIR RELEASE...

For each FlashInfer release and each planned task: the include patterns must select exactly the calls that the task wants, by the
logger's own matching, and what it writes must be read whole by `tracefleet inspect` and converted by `tracefleet sanitize`.
Needs torch (CPU is enough). Exit status 1 on any difference.
"""
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import flashinfer_wheel
import logger_calls

DATASET = Path(__file__).parent.parent.parent / "testdata" / "dataset"
# Definitions by what they want dumped, by hand: the judge must not ask the judged. The second column is with --dump run.
WANTED = {
    "gqa_paged_decode_h32_kv8_d128_ps64": (["BatchDecodeWithPagedKVCacheWrapper.plan"],
                                           ["BatchDecodeWithPagedKVCacheWrapper.plan", "BatchDecodeWithPagedKVCacheWrapper.run"]),
    "gqa_paged_prefill_causal_h32_kv8_d128_ps1": (["BatchPrefillWithPagedKVCacheWrapper.plan"],
                                                  ["BatchPrefillWithPagedKVCacheWrapper.plan", "BatchPrefillWithPagedKVCacheWrapper.run"]),
    "gqa_ragged_prefill_causal_h32_kv8_d128": (["BatchPrefillWithRaggedKVCacheWrapper.plan"],
                                               ["BatchPrefillWithRaggedKVCacheWrapper.plan", "BatchPrefillWithRaggedKVCacheWrapper.run"]),
    "rmsnorm_h4096": (["rmsnorm"], ["rmsnorm"]),
    "fused_add_rmsnorm_h4096": (["fused_add_rmsnorm"], ["fused_add_rmsnorm"]),
    "top_k_top_p_sampling_from_probs_v128256": (["top_k_top_p_sampling_from_probs"], ["top_k_top_p_sampling_from_probs"]),
}
# Before 0.6.12 tensors in tuples are not written, so a paged run has no cache; its plan stands for it all the same.
NESTED_SINCE = (0, 6, 12)


def tracefleet(binary, *args, fine=(0,)):
    done = subprocess.run([binary, *map(str, args)], capture_output=True, text=True)
    if done.returncode not in fine:
        sys.exit(f"{binary} {' '.join(map(str, args))}: exit {done.returncode}\n{done.stderr}")
    return done.stdout


def planned(binary, definition, dump):
    """The environment of the one task that collects a definition, and its mode."""
    text = tracefleet(binary, "collect", "--engine", "sglang", "--sglang-version", "0.5.16", "--plan-only", "--json", "--trace-dir", DATASET,
                      "--definitions", definition, "--batch-sizes", "8", "--model-path", "/models/none", "--dump", dump)
    (task,) = json.loads(text)["tasks"]
    return dict(v.split("=", 1) for v in task["env"]), task["engine"]["mode"]


def calls_under(env, wheel, printed):
    """Makes the calls in a process of their own, since the logger reads its environment once; torch is imported already."""
    fork = multiprocessing.get_context("fork")
    answers = fork.SimpleQueue()

    def child():
        with printed.open("w") as out:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
            os.environ.update(env)
            answers.put(logger_calls.make(wheel))

    process = fork.Process(target=child)
    process.start()
    process.join()
    return None if process.exitcode else answers.get()


def sanitize(binary, dumps, definition, dump, mode):
    """How many workloads the dumps become in a new dataset, and what was printed."""
    with tempfile.TemporaryDirectory() as made:
        trace = Path(made)
        shutil.copytree(DATASET / "definitions", trace / "definitions")
        out = tracefleet(binary, "sanitize", "--dump-dir", dumps, "--definitions", definition, "--flashinfer-trace-dir", trace,
                         "--dump", dump, "--mode", mode, fine=(0, 3))  # 3: nothing became a workload
        return sum(len(path.read_text().splitlines()) for path in trace.rglob("workloads/*/*.jsonl")), out


def judge(binary, wheel, definition, dump, where, nested):
    """A list of what is wrong."""
    env, mode = planned(binary, definition, dump)
    dumps = where / f"{definition}-{dump}"
    env = {k: v.replace("<dump-dir>", str(dumps)) for k, v in env.items() if k.startswith("FLASHINFER_")}
    (where / f"{dumps.name}.log").mkdir()  # where FLASHINFER_LOGDEST points; the worker makes it too
    printed = where / f"{dumps.name}.out"
    made = calls_under(env, wheel, printed)
    if made is None:
        return [f"the calls failed: {printed.read_text()[-400:]}"]
    written = Counter()
    for path in dumps.glob("*/metadata.jsonl"):
        written[json.loads(path.read_text().splitlines()[0])["function_name"]] += 1
    wanted = WANTED[definition][dump == "run"]
    problems = []
    if written != Counter({name: made[name] for name in wanted}):
        problems.append(f"wanted {wanted}, of the calls {made}; written {dict(written)}")
    seen = json.loads(tracefleet(binary, "inspect", dumps, "--json"))
    if seen["counts"]["dumps"] != sum(written.values()):
        problems.append(f"{sum(written.values())} dumps, inspect counts {seen['counts']}")
    for function in seen["functions"]:
        if function.get("defects"):
            problems.append(f"{function['function']}: defects {function['defects']}")
    attention, calls = wanted[0].endswith(".plan"), made[wanted[0]]
    lines, out = sanitize(binary, dumps, definition, dump, mode)
    if dump == "run" and "Paged" in wanted[0] and not nested:
        if lines:
            problems.append("runs whose cache was not dumped became workloads")
        lines, out = sanitize(binary, dumps, definition, "plan", mode)
    if not lines or attention and lines != calls:
        problems.append(f"{lines} workloads of {calls} calls of {wanted[0]}: {out[-400:]}")
    return problems


def main(binary, wheels, out, *releases):
    out, failed = Path(out), 0
    for release in releases:
        wheel = flashinfer_wheel.find(wheels, release)
        (out / release).mkdir(parents=True)
        nested = tuple(int(p) for p in release.split(".")[:3]) >= NESTED_SINCE
        for definition in WANTED:
            for dump in ("plan", "run"):
                if dump == "plan" and "Wrapper" not in WANTED[definition][0][0]:
                    continue
                problems = judge(binary, wheel, definition, dump, out / release, nested)
                for problem in problems:
                    print(f"FlashInfer {release}, {definition}, --dump {dump}: {problem}")
                failed += len(problems)
        print(f"FlashInfer {release}: {len(WANTED)} definitions under its own logger")
    print(f"flashinfer logger: {len(releases)} releases, {failed} problems")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
