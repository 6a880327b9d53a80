package berth_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	berth "github.com/berthhq/berth"
)

// importing is the service of import jobs in a house; every job's suffix is the next
// of suffixes, the last one for ever. Each transaction takes one for each run of it, so
// there is one run.
func (h *house) importing(suffixes ...string) *berth.Imports {
	w := h.models.Writer
	w.Store = h.once
	return &berth.Imports{
		Writer: w, Models: h.models, Bounds: berth.ImportBounds{Queued: 3, Kept: 4}, Zone: time.FixedZone("", 8*60*60),
		Allows: func(store, workspaceID string) bool { return store == "bucket" && workspaceID == home },
		NewSuffix: func() string {
			next := suffixes[0]
			if len(suffixes) > 1 {
				suffixes = suffixes[1:]
			}
			return next
		},
		Wake: func() { h.woken.Add(1) }, Stop: func(string) {},
		Progress: func(string) (berth.ImportProgress, bool) {
			return berth.ImportProgress{DoneBytes: 1, TotalBytes: 2}, true
		},
	}
}

var anImport = berth.NewImport{BaseModel: "abacus", Source: "oss", Weights: "lora", Store: "bucket", Prefix: "a/"}

func nobodyBusy(string) bool { return false }

func TestAnImportFromFirstToLast(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 4)
	s, worker := h.importing("ab12"), berth.WithCaller(t.Context(), berth.System())
	h.time = time.Date(2026, 10, 2, 17, 0, 0, 0, time.UTC) // the third in the zone of names

	job, err := s.Create(h.admin(), anImport)
	must(t, err)
	if job.Status != berth.ImportPending || job.ModelName != "abacus-offline-20261003-ab12" || job.DisplayName != "abacus" || h.woken.Load() == 0 {
		t.Errorf("created %+v", job)
	}
	task, ok, err := s.Claim(worker, nobodyBusy)
	must(t, err)
	if !ok || task.ID != job.ID || task.Base.Name != "abacus" || task.Status != berth.ImportRunning {
		t.Errorf("claimed %+v, %v", task, ok)
	}
	running, err := s.Get(h.admin(), job.ID)
	if err != nil || running.Progress == nil || running.Progress.TotalBytes != 2 {
		t.Errorf("running it is %+v, %v", running, err)
	}
	if _, ok, err := s.Claim(worker, func(id string) bool { return id == job.ID }); ok || err != nil {
		t.Errorf("claimed twice: %v, %v", ok, err)
	}
	// A worker that starts anew finds the job again.
	if again, ok, err := s.Claim(worker, nobodyBusy); !ok || err != nil || again.ID != job.ID {
		t.Errorf("claimed again %+v, %v, %v", again, ok, err)
	}
	kept, err := s.Succeed(worker, task, berth.ModelFile{Path: "/shelf/x", Digest: "sha256:x"})
	if !kept || err != nil {
		t.Fatalf("kept %v, %v", kept, err)
	}
	m, err := h.models.Get(h.admin(), job.ModelName)
	if err != nil || m.WorkspaceID != home || m.Base != "abacus" || m.Kind != berth.ModelKindAdapter || !m.Offers(berth.PlanLoRA) {
		t.Errorf("it became %+v, %v", m, err)
	}
	if kept, err := s.Succeed(worker, task, berth.ModelFile{}); kept || err != nil {
		t.Errorf("a second success is kept: %v, %v", kept, err)
	}
	must(t, s.Fail(worker, job.ID, "too late"))
	ended, err := s.Get(h.admin(), job.ID)
	if err != nil || ended.Status != berth.ImportSucceeded || ended.Progress != nil || ended.EndedAt.IsZero() {
		t.Errorf("it ended as %+v, %v", ended, err)
	}
}

func TestWhatACancelledImportBringsIsNotKept(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 4)
	s, worker := h.importing("ab12"), berth.WithCaller(t.Context(), berth.System())
	job, err := s.Create(h.admin(), anImport)
	must(t, err)
	task, _, err := s.Claim(worker, nobodyBusy)
	must(t, err)
	if _, err := s.Cancel(h.admin(), job.ID); err != nil {
		t.Fatal(err)
	}
	if kept, err := s.Succeed(worker, task, berth.ModelFile{Path: "/shelf/x"}); kept || err != nil {
		t.Errorf("kept %v, %v", kept, err)
	}
	if _, err := h.models.Get(h.admin(), job.ModelName); berth.CodeOf(err) != berth.CodeNotFound {
		t.Errorf("its model: %v", err)
	}
}

func TestAnImportWhoseBaseIsGoneFails(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 4)
	s, worker := h.importing("aaaa", "bbbb"), berth.WithCaller(t.Context(), berth.System())
	first, err := s.Create(h.admin(), anImport)
	must(t, err)
	second, err := s.Create(h.admin(), anImport)
	must(t, err)
	task, _, err := s.Claim(worker, nobodyBusy)
	must(t, err)
	h.tx(func(ctx context.Context, tx berth.Tx) error { return tx.Models().Delete(ctx, "abacus") })
	if kept, err := s.Succeed(worker, task, berth.ModelFile{}); kept || err != nil {
		t.Errorf("kept %v, %v", kept, err)
	}
	if _, ok, err := s.Claim(worker, nobodyBusy); ok || err != nil {
		t.Errorf("claimed without a base: %v, %v", ok, err)
	}
	for id, want := range map[string]string{first.ID: "Model: abacus not found!", second.ID: "The base model abacus is not in the catalogue any more; import again to another."} {
		if job, err := s.Get(h.admin(), id); err != nil || job.Status != berth.ImportFailed || job.Reason != want {
			t.Errorf("it is %+v, %v; want %q", job, err, want)
		}
	}
}

func TestImportsAreBounded(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 4)
	s := h.importing("aaaa", "aaaa", "bbbb", "cccc", "dddd", "eeee")
	var ids []string
	for range 3 { // the second one's first name is taken
		job, err := s.Create(h.admin(), anImport)
		must(t, err)
		ids = append(ids, job.ID)
	}
	refused := func(want string) {
		t.Helper()
		if _, err := s.Create(h.admin(), anImport); berth.CodeOf(err) != berth.CodeThrottled || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	refused("The workspace has 3 import jobs that have not ended; wait for one or cancel one.")
	for _, id := range ids[:2] {
		if _, err := s.Cancel(h.admin(), id); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Create(h.admin(), anImport); err != nil {
		t.Fatal(err)
	}
	refused("The workspace has 4 import jobs; delete some that have ended.")
	if _, err := s.Delete(h.admin(), ids[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(h.admin(), anImport); err != nil {
		t.Error(err)
	}
	jobs, total, err := s.List(h.admin(), berth.Page{Number: 1, Size: 10}, "", "")
	names := map[string]bool{}
	for _, j := range jobs {
		names[j.ModelName] = true
	}
	if err != nil || total != 4 || len(names) != 4 {
		t.Errorf("%d jobs of %v, %v", total, names, err)
	}
}

func TestImportsNeedARole(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 4)
	s := h.importing("aaaa")
	for name, run := range map[string]func(ctx context.Context) error{
		"create": func(ctx context.Context) error { _, err := s.Create(ctx, anImport); return err },
		"get":    func(ctx context.Context) error { _, err := s.Get(ctx, "x"); return err },
		"list": func(ctx context.Context) error {
			_, _, err := s.List(ctx, berth.Page{Number: 1, Size: 1}, "", "")
			return err
		},
		"cancel": func(ctx context.Context) error { _, err := s.Cancel(ctx, "x"); return err },
		"delete": func(ctx context.Context) error { _, err := s.Delete(ctx, "x"); return err },
		"claim":  func(ctx context.Context) error { _, _, err := s.Claim(ctx, nobodyBusy); return err },
		"fail":   func(ctx context.Context) error { return s.Fail(ctx, "x", "") },
		"succeed": func(ctx context.Context) error {
			_, err := s.Succeed(ctx, berth.ImportTask{}, berth.ModelFile{})
			return err
		},
	} {
		if err := run(h.as(home, berth.RoleInference)); berth.CodeOf(err) != berth.CodeForbidden {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// NextImport never takes what somebody works on, takes up what a server left first, and
// gives every workspace its turn.
func TestNextImport(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var jobs []berth.ImportJob
		busy := map[string]bool{}
		for i := range rapid.IntRange(0, 12).Draw(t, "jobs") {
			j := berth.ImportJob{
				ID:          fmt.Sprintf("imp_%02d", i),
				WorkspaceID: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "workspace"),
				Status:      rapid.SampledFrom([]berth.ImportStatus{berth.ImportPending, berth.ImportRunning, berth.ImportFailed, berth.ImportSucceeded}).Draw(t, "status"),
			}
			busy[j.ID] = j.Status == berth.ImportRunning && rapid.Bool().Draw(t, "busy")
			jobs = append(jobs, j)
		}
		running := map[string]int{}
		left, pending := 0, 0
		for _, j := range jobs {
			switch j.Status {
			case berth.ImportRunning:
				running[j.WorkspaceID]++
				if !busy[j.ID] {
					left++
				}
			case berth.ImportPending:
				pending++
			}
		}
		got, ok := berth.NextImport(rapid.Permutation(jobs).Draw(t, "order"), func(id string) bool { return busy[id] })
		if ok != (left+pending > 0) {
			t.Fatalf("found %v among %d left and %d pending", ok, left, pending)
		}
		if !ok {
			return
		}
		if busy[got.ID] || got.Status.Done() || left > 0 && got.Status != berth.ImportRunning {
			t.Fatalf("took %+v with %d left", got, left)
		}
		for _, j := range jobs {
			if left == 0 && j.Status == berth.ImportPending {
				fewer, same := running[j.WorkspaceID] < running[got.WorkspaceID], running[j.WorkspaceID] == running[got.WorkspaceID]
				if fewer || same && j.ID < got.ID {
					t.Fatalf("took %+v before %+v", got, j)
				}
			}
		}
	})
}

func TestAnImportWithoutAFreeNameIsRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 4)
	s := h.importing("ab12")
	if _, err := s.Create(h.admin(), anImport); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(h.admin(), anImport); berth.CodeOf(err) != berth.CodeConflict {
		t.Errorf("got %v", err)
	}
}
