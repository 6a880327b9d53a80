// Package meter keeps what every call used. It writes marks into the journal while calls
// run and folds the journal into usage records in the store, each once.
//
//	gateway → Open, Progress, Close → journal → fold → store
//
// A call waits for neither: a mark is a copy into memory. The fold reads the marks in
// their order. A call that was closed becomes a record; the records of a batch and the
// place that was read up to are written in one transaction, so that a record that was
// deleted later never comes again, and one whose transaction is repeated is there once.
//
// # After a crash
//
// The fold goes on where the store says it was. Calls that an earlier life left open
// become records with what is known of them, end [berth.EndBerthCrashed]: figures as last
// marked, of the engine if it had finished, else counted. The limits get their last minute
// back from the same marks (LastMinute).
//
// # When a segment goes
//
// Transactions of the store are durable when they return: SQLite runs with
// synchronous=FULL, which brings the write-ahead log to the disk at every commit. So a
// segment may go once a fold beyond it was committed, everything that is still open in it
// was marked again further on and is on the disk, and a minute has passed, for the limits.
// When the journal is more than half full, that minute is not waited for.
package meter
