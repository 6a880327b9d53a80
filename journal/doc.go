// Package journal keeps marks: short pieces of bytes that must survive whatever happens
// to the process, written by many goroutines at a cost that a call does not feel. It
// knows neither what a mark means nor where it goes.
//
// # Files
//
// A journal is a directory of segments, <instance>-<number>, of one size, filled with
// zeros on disk before they are used and mapped into memory. Numbers only rise. All
// numbers are little endian; everything begins at a multiple of 8 bytes.
//
//	segment  header of 64 bytes, marks, zeros
//	header   "BERTHJNL", version, checksum, number, life, salt, created, size
//	mark     length (4 bytes), checksum (4 bytes), the bytes, zeros up to a multiple of 8
//
// A life is the time between Open and Close, or the end of the process; it is named by
// the number of its first segment. Checksums are CRC-32C of the bytes, begun with the
// segment's salt and the mark's place, so that nothing is taken for a mark that was not
// written as one, there.
//
// # Writing
//
// Begin moves the end of the segment by one atomic addition, the caller fills in its
// bytes, Commit writes length and checksum as one word, last. No system call, no lock.
// Reserve makes sure of room before something is begun whose end must be marked, too. A
// goroutine allocates segments ahead of time; another has what was written brought to
// the disk every 50 ms. No writer waits for either.
//
// # What is lost
//
//	the process ends      nothing that was committed: the pages belong to the kernel
//	the power fails       what was committed in the last 100 ms, and no more than that: the
//	                      checksums tell which marks came through, also beyond a gap
//	a file is damaged     what is hit: the checksums tell. The file is kept beside, as .damaged
//	the disk is full      nothing: Reserve refuses before, until there is room again
//	the disk is slow      nothing waits; a crash of the machine costs as much more
//
// # Reading
//
// A Reader gives the marks in the order of their places, of this life as they come and of
// earlier ones as far as they are whole.
package journal
