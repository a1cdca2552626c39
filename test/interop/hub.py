"""The official Hub client against `tracefleet hub-sandbox`: see hub.sh.

    hub.py drive              every call that a publisher or a reader of a dataset makes, each answer checked
    hub.py make DIR           a dataset directory of awkward files
    hub.py judge DIR RESULT   what hubpush pushed of DIR, read back and compared byte for byte
"""

import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

REPO = "flashinfer-ai/flashinfer-trace"
DATASET = {"repo_id": REPO, "repo_type": "dataset"}


def require(condition, what):
    if not condition:
        sys.exit(f"hub.py: {what}")


def git_sha1(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def fill(path, size, seed):
    """Content that compresses badly and is the same each time."""
    block = hashlib.sha256(str(seed).encode()).digest()
    data = bytearray()
    while len(data) < size:
        block = hashlib.sha256(block).digest()
        data += block
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(data[:size]))


def make(root):
    for i, size in enumerate([1, 3, 511, 512, 513, 4096, 999_999, 3_000_001]):
        fill(root / "blob/workloads/gqa_paged/d" / f"{i:04d}.safetensors", size, i)
    (root / "blob/workloads/gqa_paged/d/empty.safetensors").write_bytes(b"")
    line = json.dumps({"axes": {"batch_size": 8}, "uuid": "0"}) + "\n"
    for name, text in {
        "workloads/gqa_paged/d.jsonl": line * 300,
        "workloads/gqa_paged/large.jsonl": line * 300_000,  # over 10 MiB: to storage, though it is text
        "definitions/gqa_paged/d.json": json.dumps({"name": "d", "description": "é ü 漢"}, ensure_ascii=False),
        "solutions/baseline/gqa_paged/d/a b+c%2F&#?.json": "{}",
        "tests/references/empty.py": "",
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def drive():
    api = HfApi()
    require(api.whoami()["name"] == "contributor", "whoami is not the contributor")
    blob = os.urandom(700_001)

    def operations():
        return [
            CommitOperationAdd("workloads/a/b.jsonl", b'{"x":1}\n'),
            CommitOperationAdd("blob/workloads/a/b.safetensors", blob),
        ]

    commit = api.create_commit(operations=operations(), commit_message="first", commit_description="why", create_pr=True, **DATASET)
    ref, number = commit.pr_revision, commit.pr_num
    details = api.get_discussion_details(discussion_num=number, **DATASET)
    require(details.is_pull_request and details.status == "open" and details.title == "first", f"details are {details}")
    require(details.events[0].content == "why" and details.events[1].oid == commit.oid, f"events are {details.events}")
    files = {f.path: f for f in api.list_repo_tree(revision=ref, recursive=True, **DATASET)}
    stored = files["blob/workloads/a/b.safetensors"]
    require(stored.lfs.sha256 == hashlib.sha256(blob).hexdigest() and stored.size == len(blob), f"the tree has {stored}")
    require(files["workloads/a/b.jsonl"].blob_id == git_sha1(b'{"x":1}\n'), "the git id of a file is another")
    for name, content in {"blob/workloads/a/b.safetensors": blob, "workloads/a/b.jsonl": b'{"x":1}\n'}.items():
        require(Path(hf_hub_download(filename=name, revision=ref, **DATASET)).read_bytes() == content, f"{name} reads as another")
    try:
        hf_hub_download(filename="nowhere.json", revision=ref, **DATASET)
        require(False, "a file that is not there was found")
    except EntryNotFoundError:
        pass

    again = api.create_commit(operations=operations(), commit_message="the same", revision=ref, **DATASET)
    require(again.oid == commit.oid, "the same content made another commit")
    api.create_commit(operations=[CommitOperationAdd("c.json", b"{}")], commit_message="second", revision=ref, parent_commit=commit.oid, **DATASET)
    try:
        api.create_commit(operations=[CommitOperationAdd("d.json", b"{}")], commit_message="late", revision=ref, parent_commit=commit.oid, **DATASET)
        require(False, "a commit on an old parent was taken")
    except HfHubHTTPError as error:
        require(error.response.status_code == 412, f"an old parent gives {error}")
    try:
        api.create_commit(operations=[CommitOperationAdd("d.json", b"{}")], commit_message="no right", **DATASET)
        require(False, "a contributor wrote to main")
    except HfHubHTTPError as error:
        require(error.response.status_code == 403, f"main gives {error}")

    with tempfile.TemporaryDirectory() as folder:
        for i in range(12):
            fill(Path(folder) / f"f{i % 3}" / f"{i}.{'safetensors' if i % 2 else 'json'}", 1000 + i, i)
        draft = api.create_pull_request(title="a folder", description="d", **DATASET)
        require(draft.status == "draft" and draft.git_reference == f"refs/pr/{number + 1}", f"the draft is {draft}")
        for attempt in range(2):
            api.upload_folder(folder_path=folder, revision=draft.git_reference, commit_message=f"folder {attempt}", **DATASET)
        titles = [c.title for c in api.list_repo_commits(revision=draft.git_reference, **DATASET)]
        require(titles == ["folder 0", "initial commit"], f"commits are {titles}")
    infos = api.get_paths_info(paths=["f0/0.json", "nowhere", "f1"], revision=draft.git_reference, **DATASET)
    require([i.path for i in infos] == ["f0/0.json", "f1"], f"paths info is {infos}")

    api.comment_discussion(discussion_num=draft.num, comment="hello", **DATASET)
    first = api.get_discussion_details(discussion_num=draft.num, **DATASET).events[0]
    api.edit_discussion_comment(discussion_num=draft.num, comment_id=first.id, new_content="edited", **DATASET)
    api.rename_discussion(discussion_num=draft.num, new_title="a new title", **DATASET)
    api.change_discussion_status(discussion_num=draft.num, new_status="open", comment="go", **DATASET)
    details = api.get_discussion_details(discussion_num=draft.num, **DATASET)
    require((details.title, details.status, details.events[0].content) == ("a new title", "open", "edited"), f"details are {details}")
    listed = [(d.num, d.status) for d in api.get_repo_discussions(**DATASET)]
    require(listed == [(number + 1, "open"), (number, "open")], f"the list is {listed}")
    refs = api.list_repo_refs(include_pull_requests=True, **DATASET)
    require({r.ref for r in refs.pull_requests} == {ref, draft.git_reference}, f"refs are {refs}")
    HfApi(token="hf_maintainer").merge_pull_request(discussion_num=draft.num, **DATASET)
    require(api.get_discussion_details(discussion_num=draft.num, **DATASET).status == "merged", "it is not merged")
    require("f0/0.json" in api.list_repo_files(**DATASET), "main lacks what was merged")
    print(f"pull requests {number} and {number + 1}: written, read, merged")


def judge(root, result):
    api = HfApi()
    require(result["commits"] == 1 and result["again"] == 0, f"pushed {result}")
    details = api.get_discussion_details(discussion_num=result["pr"], **DATASET)
    require(details.status == "draft" and details.title == "Add workloads", f"details are {details}")
    require([e.oid for e in details.events if e.type == "commit"] == [result["head"]], f"events are {details.events}")
    main = {f.path for f in api.list_repo_tree(recursive=True, **DATASET) if hasattr(f, "size")}
    tree = {f.path: f for f in api.list_repo_tree(revision=result["ref"], recursive=True, **DATASET) if hasattr(f, "size")}
    local = {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    require(set(tree) - main == set(local), f"the tree has {set(tree) - main}, want {set(local)}")
    large = 0
    snapshot = Path(snapshot_download(revision=result["ref"], **DATASET))
    for name, data in sorted(local.items()):
        entry = tree[name]
        require((snapshot / name).read_bytes() == data, f"{name} reads as another")
        if entry.lfs:
            large += 1
            require(entry.lfs.sha256 == hashlib.sha256(data).hexdigest(), f"{name}: {entry}")
        else:
            require(entry.blob_id == git_sha1(data), f"{name}: {entry}")
    require(large == result["sent"], f"{large} files are in storage, {result['sent']} were sent")
    # The official client finds nothing to add to it.
    same = api.upload_folder(folder_path=root, revision=result["ref"], commit_message="the same", **DATASET)
    require(same.oid == result["head"], "the official client made a commit of the same files")
    print(f"{len(local)} files, {large} of them in storage: byte for byte")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["drive"]:
            drive()
        case ["make", folder]:
            make(Path(folder))
        case ["judge", folder, result]:
            judge(Path(folder), json.loads(Path(result).read_text()))
        case _:
            sys.exit(__doc__)
