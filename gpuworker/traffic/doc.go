// Package traffic makes the requests of a task, the same ones every time, and holds as many of them in flight as the task
// says. Every engine that serves requests takes them from here.
//
// # Flow
//
// New reads the task's traffic: for a file, all that is needed of it, so that what is wrong with it shows before any GPU time is
// spent. Source.Next (or NextBatch, for engines that take a whole batch a call) then makes one request after another, token ids
// and all, at the moment it is asked for. Serve sends them: a fixed number in flight, each one that ends replaced at once.
//
// # Datasets
//
// random: prompts of uniform random token ids. Lengths of prompts and answers are uniform over the whole numbers from
// max(⌊ratio × most⌋, 1) to the most (ISL, OSL), both included, as SGLang's bench_serving draws them; its flashinfer-bench
// descendant lets a ratio of 0 give empty prompts, which ours never are. Where both make a prompt of consecutive token ids
// (start, start+1, …), as text that is then tokenised again, ours are independent ids sent as ids: exact lengths, no tokenizer,
// and no run of ids that two prompts have in common by accident.
//
// sharegpt: the lengths of real conversations, from a ShareGPT file (a JSON array or JSON lines): Traffic.ShareGPTPath, or the copy in the
// Hugging Face cache. The file is streamed once; a uniform sample, drawn by the seed, of those whose prompt fits is kept, and repeated when
// more are asked for than there are. The first two turns of a conversation are prompt and answer. A token is taken for four
// bytes of text, and the ids are random: only chat needs the text. Left out, and counted in Notes: rows without a list of turns or a text in
// its first two, fewer than two turns, a prompt or an answer of fewer than 2 tokens, a prompt of more than ISL. Answers are cut at OSL.
//
// trace: recorded production traffic, a line of JSON each: timestamp (milliseconds), input_length and output_length (tokens) and
// hash_ids, one for each block of TraceBlock prompt tokens (512 by default), the last one for the rest. Hash ids are names, numbers or
// texts; equal names are equal tokens, so that the prefixes which requests shared are shared again; tokens without a hash id are the
// request's own. A block size that does not fit the lengths is an error or, where it could be meant, a note. ISL and OSL do not
// apply: lengths are what they were, unless Options.MaxTokens cuts them. Requests go in order of time; with
// TraceSpeed they are also paced by it, and a request that finds the batch full waits for its turn. Without Traffic.Requests a trace is
// played for batch size × number of batches requests, at most to its end. It is not repeated.
//
// # What the mode changes
//
//   - offline: the requests of a batch (each run of batch-size many, from the first on) all have the answer length of the first of
//     them, so that every decode step has the exact batch size. Prompt lengths vary.
//   - http-paged: up to four prefixes, each of its own length, are shared by the prompts (not of a trace, which brings its own
//     sharing). The first requests have one prefix each; the others must wait until those are served (Request.After), so that what
//     they share is in the prefix cache when they come. Of the others one in four has a prompt of its own. Without
//     a prefix cache (DisableRadix) nothing is shared.
//   - http-ragged: each request generates one token, or two if the task's OSL is 2, which planning sets for definitions that need a decode
//     step. Nothing is shared: a cached prefix makes ragged attention half of the whole.
//
// With Traffic.Chat requests have messages instead of token ids: a conversation's own words where there are any, else seeded
// common words, about one token each; a shared prefix is a system message. Lengths are then estimates.
//
// All requests sample, with temperature, top_k and top_p of common values drawn by the seed, since SGLang reaches FlashInfer's
// samplers only so. min_p is set only where the task dumps what it leads to: it takes the place of top_k_top_p sampling
// for the whole forward pass.
//
// # Guarantees
//
// Equal tasks give equal requests in equal order; each is a function of the task and its number. Memory
// holds one request at a time, and of a file the lengths, hash ids or (for chat, at most 256 MiB) texts of the requests asked for.
// Token ids lie from 100 to 31/32 of the vocabulary: special tokens are at its ends. Errors are *proto.Failure, bad_traffic,
// and name file, line or entry, field and value.
//
// # What it does not do
//
// Both files may be compressed (gzip, zstd, xz) and may begin with a byte order mark.
//
// It knows no tokenizer and no HTTP. Nothing is downloaded. Whether a request fits the model's context is the engine's to say.
package traffic
