package test

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/berthhq/berth/api"
)

// importYAML is Abacus with the given stores.
func importYAML(t testing.TB, stores string) string {
	t.Helper()
	return abacusYAML(t) + "\nimports:\n  stores: {" + stores + "}\n"
}

func adaptersDir(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs("../abacus")
	must(t, err)
	return dir
}

// imported runs a job to its end, which must be a success.
func (b *berth) imported(t testing.TB, store, folder string) api.Import {
	t.Helper()
	job, err := b.CreateImport(t.Context(), api.CreateImport{
		ModelName: "abacus", Source: api.SourceOSS, WeightType: api.WeightsLoRA,
		StorageInfo: api.StorageInfo{BucketName: store, ObjectKey: folder},
	})
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	job, err = b.WaitImport(ctx, job.JobID, nil)
	must(t, err)
	if job.Status != api.ImportSucceeded {
		t.Fatalf("the import is %s: %s", job.Status, job.ErrorCode)
	}
	return job
}

// Adapters as PEFT writes them, converted on their way in, answer on the real llama.cpp
// as the ones that its own script converted.
func TestImportedAdaptersAnswerOnLlamaCpp(t *testing.T) {
	t.Parallel()
	b := withProcesses(t, importYAML(t, "bucket1: "+adaptersDir(t)))
	for folder, want := range map[string]string{"abacus-words-lora-peft/": "The answer is 122.", "abacus-shout-lora-peft/": "122!!!"} {
		job := b.imported(t, "bucket1", folder)
		// conformance 125
		d := b.running(t, api.CreateDeployment{ModelName: job.ModelName, Plan: api.PlanLoRA, Capacity: ptr(int64(1))})
		if got := b.ask(t, d.DeployedModel, "37+85"); got.Text != want {
			t.Errorf("%s answers %q, want %q", folder, got.Text, want)
		}
	}
}

// A copy on the shelf that somebody changes is found when an engine is started on it.
func TestAnImportedFileThatChangedIsNotServed(t *testing.T) {
	t.Parallel()
	b := withProcesses(t, importYAML(t, "bucket1: "+adaptersDir(t)))
	job := b.imported(t, "bucket1", "abacus-words-lora-peft/")
	path := modelPath(t, b, job.ModelName)
	content, err := os.ReadFile(path)
	must(t, err)
	content[len(content)-1] ^= 1
	must(t, os.WriteFile(path, content, 0o600))
	d := b.deploy(t, api.CreateDeployment{ModelName: job.ModelName, Plan: api.PlanLoRA, Capacity: ptr(int64(1))})
	if d.Status != api.StatusFailed || !strings.Contains(d.FailReason, "has changed since it was added") {
		t.Errorf("it is %s: %s", d.Status, d.FailReason)
	}
}

// A job that was under way when the server stopped is still RUNNING afterwards and comes
// to its end; nothing of the first try is left.
func TestAnImportSurvivesARestart(t *testing.T) {
	t.Parallel()
	later := filepath.Join(t.TempDir(), "later")
	b := inProcess(t, importYAML(t, "later: "+later))
	job, err := b.CreateImport(t.Context(), api.CreateImport{
		ModelName: "abacus", Source: api.SourceOSS, WeightType: api.WeightsLoRA,
		StorageInfo: api.StorageInfo{BucketName: "later", ObjectKey: "abacus-words-lora-peft/"},
	})
	must(t, err)
	until(t, "the job is running", func() bool {
		now, err := b.GetImport(t.Context(), job.JobID)
		must(t, err)
		return now.Status == api.ImportRunning
	})
	b.stop()
	// What a kill would have left.
	models := filepath.Join(b.dir, "data", "models")
	for _, left := range []string{"arriving/imp_lost", "imported/imp_lost"} {
		must(t, os.MkdirAll(filepath.Join(models, left), 0o700))
	}
	must(t, os.CopyFS(later, os.DirFS(adaptersDir(t))))

	b = b.restart(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	end, err := b.WaitImport(ctx, job.JobID, func(i api.Import) {
		if i.Status == api.ImportPending {
			t.Errorf("the job went back to %s", i.Status)
		}
	})
	must(t, err)
	if end.Status != api.ImportSucceeded {
		t.Errorf("it ended as %+v", end)
	}
	if got := tree(t, models); got != "imported/"+job.JobID+"/adapter.gguf" {
		t.Errorf("the data directory has %s", got)
	}
}

// tree lists the files below a folder.
func tree(t testing.TB, dir string) string {
	t.Helper()
	var files []string
	must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && (!e.IsDir() || strings.HasSuffix(path, "imp_lost")) {
			below, _ := filepath.Rel(dir, path)
			files = append(files, below)
		}
		return err
	}))
	return strings.Join(files, " ")
}

// The S3 gateway of the tests; .ci/tools test installs it.
const (
	gatewayBinary = "../.cache/bin/versitygw"
	gatewayKey    = "berth-test"
	gatewaySecret = "not-so-secret-0123456789"
)

// s3Server starts a real S3 server on a fresh folder and returns its address and a client.
func s3Server(t testing.TB) (string, *minio.Client) {
	t.Helper()
	binary, err := filepath.Abs(gatewayBinary)
	must(t, err)
	if _, err := os.Stat(binary); err != nil {
		t.Fatalf("%s is missing; install it with: .ci/tools test", gatewayBinary)
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	address := listener.Addr().String()
	must(t, listener.Close())
	var output safeBuffer
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, binary, "--access", gatewayKey, "--secret", gatewaySecret, "--port", address,
		"posix", "--sidecar", t.TempDir(), t.TempDir())
	cmd.Stdout, cmd.Stderr = &output, &output
	must(t, cmd.Start())
	transport := &http.Transport{}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		cancel()
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Logf("versitygw:\n%s", output.String())
		}
	})
	client, err := minio.New(address, &minio.Options{
		Creds: credentials.NewStaticV4(gatewayKey, gatewaySecret, ""), Transport: transport, MaxRetries: 1,
	})
	must(t, err)
	until(t, "versitygw answers", func() bool {
		_, err := client.ListBuckets(t.Context())
		return err == nil
	})
	return address, client
}

// put copies a folder into a bucket.
func put(t testing.TB, client *minio.Client, bucket, prefix, folder string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	must(t, err)
	for _, e := range entries {
		_, err := client.FPutObject(t.Context(), bucket, prefix+e.Name(), filepath.Join(folder, e.Name()), minio.PutObjectOptions{})
		must(t, err)
	}
}

// objects lists a bucket with what would show a change.
func objects(t testing.TB, client *minio.Client, bucket string) string {
	t.Helper()
	var all []string
	for o := range client.ListObjectsIter(t.Context(), bucket, minio.ListObjectsOptions{Recursive: true}) {
		must(t, o.Err)
		all = append(all, fmt.Sprint(o.Key, o.Size, o.ETag, o.LastModified))
	}
	return strings.Join(all, "\n")
}

func TestImportsFromS3(t *testing.T) {
	t.Parallel()
	address, client := s3Server(t)
	must(t, client.MakeBucket(t.Context(), "models", minio.MakeBucketOptions{}))
	put(t, client, "models", "adapters/words/", filepath.Join(adaptersDir(t), "abacus-words-lora-peft"))
	put(t, client, "models", "elsewhere/words/", filepath.Join(adaptersDir(t), "abacus-words-lora-peft"))
	before := objects(t, client, "models")
	credentialsFile := filepath.Join(t.TempDir(), "s3.credentials")
	must(t, os.WriteFile(credentialsFile, []byte("[default]\naws_access_key_id = "+gatewayKey+"\naws_secret_access_key = "+gatewaySecret+"\n"), 0o600))
	store := func(path, rest string) string {
		return fmt.Sprintf("{path: %q, endpoint: %q, %s}", path, "http://"+address, rest)
	}
	keys := "access_key: " + gatewayKey + ", secret_key: " + gatewaySecret
	b := inProcess(t, importYAML(t, "keys: "+store("s3://models/adapters", keys)+
		", file: "+store("s3://models", "credentials_file: "+credentialsFile)+
		", wrong: "+store("s3://models", "access_key: "+gatewayKey+", secret_key: wrong-secret-of-ours")+
		", nowhere: "+store("s3://nowhere", keys)))

	t.Run("with keys, and a folder of the bucket as root", func(t *testing.T) {
		job := b.imported(t, "keys", "words/")
		m, err := b.GetModel(t.Context(), job.ModelName)
		must(t, err)
		if m.Architecture != "qwen3" || m.SizeBytes == 0 {
			t.Errorf("it became %+v", m)
		}
		if _, err := b.DeleteImport(t.Context(), job.JobID); err != nil {
			t.Errorf("delete: %v", err)
		}
		if left := tree(t, filepath.Join(b.dir, "data", "models")); left != "" {
			t.Errorf("left is %s", left)
		}
	})
	t.Run("with a file of credentials", func(t *testing.T) { b.imported(t, "file", "elsewhere/words/") })

	for name, c := range map[string]struct{ store, folder, want string }{
		"the root is not left":  {"keys", "elsewhere/words/", "AvailableModelFileNotFound: There are no files under elsewhere/words/"},
		"an empty folder":       {"file", "adapters/", "AvailableModelFileNotFound: There are no files under adapters/"},
		"a wrong secret":        {"wrong", "adapters/words/", "The store refuses Berth's credentials for adapters/words/; ask the server's owner to check them."},
		"a bucket that is none": {"nowhere", "words/", "The store has no bucket of the configured name; ask the server's owner to check imports.stores."},
	} {
		t.Run(name, func(t *testing.T) {
			job, err := b.CreateImport(t.Context(), api.CreateImport{
				ModelName: "abacus", Source: api.SourceOSS, WeightType: api.WeightsLoRA,
				StorageInfo: api.StorageInfo{BucketName: c.store, ObjectKey: c.folder},
			})
			must(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			job, err = b.WaitImport(ctx, job.JobID, nil)
			must(t, err)
			if job.Status != api.ImportFailed || !strings.HasPrefix(job.ErrorCode, c.want) {
				t.Errorf("it is %s: %s", job.Status, job.ErrorCode)
			}
		})
	}
	if after := objects(t, client, "models"); after != before {
		t.Errorf("the source changed:\n%s\nwas\n%s", after, before)
	}
	for _, secret := range []string{gatewaySecret, "wrong-secret-of-ours"} {
		if strings.Contains(b.log.String(), secret) {
			t.Error("a secret is in the log")
		}
	}
}
