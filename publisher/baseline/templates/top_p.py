    return flashinfer.sampling.top_p_sampling_from_probs(probs, top_p).to(torch.{{.Output 0}})
