// Package hub is a client of the Hugging Face Hub for one purpose: to fill pull requests of a dataset repository and never to
// write a thing twice. It is net/http, encoding/json and crypto, no more.
//
// A push is: [Repo.CreatePR] once, then [Repo.Add] as often as there is something to add, then [Repo.Open].
//
// What it guarantees
//
//   - A request that must not happen twice (a pull request, a comment) is sent again only where the Hub surely did nothing.
//     Where its answer is lost, the error says so (Error.Lost), and the caller asks the Hub what became of it.
//   - Every commit names its parent, so that of two writers one is refused (Error.Conflict). Add finds out by itself what
//     became of a commit whose answer was lost, and commits again only under the parent that is still the head.
//   - Content that the Hub has is not sent again. Content that changed since its File was made is not sent at all.
//   - What Read gives was checked against the digest that the Hub names.
//   - No error and no log line has the token, or the query of a URL, which may be a signature.
//   - The token goes to the endpoint only: not to storage, and not along a redirect to another origin.
//
// What it does not do: Xet (every Hub takes LFS uploads of a client that does not speak Xet), deletions, merges, and repositories
// that are not datasets. The strict Hub behind its tests is package hubtest.
package hub
