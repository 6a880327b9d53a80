package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/berthhq/berth/abacus"
	"github.com/berthhq/berth/api"
)

// Each .txt file in testdata is one story: a server is started with the configuration
// and the files at its head, then its blocks run one after the other.
//
//	# a remark
//	-- berth.yaml                      the configuration; {{dir}} is the folder of the
//	models: …                          files; {{base}} and {{words}} are Abacus's,
//	                                   {{foreign}} is an adapter for other weights
//	-- script.json                     any other file, also in a folder: a/b.json;
//	                                   {{abacus}} is the folder with Abacus's PEFT folders
//	{}
//	== a sentence that says what is shown
//	POST /api/v1/deployments           the request, with "until " before it: again and again
//	X-Header: value                    headers, "(none)" leaves one of the usual ones out
//	{"model_name":"plain"}             the body
//	-> 400 InvalidParameter            status and code of the answer, then in any order:
//	says Field required                a piece of its message
//	output.status = "PENDING"          a value of its JSON
//	output.deployed_model ~ ^plain-    or what it looks like
//	lacks output.model_unit_spec       a value that is not there
//	holds data: [DONE]                 a piece of an answer that is no JSON
//	header Retry-After = 5             a header; empty: it is not there; or with ~
//	let name = output.deployed_model   ${name} is this value from here on
//	deployments: 0                     how many there are, after this block and all later
//	held threads: 0                    ones until something else is said; likewise
//	models: 4                          the catalogue's; "any": nothing is said any more
//	keys: 2                            those that are not revoked
//
// ${owner} is the owner's key, ${stranger} the key of an admin of another workspace,
// ${away} that workspace's id, ${x * 60} a text of 60 letters x. Of every answer is checked what holds for all of
// them: the request id, the shape of errors, that no success has a code.
func TestScenarios(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	must(t, err)
	if len(files) == 0 {
		t.Fatal("no scenarios")
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			runScenarios(t, file)
		})
	}
}

// story is a parsed file.
type story struct {
	files  map[string]string
	blocks []block
}

type block struct {
	line         int
	sentence     string
	until        bool
	method, path string
	headers      []string
	body         string
	status       int
	code         string
	expect       []string
}

var headerLine = regexp.MustCompile(`^([A-Za-z][A-Za-z-]*): (.*)$`)

// parseStory reads a scenario file line by line.
func parseStory(t *testing.T, name string) story {
	t.Helper()
	text, err := os.ReadFile(name)
	must(t, err)
	s := story{files: map[string]string{}}
	file := ""
	for i, line := range strings.Split(string(text), "\n") {
		if sentence, ok := strings.CutPrefix(line, "== "); ok {
			s.blocks = append(s.blocks, block{line: i + 1, sentence: sentence})
			continue
		}
		if len(s.blocks) > 0 {
			if trimmed := strings.TrimSpace(line); trimmed != "" && trimmed[0] != '#' {
				if err := s.blocks[len(s.blocks)-1].read(line); err != nil {
					t.Fatalf("%s:%d: %v", name, i+1, err)
				}
			}
			continue
		}
		if title, ok := strings.CutPrefix(line, "-- "); ok {
			file = title
		} else if file != "" {
			s.files[file] += line + "\n"
		}
	}
	return s
}

func (b *block) read(line string) error {
	header := headerLine.FindStringSubmatch(line)
	switch {
	case b.method == "":
		line, b.until = strings.CutPrefix(line, "until ")
		method, path, ok := strings.Cut(line, " ")
		if !ok {
			return fmt.Errorf("%q is no request", line)
		}
		b.method, b.path = method, path
	case b.status > 0:
		b.expect = append(b.expect, strings.TrimSpace(line))
	case strings.HasPrefix(line, "-> "):
		status, code, _ := strings.Cut(line[len("-> "):], " ")
		var err error
		b.code = code
		b.status, err = strconv.Atoi(status)
		return err
	case header != nil && b.body == "":
		b.headers = append(b.headers, header[1], strings.TrimSuffix(header[2], "(none)"))
	default:
		b.body += line + "\n"
	}
	return nil
}

// teller runs a story.
type teller struct {
	*berth
	variables map[string]string
	state     map[string]int // what was said of the server's state
}

func runScenarios(t *testing.T, name string) {
	s := parseStory(t, name)
	dir := t.TempDir()
	adapters, err := filepath.Abs("../abacus")
	must(t, err)
	places := []string{"{{dir}}", dir, "{{abacus}}", adapters}
	if strings.Contains(fmt.Sprint(s), "{{base}}") {
		weights, err := abacus.Extract(dir)
		must(t, err)
		places = append(places, "{{base}}", weights.Base, "{{words}}", weights.Words, "{{foreign}}", foreignAdapter(t, weights.Words))
	}
	place := strings.NewReplacer(places...)
	for file, content := range s.files {
		must(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(file)), 0o700))
		must(t, os.WriteFile(filepath.Join(dir, file), []byte(place.Replace(content)), 0o600))
	}
	b := inProcess(t, place.Replace(s.files["berth.yaml"]))
	v := &teller{berth: b, variables: map[string]string{"owner": b.Key}, state: map[string]int{}}
	v.variables["away"], v.variables["stranger"] = b.withStranger(t)
	for _, block := range s.blocks {
		t.Run(block.sentence, func(t *testing.T) {
			block.body, block.path = place.Replace(block.body), place.Replace(block.path)
			for i := range block.expect {
				block.expect[i] = place.Replace(block.expect[i])
			}
			v.tell(t, block)
			if t.Failed() {
				t.Logf("%s:%d", name, block.line)
			}
		})
	}
}

func (v *teller) tell(t *testing.T, b block) {
	request := func() answer {
		headers := make([]string, len(b.headers))
		for i, h := range b.headers {
			headers[i] = v.expand(t, h)
		}
		return v.send(t, b.method, v.expand(t, b.path), v.expand(t, b.body), headers...)
	}
	got := request()
	if b.until {
		until(t, b.sentence, func() bool {
			got = request()
			return got.status == b.status && len(v.unmet(t, b, got)) == 0
		})
	}
	if got.status != b.status {
		t.Fatalf("status %d, want %d: %s", got.status, b.status, got.body)
	}
	for _, complaint := range append(manners(got), v.unmet(t, b, got)...) {
		t.Errorf("%s\nin %s", complaint, got.body)
	}
	for _, line := range b.expect {
		v.remember(t, line, got)
	}
	v.checkState(t)
}

// foreignAdapter makes an adapter whose header names another architecture.
func foreignAdapter(t *testing.T, adapter string) string {
	t.Helper()
	content, err := os.ReadFile(adapter)
	must(t, err)
	foreign := bytes.Replace(content, []byte("qwen3"), []byte("llama"), 1)
	if bytes.Equal(foreign, content) {
		t.Fatal("the adapter does not name its architecture")
	}
	path := filepath.Join(filepath.Dir(adapter), "foreign.gguf")
	must(t, os.WriteFile(path, foreign, 0o600))
	return path
}

// withStranger makes another workspace and returns its id and the key of an admin there.
func (b *berth) withStranger(t testing.TB) (workspace, key string) {
	t.Helper()
	w, err := b.CreateWorkspace(t.Context(), api.CreateWorkspace{Name: "stranger"})
	must(t, err)
	k, err := b.CreateKey(t.Context(), api.CreateKey{WorkspaceID: w.ID, Role: api.RoleAdmin, Name: "stranger"})
	must(t, err)
	return w.ID, k.Text
}

// expand puts variables and repeated letters in.
func (v *teller) expand(t *testing.T, text string) string {
	t.Helper()
	return variable.ReplaceAllStringFunc(text, func(found string) string {
		name := found[2 : len(found)-1]
		if letter, times, ok := strings.Cut(name, " * "); ok {
			n, err := strconv.Atoi(times)
			must(t, err)
			return strings.Repeat(letter, n)
		}
		value, ok := v.variables[name]
		if !ok {
			t.Fatalf("the variable %s was never set", name)
		}
		return value
	})
}

var variable = regexp.MustCompile(`\$\{[^}]+\}`)

// manners checks what holds for every answer.
func manners(got answer) (complaints []string) {
	wrong := func(format string, args ...any) { complaints = append(complaints, fmt.Sprintf(format, args...)) }
	id := got.header.Get("X-Request-Id")
	if id == "" {
		wrong("no x-request-id")
	}
	kind := got.header.Get("Content-Type")
	if strings.HasPrefix(kind, "text/event-stream") && got.status == http.StatusOK {
		return complaints
	}
	if plain := strings.HasPrefix(kind, "text/csv;") || strings.HasPrefix(kind, "text/html;"); plain && got.status == http.StatusOK {
		return complaints
	}
	var body map[string]any
	if kind != "application/json" || json.Unmarshal([]byte(got.body), &body) != nil { // conformance 7
		wrong("the answer is %s and no JSON object", kind)
		return complaints
	}
	if inBody, ok := body["request_id"]; ok && inBody != id { // conformance 142
		wrong("request_id is %v, x-request-id %s", inBody, id)
	}
	if got.status == http.StatusOK {
		if code, _ := body["code"].(string); code != "" { // conformance 6, 140
			wrong("a success has the code %s", code)
		}
		return complaints
	}
	inner := body
	if nested, ok := body["error"].(map[string]any); ok { // conformance 3
		inner = nested
		for _, member := range []string{"type", "param"} {
			if _, ok := nested[member]; !ok {
				wrong("the error has no %s", member)
			}
		}
	}
	for _, member := range []string{"code", "message"} { // conformance 5
		if text, _ := inner[member].(string); text == "" {
			wrong("the error has no %s", member)
		}
	}
	if _, ok := body["request_id"]; !ok {
		wrong("the error has no request_id")
	}
	if _, ok := body["output"]; ok {
		wrong("the error has an output")
	}
	if got.status == http.StatusConflict && got.header.Get("X-Should-Retry") != "false" { // conformance 143
		wrong("a conflict without x-should-retry: false")
	}
	return complaints
}

// unmet returns which expectations the answer does not meet.
func (v *teller) unmet(t *testing.T, b block, got answer) (complaints []string) {
	wrong := func(format string, args ...any) { complaints = append(complaints, fmt.Sprintf(format, args...)) }
	var body any
	_ = json.Unmarshal([]byte(got.body), &body) // manners looks at it
	code, message := errorOf(body)
	if code != b.code {
		wrong("the code is %q, want %q", code, b.code)
	}
	for _, line := range b.expect {
		line = v.expand(t, line)
		word, rest, _ := strings.Cut(line, " ")
		path, want, equal := strings.Cut(line, " = ")
		look, pattern, matches := strings.Cut(line, " ~ ")
		switch {
		case word == "says":
			if !strings.Contains(message, rest) {
				wrong("the message does not say %q", rest)
			}
		case word == "holds":
			if !strings.Contains(got.body, rest) {
				wrong("the answer does not hold %q", rest)
			}
		case word == "lacks":
			if _, ok := at(body, rest); ok {
				wrong("%s is there", rest)
			}
		case word == "header":
			name, value, exact := strings.Cut(rest, " =")
			if !exact {
				name, value, _ = strings.Cut(rest, " ~ ")
			}
			have := got.header.Get(name)
			if exact && have != strings.TrimSpace(value) || !exact && !regexp.MustCompile(value).MatchString(have) {
				wrong("the header %s is %q", name, have)
			}
		case word == "let", stateLine.MatchString(line):
		case equal:
			var value any
			if err := json.Unmarshal([]byte(want), &value); err != nil {
				wrong("%s is no JSON value: %v", want, err)
			}
			if have, _ := at(body, path); !reflect.DeepEqual(have, value) {
				wrong("%s is %v, want %s", path, have, want)
			}
		case matches:
			if have, _ := at(body, look); !regexp.MustCompile(pattern).MatchString(fmt.Sprint(have)) {
				wrong("%s is %v, which is not like %s", look, have, pattern)
			}
		default:
			wrong("%q is no expectation", line)
		}
	}
	return complaints
}

// errorOf finds code and message in either dialect's error.
func errorOf(body any) (code, message string) {
	members, _ := body.(map[string]any)
	if nested, ok := members["error"].(map[string]any); ok && nested["code"] != nil {
		members = nested // OpenAI's; Anthropic's has the native one beside it
	}
	code, _ = members["code"].(string)
	message, _ = members["message"].(string)
	return code, message
}

// at finds a value by its path, such as output.models.0.plans.
func at(body any, path string) (any, bool) {
	for step := range strings.SplitSeq(path, ".") {
		switch inner := body.(type) {
		case map[string]any:
			next, ok := inner[step]
			if !ok {
				return nil, false
			}
			body = next
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i >= len(inner) {
				return nil, false
			}
			body = inner[i]
		default:
			return nil, false
		}
	}
	return body, true
}

var stateLine = regexp.MustCompile(`^(deployments|held threads|models|keys): (?:\d+|any)$`)

// remember takes variables, and what is said of the server's state.
func (v *teller) remember(t *testing.T, line string, got answer) {
	t.Helper()
	if stateLine.MatchString(line) {
		what, number, _ := strings.Cut(line, ": ")
		if number == "any" {
			delete(v.state, what)
			return
		}
		n, err := strconv.Atoi(number)
		must(t, err)
		v.state[what] = n
	}
	if rest, ok := strings.CutPrefix(line, "let "); ok {
		name, path, _ := strings.Cut(rest, " = ")
		var body any
		_ = json.Unmarshal([]byte(got.body), &body)
		value, ok := at(body, path)
		if !ok {
			t.Fatalf("%s is not in %s", path, got.body)
		}
		v.variables[name] = fmt.Sprint(value)
	}
}

// checkState compares the server with what was said of it.
func (v *teller) checkState(t *testing.T) {
	t.Helper()
	for what, want := range v.state {
		if have := v.count(t, what); have != want {
			t.Errorf("%s: %d, want %d", what, have, want)
		}
	}
}

func (v *teller) count(t *testing.T, what string) int {
	t.Helper()
	switch what {
	case "deployments":
		list, err := v.ListDeployments(t.Context(), 1, 1, "")
		must(t, err)
		return int(list.Total)
	case "models":
		list, err := v.ListModels(t.Context())
		must(t, err)
		return len(list)
	case "keys":
		list, err := v.ListKeys(t.Context())
		must(t, err)
		live := 0
		for _, k := range list {
			if k.RevokedAt.IsZero() {
				live++
			}
		}
		return live
	}
	return int(v.heldThreads(t))
}
