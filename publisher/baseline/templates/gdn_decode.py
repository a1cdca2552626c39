    # The kernel works on the state in place, and what it is given must stay as it is. It is told to leave queries and keys as long as they are,
    # as the definition does.
    return flashinfer.gdn_decode.{{if .KLast}}gated_delta_rule_decode_pretranspose{{else}}gated_delta_rule_decode{{end}}(
        q, k, v, state.clone(), A_log, a, dt_bias, b, scale=scale or None, use_qk_l2norm=False,
    )
