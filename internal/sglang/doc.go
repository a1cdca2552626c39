// Package sglang knows the command lines of SGLang's releases: which options and Engine keywords each takes, what they are
// called there, which environment its processes need, and which endpoints its server has. It turns an Intent, free of any
// release's words, into a Launch. It runs nothing and reads no file.
package sglang
