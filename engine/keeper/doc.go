// Package keeper is the small process that stands between Berth and one
// engine, and the client with which Berth drives it.
//
//	Berth ──stdin──▶ berth keep ──fork──▶ engine ──fork──▶ its helpers
//	      ◀─stdout──            ◀──pipe── (stdout and stderr, into the log)
//
// An engine holds gigabytes of memory and an accelerator, so one that nobody
// owns any more is the most expensive thing Berth could leave behind. The
// keeper exists so that this cannot happen, whoever dies first:
//
//	who ends               what follows
//	engine                 the keeper kills what the engine left behind, reports "exited", ends
//	Berth, even by -9      stdin reads EOF: SIGTERM to the engine's group, SIGKILL after the grace, the keeper ends
//	keeper, even by -9     the kernel kills the engine (parent-death signal, Linux); Berth kills the
//	                       rest of its process group and learns it as [ErrKeeperLost]
//	keeper by SIGTERM      as the message "stop"
//
// The keeper is a child subreaper (Linux): a helper that leaves the engine's
// process group or session is still a descendant and is killed with the rest.
// One gap is known: when the keeper itself is killed, helpers that left the
// engine's process group live on, because nothing connects them to us any more.
// On darwin, which has neither subreapers nor a parent-death signal, only the
// process group is ended, and killing Berth and keeper at once leaves the engine.
//
// The conversation is one JSON object per line, each with "v" and "type". It
// only ever grows: unknown fields are ignored, an unknown type is answered with
// an "error" message. The command and its secrets travel in it, so that neither
// the keeper's arguments nor its environment, which is empty, show them.
package keeper
