// Package berth is the domain of Berth, a self-hosted model deployment service: its
// nouns and rules, without any technology. It imports only the standard library; every
// other folder adapts it to one technology, and app joins them.
//
// # The story
//
// A team owns hardware. A [Model] can be deployed to a [Workspace] under a [Plan]: mu
// buys replicas of one's own, ptu reserves tokens per minute on a [Pool] that others
// use too, lora puts an adapter on that pool and pays per token. A [Purchase] becomes a
// [Deployment] in one transaction: checked, priced, its hardware held ([Place]), its
// replicas written down, or refused whole ([Deployments.Create]).
//
// From then on desired state is rows. The reconciler compares them with what runs and
// starts, drains and stops engines ([Replica]) until they agree; it alone writes
// replicas. What it finds moves the deployment along the one table of transitions
// (lifecycle.go).
//
// Calls never touch the store. Everything the gateway needs is one immutable
// [Snapshot], made by [Routing.Snapshot] and swapped whole; every transaction that
// matters to it raises the routing version, and the answer to the client waits until
// the gateway has taken it. What a call used becomes one [UsageRecord].
//
// # Flows
//
//	control   client → server → Deployments → Store.Tx
//	converge  store → reconcile.Plan → engine.Runner → observed state → store → Snapshot
//	request   guest → gateway: authenticate → resolve → reserve → mark → forward → stream → settle
//	money     usage records → rating → ledger → statement
//
// # Invariants
//
//   - A write is refused whole or done whole; nothing accepted is lost.
//   - Hardware is never oversold: holds are written against node versions.
//   - Time, randomness and ids are inputs; nothing here reads a clock.
//   - Default is deny: a context without a caller may do nothing.
//   - Money and tokens are integers.
package berth
