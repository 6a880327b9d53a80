package cli

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/berthhq/berth/api"
)

// abcSHA256 is the digest of "abc".
const abcSHA256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

func TestAFileThatIsHereIsUploaded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"adapter_config.json", "adapter_model.safetensors", "README.md", ".hidden.json"} {
		mustWrite(t, dir, name, "abc")
	}
	for adapter, names := range map[string][]string{
		dir: {"adapter_config.json", "adapter_model.safetensors"},
		filepath.Join(dir, "adapter_model.safetensors"): {"adapter_model.safetensors"},
	} {
		var u api.Upload
		want := []string{"GET /berth/v1/models/b", "GET /berth/v1/models/m", "GET /berth/v1/uploads"}
		body := []string{}
		f := newFake(t)
		f.on("GET /berth/v1/models/b", bare(api.Model{Name: "b"}))
		f.on("GET /berth/v1/models/m", refuse(404, "NotFound", "Model: m not found!"))
		for _, name := range names {
			u.Files = append(u.Files, api.UploadFile{Name: name, SizeBytes: 3, SHA256: abcSHA256})
			body = append(body, `{"name":"`+name+`","size_bytes":3,"sha256":"`+abcSHA256+`"}`)
			f.on("PATCH /berth/v1/uploads/upl_1/files/"+name, bare(api.UploadFile{Name: name, SizeBytes: 3, Offset: 3}))
		}
		u.ID = "upl_1"
		f.on("GET /berth/v1/uploads", bare(api.UploadList{}))
		f.on("POST /berth/v1/uploads", bare(u))
		f.on("GET /berth/v1/uploads/upl_1", bare(u))
		f.on("POST /berth/v1/models", bare(api.Model{Name: "m"}))
		want = append(want, `POST /berth/v1/uploads {"files":[`+strings.Join(body, ",")+`]}`)
		for _, name := range names {
			want = append(want, "PATCH /berth/v1/uploads/upl_1/files/"+name+" abc")
		}
		want = append(want, "GET /berth/v1/uploads/upl_1", `POST /berth/v1/models {"name":"m","upload":"upl_1","base":"b"}`)
		r := f.run(t, "", "model", "add", "m", "--base", "b", "--adapter", adapter)
		if r.code != exitDone || !slices.Equal(f.calls(), want) || !strings.Contains(r.err, "uploading 3B of") && len(names) == 1 {
			t.Errorf("%s: %+v\ngot  %q\nwant %q", adapter, r, f.calls(), want)
		}
	}
	f := newFake(t)
	if r := f.run(t, "", "model", "add", "m", "--path", t.TempDir()); r.code != exitFailed || !strings.Contains(r.err, "has no file of a model") {
		t.Errorf("an empty folder: %+v", r)
	}
}

// The server that runs on the data directory here reads the same files; another one that
// the same key opens does not.
func TestAServerHereReadsTheFileItself(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mustWrite(t, dir, "w.gguf", "abc")
	f := newFake(t)
	f.on("POST /berth/v1/models", bare(api.Model{Name: "m"}))
	f.on("GET /berth/v1/models/m", refuse(403, "AccessDenied", "Access denied."))
	mustWrite(t, dir, "owner.key", "sk-owner\n")
	mustWrite(t, dir, "lock", "1\n"+f.URL+"\n")
	path := filepath.Join(dir, "w.gguf")
	r := run(t, "", map[string]string{"BERTH_DATA": dir}, "model", "add", "m", "--path", path)
	if want := `POST /berth/v1/models {"name":"m","path":"` + path + `"}`; r.code != exitDone || !slices.Equal(f.calls(), []string{want}) {
		t.Errorf("here: %+v, %q", r, f.calls())
	}
	mustWrite(t, dir, "lock", "1\nhttp://127.0.0.1:1\n")
	r = run(t, "", map[string]string{"BERTH_DATA": dir, "BERTH_URL": f.URL}, "model", "add", "m", "--path", path)
	if r.code != exitRefused || f.calls()[1] != "GET /berth/v1/models/m" {
		t.Errorf("elsewhere: %+v, %q", r, f.calls())
	}
}

// What the server would refuse after the last byte is refused before the first one.
func TestNothingIsSentForNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mustWrite(t, dir, "w.gguf", "abc")
	path := filepath.Join(dir, "w.gguf")
	for commandLine, want := range map[string]string{
		"model add m --path " + path:                  "the model name m is taken",
		"model add n --base nobody --adapter " + path: "Model: nobody not found!",
		"tune add nobody " + path:                     "Model: nobody not found!",
	} {
		f := newFake(t)
		f.on("GET /berth/v1/models/m", bare(api.Model{Name: "m"}))
		f.on("GET /berth/v1/models/nobody", refuse(404, "NotFound", "Model: nobody not found!"))
		r := f.run(t, "", strings.Fields(commandLine)...)
		if r.code == exitDone || !strings.Contains(r.err, want) || len(f.calls()) != 1 {
			t.Errorf("%s: %+v, %q", commandLine, r, f.calls())
		}
	}
}
