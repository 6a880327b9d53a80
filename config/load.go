package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// Source is where Load reads from. Later ones win: file, environment, flags.
type Source struct {
	File  string            // "" for none
	Env   []string          // "NAME=value" as os.Environ gives them; empty values count as absent
	Flags map[string]string // dotted key to value, such as "log.level" to "debug"
}

// fileMax bounds the configuration file, in bytes.
const fileMax = 1 << 20

// Load reads, merges and checks everything; the wiring calls it once at the start.
// Mappings are merged key by key, lists are replaced. Relative names of files in the
// file are relative to its folder, all others to the working directory.
// An error has one line for each problem, each naming place, key, value and what is
// allowed.
func Load(src Source) (Config, error) {
	if src.File == "" {
		return load("", nil, src)
	}
	f, err := os.Open(src.File)
	if err != nil {
		return Config{}, fmt.Errorf("read the configuration: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, fileMax+1))
	if err != nil {
		return Config{}, fmt.Errorf("read the configuration: %w", err)
	}
	if len(text) > fileMax {
		return Config{}, fmt.Errorf("the configuration %s is larger than %s", src.File, formatSize(fileMax))
	}
	return load(src.File, text, src)
}

// load is Load after the file has been read.
func load(name string, text []byte, src Source) (Config, error) {
	var cfg Config
	b := &binder{origins: map[string]origin{}}
	root, rootField := reflect.ValueOf(&cfg).Elem(), field{}
	b.defaults(root)
	if len(bytes.TrimSpace(text)) > 0 {
		place := source{file: name, dir: filepath.Dir(name)}
		if tree := b.parse(text, place); tree != nil {
			b.node(root, rootField, "", tree, place)
		}
	}
	b.environment(root, src.Env)
	b.flags(root, src.Flags)
	if len(cfg.Specs) == 0 {
		cfg.Specs = []Spec{defaultSpec}
	}
	b.paths(root)
	if len(b.problems) == 0 {
		b.validate(&cfg)
	}
	if len(b.problems) > 0 {
		return Config{}, errors.Join(b.problems...)
	}
	cfg.origins = b.origins
	return cfg, nil
}

// environment applies BERTH_… variables.
func (b *binder) environment(root reflect.Value, env []string) {
	values := map[string]string{}
	for _, pair := range env {
		if name, value, ok := strings.Cut(pair, "="); ok && value != "" && strings.HasPrefix(name, "BERTH_") {
			values[name] = value
		}
	}
	owner := map[string]string{}
	each(root, field{}, "", func(v reflect.Value, f field, key string) {
		name := envName(key)
		value, ok := values[name]
		if !ok {
			return
		}
		place := source{fixed: "env " + name}
		if first := owner[name]; first != "" {
			b.problem(place.at(nil), "it means both %s and %s; set them in the file", first, key)
			return
		}
		owner[name] = key
		b.text(v, f, key, value, place)
	})
}

// envName returns the environment variable of a dotted key.
func envName(key string) string {
	return "BERTH_" + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(key))
}

// flags applies the flags of the command line, by dotted key.
func (b *binder) flags(root reflect.Value, flags map[string]string) {
	known := map[string]bool{}
	each(root, field{}, "", func(v reflect.Value, f field, key string) {
		known[key] = true
		if value, ok := flags[key]; ok {
			b.text(v, f, key, value, flagSource(key))
		}
	})
	for _, key := range slices.Sorted(maps.Keys(flags)) {
		if !known[key] {
			b.unknown(flagSource(key).at(nil), key, slices.Sorted(maps.Keys(known)))
		}
	}
}

func flagSource(key string) source {
	return source{fixed: "flag --" + strings.NewReplacer(".", "-", "_", "-").Replace(key)}
}

// paths makes the names of files usable from the working directory.
func (b *binder) paths(root reflect.Value) {
	each(root, field{}, "", func(v reflect.Value, f field, key string) {
		if f.unit != "path" || v.String() == "" || strings.Contains(v.String(), "://") {
			return
		}
		from, name := b.origins[key], v.String()
		if rest, ok := strings.CutPrefix(name, "~/"); ok {
			home, err := os.UserHomeDir()
			if err != nil {
				b.problem(from, "%s is %s, but there is no home directory; give a full path", key, name)
				return
			}
			name = filepath.Join(home, rest)
		} else if !filepath.IsAbs(name) {
			name = filepath.Join(from.dir, name)
		}
		v.SetString(filepath.Clean(name))
	})
}
