package config

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

func TestWhatIsRefusedAndWithWhichSentence(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		file  string
		env   []string
		flags map[string]string
		want  string // without the folder of berth.yaml
	}{
		"an unknown key is answered with the nearest sibling": {
			file: "node:\n  thread: 1\n",
			want: "berth.yaml:2: unknown key node.thread; did you mean node.threads?",
		},
		"an unknown key at the top": {
			file: "listn: 127.0.0.1:1\n",
			want: "berth.yaml:1: unknown key listn; did you mean listen?",
		},
		"a key in the wrong section is answered with the right one": {
			file: "orphan_timeout: 2m\n",
			want: "berth.yaml:1: unknown key orphan_timeout; did you mean engines.orphan_timeout?",
		},
		"an unknown key that resembles nothing": {
			file: "quite_another: 1\n",
			want: "berth.yaml:1: unknown key quite_another",
		},
		"an unknown key of a model": {
			file: "models:\n  m:\n    pth: x\n",
			want: "berth.yaml:3: unknown key models.m.pth; did you mean models.m.path?",
		},
		"an unknown key by flag": {
			flags: map[string]string{"log.leve": "debug"},
			want:  "flag --log-leve: unknown key log.leve; did you mean log.level?",
		},
		"a number out of range": {
			file: "limits: {calls: 0}\n",
			want: "berth.yaml:1: limits.calls is 0, but must be a whole number from 1 to 1048576",
		},
		"text in place of a number": {
			file: "node: {threads: many}\n",
			want: "berth.yaml:1: node.threads is many, but must be a whole number from 1 to 65536",
		},
		"a mapping in place of a number": {
			file: "node: {threads: {a: 1}}\n",
			want: "berth.yaml:1: node.threads must be a whole number from 1 to 65536, not a mapping",
		},
		"a size with a wrong unit, by environment": {
			env:  []string{"BERTH_LIMITS_BODY=8XiB"},
			want: "env BERTH_LIMITS_BODY: limits.body is 8XiB, but must be a size such as 256MiB from 1KiB to 1GiB",
		},
		"a duration without unit": {
			file: "limits: {call: 30}\n",
			want: "berth.yaml:1: limits.call is 30, but must be a duration such as 90s or 2m from 1s to 24h",
		},
		"a word that is none of the allowed ones": {
			file: "log: {level: loud}\n",
			want: "berth.yaml:1: log.level is loud, but must be one of debug, info, warn, error",
		},
		"a plan that does not exist": {
			file: "models: {m: {path: x, plans: [mu, cu]}}\n",
			want: "berth.yaml:1: models.m.plans is cu, but must be one of ptu, mu, lora",
		},
		"neither true nor false": {
			file: "insecure: perhaps\n",
			want: "berth.yaml:1: insecure is perhaps, but must be true or false",
		},
		"an address in place of a range": {
			file: "endpoints: {allow: [10.0.0.1]}\n",
			want: "berth.yaml:1: endpoints.allow is 10.0.0.1, but must be a range of addresses such as 10.0.0.0/8",
		},
		"plain text in place of a list": {
			file: "engines: {llamacpp: {command: llama-server}}\n",
			want: "berth.yaml:1: engines.llamacpp.command must be a list such as [a, b], not a plain value",
		},
		"a list in place of a mapping": {
			file: "node: [1]\n",
			want: "berth.yaml:1: node must be a mapping of keys to values, not a list",
		},
		"a list at the top": {
			file: "- a\n",
			want: "berth.yaml:1: the configuration must be a mapping of keys to values, not a list",
		},
		"a name with a slash": {
			file: "specs: {a/b: {threads: 1}}\n",
			want: `berth.yaml:1: specs has an entry named "a/b"; a name is 1 to 120 letters, digits, '.', '_' and '-', and starts with a letter or digit`,
		},
		"an anchor": {
			file: "data: &a x\nlisten: *a\n",
			want: "berth.yaml:1: data must be text, not a YAML anchor (write the value out)\nberth.yaml:2: listen must be text, not a YAML anchor (write the value out)",
		},
		"a second document": {
			file: "data: x\n---\ndata: y\n",
			want: "berth.yaml:3: a second document begins here; there may be only one",
		},
		"a key that stands twice": {
			file: "data: x\ndata: y\n",
			want: `berth.yaml:2: this is not YAML: mapping key "data" already defined at [1:1]`,
		},
		"plain HTTP beyond loopback": {
			flags: map[string]string{"listen": "0.0.0.0:7700"},
			want:  "flag --listen: listen is 0.0.0.0:7700, but plain HTTP is served on loopback addresses only; put a TLS proxy in front, or allow it with insecure: true",
		},
		"a listen address without port": {
			file: "listen: localhost\n",
			want: "berth.yaml:1: listen is localhost, but must be host:port with a port from 0 to 65535",
		},
		"a store of another kind, without its password": {
			file: "store: mysql://u:secret@h/d\n",
			want: "berth.yaml:1: store must be sqlite or postgres://user:password@host/database",
		},
		"a currency that is none": {
			file: "billing: {currency: yuan}\n",
			want: "berth.yaml:1: billing.currency is yuan, but must be three capital letters such as CNY",
		},
		"a time zone that is none": {
			file: "billing: {time_zone: Asia/Atlantis}\n",
			want: "berth.yaml:1: billing.time_zone is Asia/Atlantis, but must be a place such as Asia/Shanghai, or UTC",
		},
		"a spec without memory": {
			file: "specs:\n  S:\n    threads: 1\n",
			want: "berth.yaml:2: specs.S.memory is missing; say how much memory one unit has, such as 256MiB",
		},
		"a model of no kind": {
			file: "models: {m: {plans: [mu]}}\n",
			want: "berth.yaml:1: models.m must have a path (weights), a base and an adapter, or a url (endpoint)",
		},
		"an adapter with weights": {
			file: "models: {m: {base: b, adapter: a, path: p}}\n",
			want: "berth.yaml:1: models.m must have base and adapter together, and neither path nor url with them",
		},
		"an adapter with an engine": {
			file: "models: {m: {base: b, adapter: a, engine: vllm}}\n",
			want: "berth.yaml:1: models.m.engine is vllm, but an adapter runs on its base's engine; leave it out",
		},
		"an endpoint with a path": {
			file: "models: {m: {path: p, url: 'https://h'}}\n",
			want: "berth.yaml:1: models.m has a url, so it must have no path and no engine but endpoint",
		},
		"an endpoint with a password in its address": {
			file: "models: {m: {url: 'https://u:secret@h'}}\n",
			want: "berth.yaml:1: models.m.url must hold neither user, password nor query; put the key into key_file",
		},
		"a key file without endpoint": {
			file: "models: {m: {path: p, key_file: k}}\n",
			want: "berth.yaml:1: models.m.key_file is for endpoints only; give a url too, or leave it out",
		},
		"a remote name without endpoint": {
			file: "models: {m: {path: p, remote_name: k}}\n",
			want: "berth.yaml:1: models.m.remote_name is for endpoints only; give a url too, or leave it out",
		},
		"a model on a spec that is not there": {
			file: "models: {m: {path: p, specs: {MU2: {}}}}\n",
			want: "berth.yaml:1: models.m.specs.MU2 names the spec MU2, but must name one of MU1",
		},
		"a pool on a spec that is not there": {
			file: "models: {m: {path: p, pool: {spec: MU2}}}\n",
			want: "berth.yaml:1: models.m.pool.spec names the spec MU2, but must name one of MU1",
		},
		"a pool of more at least than at most": {
			file: "models: {m: {path: p, pool: {min: 3, max: 2}}}\n",
			want: "berth.yaml:1: models.m.pool.max is 2, but must be at least min, which is 3",
		},
		"half a calibration": {
			file: "models: {m: {path: p, calibration: {input_tpm: 1}}}\n",
			want: "berth.yaml:1: models.m.calibration needs both input_tpm and output_tpm, as carried at the same time",
		},
		"factors that are none, and lengths": {
			file: "models: {m: {path: p, ptu: {cache_factor: 0.1255, max_input: 32K, long_input: {8: {input: 0.5}}}}}\n",
			want: "berth.yaml:1: models.m.ptu.cache_factor is 0.1255, but must be a number of at most three decimals such as 0.125 from 0.001 to 1\n" +
				"berth.yaml:1: models.m.ptu.max_input is 32K, but must be a whole number from 1 to 1048576\n" +
				"berth.yaml:1: models.m.ptu.long_input.8.input is 0.5, but must be a number of at most three decimals such as 0.125 from 1 to 16",
		},
		"a long input that counts less, and one that is no number": {
			file: "models: {m: {path: p, ptu: {long_input: {9: {input: 1.5}, 10: {output: 2}, 08: {}}}}}\n",
			want: "berth.yaml:1: models.m.ptu.long_input.08 must be a number of tokens from 1 to 1048576, beyond which an input is long\n" +
				"berth.yaml:1: models.m.ptu.long_input.10 has a smaller factor than models.m.ptu.long_input.9; longer inputs must not count less",
		},
		"an import store without path": {
			file: "imports: {stores: {s: {workspaces: [w]}}}\n",
			want: "berth.yaml:1: imports.stores.s has no path; give a folder or s3://bucket",
		},
		"a folder with an endpoint": {
			file: "imports: {stores: {s: {path: /a, region: r}}}\n",
			want: "berth.yaml:1: imports.stores.s is a folder, so endpoint, region and credentials mean nothing; leave them out",
		},
		"another kind of store": {
			file: "imports: {stores: {s: 'ftp://a'}}\n",
			want: "berth.yaml:1: imports.stores.s.path must be a folder or s3://bucket",
		},
		"half a pair of keys": {
			file: "imports: {stores: {s: {path: 's3://a', access_key: k}}}\n",
			want: "berth.yaml:1: imports.stores.s needs access_key and secret_key together",
		},
		"two kinds of credentials": {
			file: "imports: {stores: {s: {path: 's3://a', access_key: k, secret_key: k, credentials_file: f}}}\n",
			want: "berth.yaml:1: imports.stores.s has keys and a credentials_file; leave one out",
		},
		"an endpoint with more than an address": {
			file: "imports: {stores: {s: {path: 's3://a', endpoint: 'https://u:secret@h'}}}\n",
			want: "berth.yaml:1: imports.stores.s.endpoint must be an address such as https://s3.example.com, and nothing behind it",
		},
		"a variable that means two keys": {
			file: "specs:\n  a.b: {threads: 1, memory: 1MiB}\n  a-b: {threads: 1, memory: 1MiB}\n",
			env:  []string{"BERTH_SPECS_A_B_THREADS=2"},
			want: "env BERTH_SPECS_A_B_THREADS: it means both specs.a.b.threads and specs.a-b.threads; set them in the file",
		},
		"every problem is told, not only the first": {
			file: "lisen: x\nlog: {level: loud}\n",
			want: "berth.yaml:1: unknown key lisen; did you mean listen?\nberth.yaml:2: log.level is loud, but must be one of debug, info, warn, error",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			src := Source{Env: tt.env, Flags: tt.flags}
			if tt.file != "" {
				src.File = write(t, tt.file)
			}
			_, err := Load(src)
			if err == nil {
				t.Fatal("loaded")
			}
			got := strings.ReplaceAll(err.Error(), filepath.Dir(src.File)+"/", "")
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestAFileThatIsMissingOrTooLargeIsRefused(t *testing.T) {
	t.Parallel()
	if _, err := Load(Source{File: filepath.Join(t.TempDir(), "none.yaml")}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	large := write(t, strings.Repeat("#", fileMax+1))
	if _, err := Load(Source{File: large}); err == nil || !strings.HasSuffix(err.Error(), "is larger than 1MiB") {
		t.Errorf("too large: %v", err)
	}
}
