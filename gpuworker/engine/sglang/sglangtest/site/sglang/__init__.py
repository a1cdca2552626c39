"""The stand-in's sglang: an Engine whose work the test binary does."""

import json
import os
import subprocess


class Engine:
    def __init__(self, **kwargs):
        self._process = subprocess.Popen(
            [_binary(), "sglangtest-engine"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        self._ask(kwargs)

    def generate(self, prompt=None, sampling_params=None, input_ids=None):
        if prompt is not None or input_ids is None:
            raise ValueError("the stand-in takes input_ids only")
        return self._ask({"input_ids": input_ids, "sampling_params": sampling_params})["outputs"]

    def flush_cache(self):
        return self._ask({"flush": True})

    def shutdown(self):
        self._process.kill()
        self._process.wait()

    def _ask(self, question):
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError("Rank 0 scheduler died during initialization (exit code: %s)." % self._process.wait())
        answer = json.loads(line)
        if "type_error" in answer:
            raise TypeError(answer["type_error"])
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer


def _binary():
    # Where the wrapper that stands for python says that the test binary is.
    return os.environ["TRACEFLEET_SGLANGTEST_BINARY"]
