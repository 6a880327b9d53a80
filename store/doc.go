// Package store is the records room: [berth.Store] on SQLite or Postgres.
//
// Transactions of one process take turns, so they never wait for each other inside the
// database. On SQLite there is one connection that writes and a few that only read;
// [Store.Tx] takes the write lock when it begins, and a second process on the same file
// waits for its turn. [Store.View] reads one consistent state beside a running Tx, as the
// write-ahead log allows. A commit is on the disk when Tx returns (synchronous=FULL).
//
// On Postgres a Tx is SERIALIZABLE and a View REPEATABLE READ, read only. What loses
// against another process (40001, 40P01) is run again, some times and after a random
// pause, and so is what lost its connection, for some seconds. A commit whose answer was
// lost is looked up by the number of its transaction, so that it is neither done twice nor
// taken for failed; if that cannot be found out, the error says so.
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
// The schema is migrations/sqlite and migrations/postgres: numbered files, forward only,
// each applied in one transaction when the store is opened. A number is the same change in
// both; Postgres begins with all of those up to 22 in one file. Text is ordered by its
// bytes in both (COLLATE "C"). Statements are standard SQL with ? for arguments; what must
// differ is in a [dialect], which sqlite.go and postgres.go fill in.
package store
