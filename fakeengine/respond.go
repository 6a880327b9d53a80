package fakeengine

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// failure is the error object of llama.cpp's server.
type failure struct {
	Error failureBody `json:"error"`
}

type failureBody struct {
	Code    int    `json:"code"` // the HTTP status
	Message string `json:"message"`
	Type    string `json:"type"`
}

func newFailure(status int, kind, message string) failure {
	return failure{Error: failureBody{Code: status, Message: message, Type: kind}}
}

func writeError(w http.ResponseWriter, status int, kind, message string) {
	writeJSON(w, status, newFailure(status, kind, message))
}

func writeLoading(w http.ResponseWriter) {
	writeError(w, http.StatusServiceUnavailable, "unavailable_error", "Loading model")
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	writeBody(w, status, encode(v))
}

// writeBody sends a body with its length, which is what lets a client see that
// one was cut. Errors are the client's departure, which ends the call anyway.
func writeBody(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// encode returns the JSON of one of this package's wire types, all of which have one.
func encode(v any) []byte {
	body, err := json.Marshal(v)
	if err != nil {
		panic("fakeengine: encode: " + err.Error())
	}
	return body
}
