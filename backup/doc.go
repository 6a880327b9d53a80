// Package backup packs files into one archive with a proof of every byte, and unpacks
// them again. It knows neither what is in the files nor how they are taken while a server
// works on them.
//
// An archive is a tar in zstd, so that any machine can open one without Berth:
//
//	backup.json     the [Head]: who wrote it, when, of which schema; first, so that what
//	                cannot be restored is refused before it is unpacked
//	berth.db …      the files
//	manifest.json   the [Manifest]: every file with its length and SHA-256, what the tables
//	                hold, which model files there were; last, so that an archive that was cut
//	                short has none
package backup
