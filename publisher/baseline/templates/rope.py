    # The kernel works in place, and what it is given must stay as it is.
    q_out, k_out = q.clone(), k.clone()
    flashinfer.rope.apply_rope_with_cos_sin_cache_inplace(positions, q_out.flatten(1), k_out.flatten(1), {{.Axis "head_size"}}, cos_sin_cache, is_neox={{.Neox}})
    return q_out, k_out
