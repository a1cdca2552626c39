    return flashinfer.sampling.top_k_sampling_from_probs(probs, top_k).to(torch.{{.Output 0}})
