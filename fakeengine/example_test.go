package fakeengine_test

import (
	"fmt"
	"io"
	"net/http/httptest"
	"strings"

	"github.com/berthhq/berth/fakeengine"
)

// A test of a client's retries: the first call fails, the second is answered.
func ExampleNew() {
	engine := fakeengine.New(fakeengine.Script{
		Faults: []fakeengine.Fault{{Call: 1, Kind: fakeengine.FaultError503}},
	}, fakeengine.Options{})
	server := httptest.NewServer(engine)
	defer server.Close()

	for range 2 {
		body := strings.NewReader(`{"prompt":"37+85"}`)
		response, err := server.Client().Post(server.URL+"/v1/completions", "application/json", body)
		if err != nil {
			fmt.Println(err)
			return
		}
		answer, _ := io.ReadAll(response.Body)
		response.Body.Close()
		fmt.Println(response.StatusCode, strings.Contains(string(answer), "122"))
	}
	fmt.Println(engine.Stats().Calls, "calls")
	// Output:
	// 503 false
	// 200 true
	// 2 calls
}
