// Package proc runs a child process that nothing of it outlives.
//
// # Flow
//
// Start runs our own binary again as a supervisor, in a process group of its own, and the supervisor runs the command in
// another. What the command writes to standard output and standard error goes line by line to a callback, and as it is to a log
// file. Stop asks (SIGTERM to the command's main process alone, since servers tell their own children), waits a grace, then
// kills whatever is left, and returns when all of it is gone.
//
// The binary must call MaybeSupervise first thing in main, a test binary in TestMain.
//
// # Guarantees, on Linux
//
//   - The supervisor is a child subreaper: each descendant of the command is found through /proc, also one that changed its
//     session or process group, and Done is closed only when every one has been waited for.
//   - The worker's death, by kill -9 too, ends a pipe that the supervisor reads: it then stops the command as Stop does.
//   - The supervisor's death, by kill -9 too, kills the command's main process (PR_SET_PDEATHSIG), and the worker kills
//     what is left of its group and whatever carries the environment mark of this child.
//   - Nothing is ever killed by name. A process is killed because it descends from the command, is in its group, or carries its mark.
//
// On other systems there is no subreaper and no death signal: what left the command's process group is not found, and the
// supervisor's own kill -9 leaves the group to the worker. The pipe and the group work as on Linux.
//
// # What it does not do
//
// When worker and supervisor are killed at the same moment, the command's main process dies and descendants that do not follow
// their parent (PR_SET_PDEATHSIG is not inherited) stay: only a container or a cgroup can promise more. It does not restart
// anything, and knows nothing of what it runs.
package proc
