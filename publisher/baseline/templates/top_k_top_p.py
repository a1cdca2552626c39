    # Joint: both bounds are on the probabilities as they are given, as the definition has it.
    samples = flashinfer.sampling.top_k_top_p_sampling_from_probs(probs, top_k, top_p, filter_apply_order="joint")
    return samples.to(torch.{{.Output 0}})
