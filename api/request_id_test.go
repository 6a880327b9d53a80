package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/berthhq/berth/api"
)

// conformance 9
func TestTheClientsRequestID(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		headers map[string]string
		want    string
	}{
		"none":                      {nil, ""},
		"the only one":              {map[string]string{"X-Request-Id": "a-1_2.3:4"}, "a-1_2.3:4"},
		"DashScope's before X-":     {map[string]string{"X-Request-Id": "x", "X-DashScope-RequestId": "d"}, "d"},
		"acs before all":            {map[string]string{"X-Request-Id": "x", "X-DashScope-RequestId": "d", "x-acs-req-uuid": "a"}, "a"},
		"an unusable one is passed": {map[string]string{"x-acs-req-uuid": "a b", "X-Request-Id": "x"}, "x"},
		"a quote would break JSON":  {map[string]string{"X-Request-Id": `a"b`}, ""},
		"as long as may be":         {map[string]string{"X-Request-Id": strings.Repeat("a", 128)}, strings.Repeat("a", 128)},
		"longer":                    {map[string]string{"X-Request-Id": strings.Repeat("a", 129)}, ""},
	} {
		h := http.Header{}
		for k, v := range c.headers {
			h.Set(k, v)
		}
		if got := api.RequestID(h); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}
