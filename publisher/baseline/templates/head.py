"""{{.Definition}} by FlashInfer: {{.API}}."""
import torch
import flashinfer
{{- if .Module}}
import {{.Module}}
{{- end}}
{{- if .Workspace}}

_workspaces = {}


def workspace(device):
    """FlashInfer's scratch memory, made once a device."""
    if device not in _workspaces:
        _workspaces[device] = torch.empty(256 << 20, dtype=torch.uint8, device=device)
    return _workspaces[device]
{{- end}}


@torch.no_grad()
def run({{.Params}}):
