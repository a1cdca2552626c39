// Package pyenv finds, makes and looks into the Python environment that an SGLang engine runs in.
//
// # Flow
//
//	Find   --python, --conda-env, the environment that Setup made, or python3 on the PATH → an interpreter
//	Probe  an interpreter → the versions of what an engine needs, read from the packages' metadata without importing them
//	Setup  wanted versions or local checkouts → an environment with them, step by step
//
// # Guarantees
//
//   - Setup writes below its directory and nowhere else. It can be interrupted anywhere and run again: steps that are done for the
//     same wishes are not repeated, a step that was cut off is.
//   - Probe imports nothing of what it reports: importing torch takes seconds, and a broken package would be no answer.
//
// # What it does not do
//
// It does not install drivers, CUDA or Python itself, and changes no environment that it did not make.
package pyenv
