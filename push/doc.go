// Package push tells one URL what happened: each usage record, each change of a deployment,
// each month that was closed, as CloudEvents 1.0, signed as Standard Webhooks has it.
//
// Everything arrives at least once and in the order in which it was written: a batch counts
// as delivered when it was answered with 2xx, and until then nothing behind it is sent. An
// event that comes again has the id that it had before. A URL that does not answer is tried
// for ever, with pauses that grow; what waits for it waits in the store, and nothing else
// waits for it.
//
// Events have figures and names, never prompts, answers or keys.
package push
