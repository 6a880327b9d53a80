package fakeengine

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// The endpoints of this file look at the engine or count for the caller. They are
// no calls: they are not numbered, no fault strikes them, no slot is needed.

func (e *Engine) serveModels(w http.ResponseWriter, _ *http.Request) {
	type model struct {
		ID      string `json:"id"`
		Object  string `json:"object"`
		Created int64  `json:"created"`
		OwnedBy string `json:"owned_by"`
	}
	writeJSON(w, http.StatusOK, struct {
		Object string  `json:"object"`
		Data   []model `json:"data"`
	}{"list", []model{{e.script.model(), "model", e.now().Unix(), "fakeengine"}}})
}

// serveInputTokens answers how many prompt tokens a chat would be counted for.
func (e *Engine) serveInputTokens(w http.ResponseWriter, r *http.Request) {
	asked, ok := readRequest(w, r)
	if !ok {
		return
	}
	n := e.script.promptRule().count(asked.allTexts(), len(asked.Messages))
	writeJSON(w, http.StatusOK, map[string]int{"input_tokens": n})
}

// serveTokenize takes a text ("content" as for llama.cpp, "prompt" as for vLLM) or
// messages. count is by the script's rule; tokens are the ids of the words.
func (e *Engine) serveTokenize(w http.ResponseWriter, r *http.Request) {
	asked, ok := readRequest(w, r)
	if !ok {
		return
	}
	all := asked.allTexts()
	tokens := []int{}
	for _, text := range all {
		for word := range strings.FieldsSeq(text) {
			tokens = append(tokens, tokenID(word))
		}
	}
	writeJSON(w, http.StatusOK, struct {
		Count       int   `json:"count"`
		MaxModelLen int   `json:"max_model_len"` // 0: no bound
		Tokens      []int `json:"tokens"`
	}{e.script.promptRule().count(all, len(asked.Messages)), e.script.ContextTokens, tokens})
}

func readRequest(w http.ResponseWriter, r *http.Request) (asked request, ok bool) {
	body, ok := readBody(w, r)
	if !ok {
		return asked, false
	}
	if err := json.Unmarshal(body, &asked); err != nil {
		writeError(w, http.StatusBadRequest, "invalid_request_error", err.Error())
		return asked, false
	}
	return asked, true
}

// serveMetrics speaks llama.cpp's names, where the prompt counter leaves cached
// tokens out.
func (e *Engine) serveMetrics(w http.ResponseWriter, _ *http.Request) {
	stats := e.Stats()
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	for _, m := range []struct {
		name, kind, help string
		value            int64
	}{
		{"prompt_tokens_total", "counter", "Prompt tokens read, without cached ones.", stats.PromptTokens - stats.CachedTokens},
		{"prompt_tokens_cached_total", "counter", "Prompt tokens taken from the cache.", stats.CachedTokens},
		{"tokens_predicted_total", "counter", "Tokens produced.", stats.OutputTokens},
		{"requests_processing", "gauge", "Calls that have a slot.", int64(stats.Running())},
		{"requests_deferred", "gauge", "Calls that wait for a slot.", int64(stats.Waiting)},
	} {
		fmt.Fprintf(w, "# HELP llamacpp:%[1]s %[2]s\n# TYPE llamacpp:%[1]s %[3]s\nllamacpp:%[1]s %[4]d\n",
			m.name, m.help, m.kind, m.value)
	}
}

// serveSlots lists the slots of the script, the busy ones first. Without a bound
// there are as many as calls that run, and a free one.
func (e *Engine) serveSlots(w http.ResponseWriter, _ *http.Request) {
	type slot struct {
		ID            int  `json:"id"`
		ContextTokens int  `json:"n_ctx"` // 0: no bound
		IsProcessing  bool `json:"is_processing"`
	}
	running := e.Stats().Running()
	total := e.script.Slots
	if total == 0 {
		total = running + 1
	}
	slots := make([]slot, total)
	for i := range slots {
		slots[i] = slot{ID: i, ContextTokens: e.script.ContextTokens, IsProcessing: i < running}
	}
	writeJSON(w, http.StatusOK, slots)
}
