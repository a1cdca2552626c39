    # The kernel works in place, and what it is given must stay as it is.
    output, added = hidden_states.clone(), residual.clone()
    flashinfer.norm.fused_add_rmsnorm(output, added, weight, eps={{.Epsilon}})
    return output{{if .Returns "residual"}}, added{{end}}
