// Package store is the records room: [berth.Store] on SQLite.
//
// There is one connection that writes and a few that only read. [Store.Tx] takes the
// write lock when it begins, so transactions are serial by construction and never have
// to be run again; a second process on the same file waits for its turn.
// [Store.View] reads one consistent state beside a running Tx, as the write-ahead log
// allows. A commit is on the disk when Tx returns (synchronous=FULL).
//
// Every noun has one list of columns (see [table]) that serves to write and to read,
// and a file of its own with the few queries that are its own. What is queried, joined
// or counted is a real column; structured values that are only ever read back whole
// are JSON in the names of their Go fields, so renaming such a field is a migration.
// Times are integer nanoseconds since 1970 in UTC, 0 being the zero time.
//
// References are checked when a Tx commits, so it may write its rows in any order. A
// broken reference is a mistake in Berth and not of a caller: the error comes as it is.
//
// The schema is migrations/sqlite: numbered files, forward only, each applied in one
// transaction when the store is opened. Only sqlite.go and that folder know SQLite:
// another database is another [dialect] beside it, its folder of migrations, and
// storetest passing.
package store
