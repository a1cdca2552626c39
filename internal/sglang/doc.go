// Package sglang knows the command lines of SGLang's releases: which options and Engine keywords each takes, what they are
// called there, which environment its processes need, and which endpoints its server has. It turns an Intent, free of any
// release's words, into a Launch. It runs nothing and reads no file.
//
// # Flow
//
//	Intent ── ways.go: each intention in the release's own words
//	       ── Requires, ModelFlags, Extra: split.go into flags and values, rename.go into the release's own names
//	       ── merge.go: who wins where they speak of the same thing
//	       ── table.go: every flag and value held against what the release's own parser takes
//	       ── Launch: arguments of the server, or engine.go: typed keywords of its Engine
//
// table.jsonl was recorded from the released wheels by their own argument parsers: test/interop/sglang_record.py, which is
// also how a new release is added. test/interop/sglang_flags.py lets those parsers judge what is built here.
//
// # Guarantees
//
//   - No flag is emitted that the release's table does not hold, none of ours that the release calls deprecated, and no
//     abbreviation: argparse takes prefixes, until another option begins the same way.
//   - A release between the recorded ones gets the words of the newest recorded one before it; outside of them, a *ReleaseError,
//     unless Intent.AnyRelease asks for the nearest words.
//   - What a user gave is never dropped silently: it is passed on, translated with a notice, or refused with a *FlagError.
//
// # What it does not do
//
// It does not know what SGLang makes of a flag once it is parsed (checks after parsing, defaults by GPU and model), which
// flags a kernel needs (package reach), nor the FLASHINFER_* variables of a dump (proto.DumpSpec).
package sglang
