"""What hub_test.go compares package hub to: the official client pushing a directory to a new pull request.

    hub_official.py REPO DIR SECONDS

The time of the push, without the interpreter's start and the imports, is written to the file SECONDS.
"""

import sys
import time
from pathlib import Path

from huggingface_hub import HfApi

repo, folder, seconds = sys.argv[1:]
dataset = {"repo_id": repo, "repo_type": "dataset"}
start = time.perf_counter()
api = HfApi()
draft = api.create_pull_request(title="Add workloads", description="Pushed by the official client.", **dataset)
api.upload_folder(folder_path=folder, revision=draft.git_reference, commit_message="Add workloads", **dataset)
Path(seconds).write_text(str(time.perf_counter() - start))
