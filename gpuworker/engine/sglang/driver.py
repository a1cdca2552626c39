"""Serves batches with sglang.Engine for the tracefleet worker that started this process.

Descriptor 3 brings one JSON document a line, descriptor 4 takes the answers: SGLang and what it loads print to standard output.

    <- {"engine": {keyword: value, ...}}               the first line
    -> {"ready": true, "keywords": [...]}              or {"error": text, "kind": exception}
    <- {"id": 1, "requests": [{"input_ids": [...], "sampling_params": {...}}, ...]}
    -> {"id": 1, "ok": true, "requests": n, "tokens": n}  or {"id": 1, "error": text, "kind": exception}
    <- {"shutdown": true}, or the end of the descriptor
    -> {"bye": true}
"""

import json
import os
import sys
import traceback


def main():
    # Not for the processes that SGLang spawns: the worker sees our end by the end of these.
    os.set_inheritable(3, False)
    os.set_inheritable(4, False)
    commands = os.fdopen(3, "r", encoding="utf-8", newline="\n")
    answers = os.fdopen(4, "w", encoding="utf-8", newline="\n")

    def answer(**fields):
        try:
            answers.write(json.dumps(fields) + "\n")
            answers.flush()
        except BrokenPipeError:
            pass  # the worker is gone; the end of the commands follows

    keywords = json.loads(commands.readline())["engine"]
    try:
        import sglang

        engine = sglang.Engine(**keywords)
    except BaseException as e:  # SystemExit too: whatever ends the start is told
        traceback.print_exc()
        answer(error=str(e), kind=type(e).__name__)
        return 1
    answer(ready=True, keywords=sorted(keywords))

    for line in commands:
        command = json.loads(line)
        if command.get("shutdown"):
            break
        try:
            answer(id=command["id"], ok=True, **serve(engine, command["requests"]))
        except Exception as e:
            traceback.print_exc()
            answer(id=command["id"], error=str(e), kind=type(e).__name__)
    stop(engine)
    answer(bye=True)
    return 0


def serve(engine, requests):
    """Runs one batch, submitted whole."""
    outputs = engine.generate(
        input_ids=[r["input_ids"] for r in requests],
        sampling_params=[r["sampling_params"] for r in requests],
    )
    tokens = 0
    for output in outputs:
        meta = output.get("meta_info") or {}
        reason = meta.get("finish_reason")
        if isinstance(reason, dict) and reason.get("type") == "abort":
            raise RuntimeError("aborted: %s" % (reason.get("message") or reason))
        tokens += len(output.get("output_ids") or ()) or int(meta.get("completion_tokens") or 0)
    return {"requests": len(outputs), "tokens": tokens}


def stop(engine):
    """Ends the engine once its schedulers are between two forward passes: they are killed, and a dump must not be cut."""
    for step in ("flush_cache", "shutdown"):
        try:
            getattr(engine, step)()
        except Exception:
            traceback.print_exc()


# SGLang spawns processes that import this file again.
if __name__ == "__main__":
    sys.exit(main())
