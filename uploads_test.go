package berth_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	berth "github.com/berthhq/berth"
)

// inbox keeps bytes in memory.
type inbox struct {
	kept map[string]int64 // by upload and file
	free int64
	busy string
}

func newInbox() *inbox { return &inbox{kept: map[string]int64{}, free: 2000} }

func (b *inbox) Offset(id string, f berth.UploadFile) (int64, error) {
	return b.kept[id+"/"+f.Name], nil
}

func (b *inbox) Append(_ context.Context, id string, f berth.UploadFile, offset int64, body berth.UploadBody) (int64, error) {
	key := id + "/" + f.Name
	if offset != b.kept[key] {
		return b.kept[key], berth.Errorf(berth.CodeConflict, "The server has %d bytes.", b.kept[key])
	}
	n, err := io.Copy(io.Discard, body)
	b.kept[key] += n
	b.free -= n
	return b.kept[key], err
}

func (b *inbox) Folder(id string) string   { return "inbox/" + id }
func (b *inbox) Busy(id string) bool       { return id == b.busy }
func (b *inbox) FreeBytes() (int64, error) { return b.free, nil }

func (b *inbox) Remove(id string) error {
	for key, n := range b.kept {
		if strings.HasPrefix(key, id+"/") {
			b.free += n
			delete(b.kept, key)
		}
	}
	return nil
}

func (b *inbox) Uploads() ([]string, error) {
	var ids []string
	for key := range b.kept {
		id, _, _ := strings.Cut(key, "/")
		ids = append(ids, id)
	}
	return ids, nil
}

type body struct{ io.Reader }

func (body) Stop() {}

func bytesOf(n int) body { return body{strings.NewReader(strings.Repeat("x", n))} }

func announce(name string, size int64) berth.UploadFile {
	return berth.UploadFile{Name: name, SizeBytes: size, SHA256: strings.Repeat("0a", 32)}
}

func (h *house) mustUpload(ctx context.Context, size int64) berth.UploadState {
	h.Helper()
	u, err := h.uploads.Create(ctx, []berth.UploadFile{announce("w.gguf", size)})
	must(h, err)
	return u
}

func TestAnnouncedUploadsAreChecked(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	wrong := func(change func(*berth.UploadFile)) []berth.UploadFile {
		f := announce("w.gguf", 10)
		change(&f)
		return []berth.UploadFile{f}
	}
	for name, c := range map[string]struct {
		files []berth.UploadFile
		code  berth.Code
		want  string
	}{
		"no file":           {nil, berth.CodeInvalid, "1 to 256 files"},
		"too many":          {make([]berth.UploadFile, 257), berth.CodeInvalid, "1 to 256 files"},
		"a path":            {wrong(func(f *berth.UploadFile) { f.Name = "../w.gguf" }), berth.CodeInvalid, "is not usable"},
		"hidden":            {wrong(func(f *berth.UploadFile) { f.Name = ".part.gguf" }), berth.CodeInvalid, "is not usable"},
		"a program":         {wrong(func(f *berth.UploadFile) { f.Name = "model.py" }), berth.CodeInvalid, "no kind that a model is made of"},
		"a pickle":          {wrong(func(f *berth.UploadFile) { f.Name = "adapter_model.bin" }), berth.CodeInvalid, "no kind that a model is made of"},
		"twice":             {[]berth.UploadFile{announce("w.gguf", 1), announce("W.gguf", 1)}, berth.CodeInvalid, "stands twice"},
		"no digest":         {wrong(func(f *berth.UploadFile) { f.SHA256 = "ab" }), berth.CodeInvalid, "64 lower-case hex digits"},
		"empty":             {wrong(func(f *berth.UploadFile) { f.SizeBytes = 0 }), berth.CodeTooLarge, "1 to 1000"},
		"too large":         {wrong(func(f *berth.UploadFile) { f.SizeBytes = 1001 }), berth.CodeTooLarge, "imports.max_bytes"},
		"too large in sum":  {[]berth.UploadFile{announce("a.gguf", 600), announce("b.gguf", 600)}, berth.CodeTooLarge, "The upload has 1200 bytes"},
		"larger than int64": {[]berth.UploadFile{announce("a.gguf", 1<<62), announce("b.gguf", 1<<62)}, berth.CodeTooLarge, "an upload may have"},
	} {
		_, err := h.uploads.Create(h.admin(), c.files)
		if berth.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := h.uploads.Create(h.as(home, berth.RoleInference), []berth.UploadFile{announce("w.gguf", 1)}); berth.CodeOf(err) != berth.CodeForbidden {
		t.Errorf("an inference key: %v", err)
	}
}

func TestUploadsAreBounded(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	first := h.mustUpload(h.admin(), 1000)
	// 2000 free, 100 spared, 1000 promised
	_, err := h.uploads.Create(h.as(away, berth.RoleAdmin), []berth.UploadFile{announce("w.gguf", 901)})
	if berth.CodeOf(err) != berth.CodeTooLarge || !strings.Contains(err.Error(), "room for 900 more bytes") {
		t.Errorf("beyond the disk: %v", err)
	}
	// What has arrived is not counted twice.
	_, err = h.uploads.Append(h.admin(), first.ID, "w.gguf", 0, bytesOf(600))
	must(t, err)
	h.mustUpload(h.as(away, berth.RoleAdmin), 900)
	_, err = h.uploads.Delete(h.admin(), first.ID)
	must(t, err)
	h.mustUpload(h.admin(), 1)
	h.mustUpload(h.admin(), 1)
	if _, err = h.uploads.Create(h.admin(), []berth.UploadFile{announce("w.gguf", 1)}); berth.CodeOf(err) != berth.CodeThrottled || !strings.Contains(err.Error(), "has 2 uploads") {
		t.Errorf("beyond the number: %v", err)
	}
}

func TestAnUploadBelongsToItsWorkspace(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	u, stranger := h.mustUpload(h.admin(), 10), h.as(away, berth.RoleAdmin)
	_, getErr := h.uploads.Get(stranger, u.ID)
	_, appendErr := h.uploads.Append(stranger, u.ID, "w.gguf", 0, bytesOf(1))
	_, deleteErr := h.uploads.Delete(stranger, u.ID)
	_, addErr := h.models.Add(stranger, berth.NewModel{Name: "theirs", Upload: u.ID})
	for _, err := range []error{getErr, appendErr, deleteErr, addErr} {
		if berth.CodeOf(err) != berth.CodeNotFound {
			t.Errorf("got %v", err)
		}
	}
	if list, err := h.uploads.List(stranger); err != nil || len(list) != 0 {
		t.Errorf("listed: %v, %v", list, err)
	}
	if _, err := h.uploads.Append(h.admin(), u.ID, "other.gguf", 0, bytesOf(1)); berth.CodeOf(err) != berth.CodeNotFound {
		t.Errorf("a file that was not announced: %v", err)
	}
}

func TestAbandonedUploadsGo(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	u, busy := h.mustUpload(h.admin(), 10), h.mustUpload(h.as(away, berth.RoleAdmin), 10)
	h.inbox.busy = busy.ID
	h.inbox.kept["upl_ofnobody/w.gguf"] = 5
	_, err := h.uploads.Append(h.as(away, berth.RoleAdmin), busy.ID, "w.gguf", 0, bytesOf(3))
	must(t, err)
	h.pass(59 * time.Minute)
	_, err = h.uploads.Append(h.admin(), u.ID, "w.gguf", 0, bytesOf(4)) // puts its end off
	must(t, err)
	sweep := func(want int) {
		t.Helper()
		if n, err := h.uploads.Sweep(h.Context()); n != want || err != nil {
			t.Errorf("%d removed, want %d: %v", n, want, err)
		}
	}
	h.pass(59 * time.Minute)
	sweep(1) // the bytes of no upload
	if state, err := h.uploads.Get(h.admin(), u.ID); err != nil || state.Offsets[0] != 4 || !state.ExpiresAt.Equal(h.now().Add(time.Minute)) {
		t.Errorf("it is %+v, %v", state, err)
	}
	h.pass(time.Minute)
	sweep(1)
	if _, err := h.uploads.Get(h.admin(), u.ID); berth.CodeOf(err) != berth.CodeNotFound {
		t.Errorf("an abandoned one: %v", err)
	}
	if _, err := h.uploads.Get(h.as(away, berth.RoleAdmin), busy.ID); err != nil {
		t.Errorf("one to which bytes flow: %v", err)
	}
}

func TestABrokenAppendPutsTheEndOff(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	u := h.mustUpload(h.admin(), 10)
	h.pass(time.Minute)
	broken := errors.New("connection reset")
	_, err := h.uploads.Append(h.admin(), u.ID, "w.gguf", 0, body{io.MultiReader(strings.NewReader("abc"), failing{broken})})
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	state, err := h.uploads.Get(h.admin(), u.ID)
	if err != nil || state.Offsets[0] != 3 || !state.TouchedAt.Equal(h.now()) {
		t.Errorf("it is %+v, %v", state, err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestAModelOfAnUpload(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	complete := func(ctx context.Context) string {
		t.Helper()
		u := h.mustUpload(ctx, 10)
		_, err := h.uploads.Append(ctx, u.ID, "w.gguf", 0, bytesOf(10))
		must(t, err)
		return u.ID
	}
	half := h.mustUpload(h.admin(), 10)
	for name, c := range map[string]struct {
		add  berth.NewModel
		code berth.Code
		want string
	}{
		"incomplete":        {berth.NewModel{Name: "x", Upload: half.ID}, berth.CodeInvalid, "w.gguf has 0 of 10 bytes"},
		"unknown":           {berth.NewModel{Name: "x", Upload: "upl_x"}, berth.CodeNotFound, "There is no upload upl_x"},
		"with a path":       {berth.NewModel{Name: "x", Upload: half.ID, Path: "/etc/passwd"}, berth.CodeInvalid, "leave out path"},
		"on the fake":       {berth.NewModel{Name: "x", Upload: half.ID, Engine: "fake"}, berth.CodeInvalid, `not on "fake"`},
		"adapter of what":   {berth.NewModel{Name: "x", Upload: half.ID, Weights: "lora"}, berth.CodeInvalid, "needs the base"},
		"an unusable name":  {berth.NewModel{Name: "x/y", Upload: half.ID}, berth.CodeInvalid, "not usable"},
		"engine and base":   {berth.NewModel{Name: "x", Upload: half.ID, Base: "abacus", Engine: "vllm"}, berth.CodeInvalid, "leave out the engine"},
		"strange weights":   {berth.NewModel{Name: "x", Upload: half.ID, Base: "abacus", Weights: "half"}, berth.CodeInvalid, `"half"`},
		"somebody's secret": {berth.NewModel{Name: "x", Upload: complete(h.admin()), Base: "secret"}, berth.CodeInvalid, "is not a base model of the catalogue"},
	} {
		err := h.unchanged(func() error { _, err := h.models.Add(h.admin(), c.add); return err })
		if berth.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	_, err := h.uploads.Delete(h.admin(), half.ID)
	must(t, err)

	// A taken name is refused before the files are moved.
	id := complete(h.admin())
	if err := h.unchanged(func() error {
		_, err := h.models.Add(h.admin(), berth.NewModel{Name: "abacus", Upload: id})
		return err
	}); berth.CodeOf(err) != berth.CodeConflict {
		t.Errorf("a taken name: %v", err)
	}
	m, err := h.models.Add(h.admin(), berth.NewModel{Name: "mine", Base: "abacus", Upload: id})
	must(t, err)
	if m.WorkspaceID != home || !m.Custom() || m.Kind != berth.ModelKindAdapter || m.File.Path != "inbox/"+id || !m.Offers(berth.PlanLoRA) {
		t.Errorf("it is %+v", m)
	}
	if _, err := h.uploads.Get(h.admin(), id); berth.CodeOf(err) != berth.CodeNotFound {
		t.Errorf("the upload is still there: %v", err)
	}
	if _, err := h.models.Get(h.as(away, berth.RoleAdmin), "mine"); berth.CodeOf(err) != berth.CodeNotFound {
		t.Errorf("another workspace sees it: %v", err)
	}
	// What an owner adds is the catalogue's, as with a path.
	m, err = h.models.Add(h.owner(), berth.NewModel{Name: "everybodys", Upload: complete(h.owner())})
	must(t, err)
	if m.WorkspaceID != "" || m.Kind != berth.ModelKindBase || m.Engine != berth.EngineLlamaCpp {
		t.Errorf("it is %+v", m)
	}
	// An admin deletes its workspace's own models only.
	if _, err := h.models.Delete(h.admin(), "everybodys"); berth.CodeOf(err) != berth.CodeForbidden {
		t.Errorf("the catalogue's: %v", err)
	}
	if _, err := h.models.Delete(h.as(away, berth.RoleAdmin), "mine"); berth.CodeOf(err) != berth.CodeNotFound {
		t.Errorf("another workspace's: %v", err)
	}
	_, err = h.models.Delete(h.admin(), "mine")
	must(t, err)
}

// slowShelf lets a test act while files are being put in their place.
type slowShelf struct {
	shelf
	putting, goOn chan struct{}
}

func (s slowShelf) Put(ctx context.Context, a berth.Arrival) (berth.ModelFile, error) {
	s.putting <- struct{}{}
	<-s.goOn
	return s.shelf.Put(ctx, a)
}

// A client that gives up and repeats the request must not take the files from under it.
func TestOneModelAtATimeIsMadeOfAnUpload(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	slow := slowShelf{putting: make(chan struct{}), goOn: make(chan struct{})}
	h.models.Shelf = slow
	u := h.mustUpload(h.admin(), 10)
	_, err := h.uploads.Append(h.admin(), u.ID, "w.gguf", 0, bytesOf(10))
	must(t, err)
	first := make(chan error)
	go func() {
		_, err := h.models.Add(h.admin(), berth.NewModel{Name: "mine", Upload: u.ID})
		first <- err
	}()
	<-slow.putting
	_, err = h.models.Add(h.admin(), berth.NewModel{Name: "yours", Upload: u.ID})
	refused(t, err, berth.CodeConflict, "is being made of the upload "+u.ID)
	close(slow.goOn)
	must(t, <-first)
	_, err = h.models.Add(h.admin(), berth.NewModel{Name: "yours", Upload: u.ID})
	refused(t, err, berth.CodeNotFound, "There is no upload")
}
