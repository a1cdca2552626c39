    decay = torch.exp(-torch.exp(A_log.float()) * torch.nn.functional.softplus(a.float() + dt_bias.float()))
    return flashinfer.gdn_prefill.chunk_gated_delta_rule(
        q, k, v, g=decay, beta=torch.sigmoid(b.float()), scale=scale or None, initial_state=state, output_final_state=True, cu_seqlens=cu_seqlens,
    )
