// Package hubtest is a Hugging Face Hub of one dataset repository, for tests and for rehearsals: strict, on loopback, and with
// nothing of the real one's content.
//
//	h := hubtest.New(t, hubtest.Options{})
//	c, err := hub.New(hub.Options{Endpoint: h.URL, Token: h.Token})
//
// It has commits with git's own object ids, pull requests with their states and events, LFS storage at another origin with signed
// URLs, the Hub's rate limits and its error bodies. The official client works against it as against the Hub, but for Xet, which
// must be off (HF_HUB_DISABLE_XET=1).
//
// It is strict where the Hub is not: New reports to the test whatever a careful publisher would not send, such as a request that
// nobody answers, a field that no schema has, a commit without a parent, a deletion, or the token to storage. Options.Lenient
// leaves that out.
//
// A test breaks things by [Server.Fault], which sees each request before it is answered: it can answer in the Hub's place before
// or after the effect, cut the connection, cut an upload after some bytes, or hold a request until told.
//
// What the Hub says of a commit to a closed pull request is not known; it is 403 here.
package hubtest
