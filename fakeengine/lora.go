package fakeengine

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// shelf has the names of the adapters that calls may name as their model.
type shelf struct{ names sync.Map }

// adapterPrefix begins the names by which Berth calls adapters. Any other name of a
// model is as good as the next.
const adapterPrefix = "berth-adapter-"

// lacks reports whether a call names an adapter that the engine does not have.
func (s *shelf) lacks(model string) bool {
	_, there := s.names.Load(model)
	return !there && strings.HasPrefix(model, adapterPrefix)
}

// loraRequest is the body of vLLM's two paths for adapters of a running engine.
type loraRequest struct {
	Name string `json:"lora_name"`
	Path string `json:"lora_path"`
}

// serveLoad takes an adapter; its files are not read.
func (e *Engine) serveLoad(w http.ResponseWriter, r *http.Request) {
	var asked loraRequest
	switch err := json.NewDecoder(r.Body).Decode(&asked); {
	case err != nil || asked.Name == "" || asked.Path == "":
		writeError(w, http.StatusBadRequest, "InvalidUserInput", "Both 'lora_name' and 'lora_path' must be provided.")
	case slices.ContainsFunc(e.script.RefuseAdapters, func(part string) bool { return strings.Contains(asked.Path, part) }):
		writeError(w, http.StatusInternalServerError, "InternalServerError", "wrong tensor shapes")
	default:
		if _, there := e.lora.names.LoadOrStore(asked.Name, true); there {
			writeError(w, http.StatusBadRequest, "InvalidUserInput", fmt.Sprintf("The lora adapter '%s' has already been loaded.", asked.Name))
			return
		}
		writeJSON(w, http.StatusOK, "Success")
	}
}

// serveUnload forgets an adapter; calls that run with it go on.
func (e *Engine) serveUnload(w http.ResponseWriter, r *http.Request) {
	var asked loraRequest
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		writeError(w, http.StatusBadRequest, "InvalidUserInput", err.Error())
		return
	}
	if _, there := e.lora.names.LoadAndDelete(asked.Name); !there {
		writeError(w, http.StatusNotFound, "NotFoundError", fmt.Sprintf("The lora adapter '%s' cannot be found.", asked.Name))
		return
	}
	writeJSON(w, http.StatusOK, "Success")
}

// Adapters returns the names of the adapters that the engine has, sorted.
func (e *Engine) Adapters() []string {
	var all []string
	e.lora.names.Range(func(name, _ any) bool {
		all = append(all, name.(string))
		return true
	})
	slices.Sort(all)
	return all
}
