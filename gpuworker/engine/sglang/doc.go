// Package sglang is the engine that serves real inference: SGLang, as the node has it, with FlashInfer's level-10 logging on.
//
// # Flow
//
//	probe    the interpreter is asked for its SGLang, FlashInfer and torch (node.go)
//	plan     package launch turns the task into the command line, keywords and environment of that release (plan.go, environ.go);
//	         an API that package reach knows nothing of is looked for in the node's own SGLang
//	start    package proc runs it; its log lines become events and facts (events.go); it is ready when an endpoint that
//	         generates nothing says so, or the driver does
//	serve    Begin, then the task's traffic: over HTTP with the batch size held in flight (server.go, client.go), or whole batches
//	         through the Engine and a small driver of ours in Python (offline.go, driver.py)
//	stop     the main process is asked, and tells its own; after a grace all that descends from it is killed
//	account  what traffic left in the dump directory; where that is nothing, why (harvest.go, diagnose.go, symptoms.go)
//
// # Exact batches
//
// Offline, a batch of exactly the task's batch size is submitted in one call, all of its requests with one answer length and
// ignore_eos: prefills come first, and then each decode step has the whole batch, until all end at once. A pool that is too
// small breaks that (SGLang retracts requests, which is told and counted), and so does --disable-ignore-eos. Over HTTP the batch size is what is
// in flight: each request that ends is replaced at once, and prefills and decodes mix as they do in service.
//
// # Guarantees
//
// Those of package engine. Nothing that was started outlives Run, the worker, or the worker's kill -9 (package proc). No endpoint that
// generates is polled. What failed is said with what to do about it, from the log's own words. The engine's environment has no
// secret of tracefleet's (environ.go); neither the command line nor any message carries one.
//
// # What it does not do
//
// It chooses no flags (package launch), makes no requests (package traffic), reads no dumps, and holds no GPUs.
package sglang
