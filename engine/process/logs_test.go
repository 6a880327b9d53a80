package process

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestTheOldestLogsGo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	began := time.Now()
	for i := range logFilesMax + 5 {
		file := filepath.Join(dir, fmt.Sprintf("rep_%04d.log", i))
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, began, began.Add(time.Duration(i)*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	pruneLogs(dir)
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != logFilesMax || left[0].Name() != "rep_0005.log" {
		t.Errorf("%d files are left, the oldest %s, %v", len(left), left[0].Name(), err)
	}
}
