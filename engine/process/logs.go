package process

import (
	"cmp"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// logFilesMax is how many log files of replicas are kept, rotated ones included; the
// oldest go. A replica is a few files, so the last hundred or so can be read.
const logFilesMax = 400

// pruneLogs removes the oldest files of a directory of logs beyond [logFilesMax]. What
// cannot be read or removed is left: logs never keep an engine from starting.
func pruneLogs(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) <= logFilesMax {
		return
	}
	files := make([]fs.FileInfo, 0, len(entries))
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			files = append(files, info)
		}
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int {
		return cmp.Or(b.ModTime().Compare(a.ModTime()), cmp.Compare(a.Name(), b.Name()))
	})
	for _, f := range files[min(logFilesMax, len(files)):] {
		_ = os.Remove(filepath.Join(dir, f.Name()))
	}
}
