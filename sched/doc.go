// Package sched decides whose turn it is in a pool: which waiting call gets slots of
// which replica (design 2). It is pure: no goroutine, no clock, no lock. A [Pool] has one
// owner, who tells it what happens and when, and passes on what follows.
//
// Calls wait in two classes. Guaranteed ones (ptu within its reservation) are always
// taken first. Best effort (ptu beyond it, lora) holds at most Slots − Guaranteed of a
// replica's slots. Within a class deployments take turns by deficit round robin on
// tokens, so a flood never starves a trickle.
//
// Where an engine does not mix adapters, calls with one go to lanes of their own, which
// take adapters in turns by closed groups: what waits of an adapter when its group begins
// is in it, as far as its deployment's tokens of this turn go. What comes later joins it
// while some of them are left and the turn is young, or nobody else waits. A lane that comes
// to rest in such a turn is kept for a moment for callers who kept it busy and come back.
package sched
