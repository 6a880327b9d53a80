package api

import _ "embed" // the contract, so that it cannot get lost

// OpenAPI is the contract of the HTTP API: an OpenAPI 3.1 document in YAML. Servers
// answer it as JSON at /openapi.json. Paths below the prefixes of its x-berth-aliases are
// the same as those they stand for.
//
//go:embed openapi.yaml
var OpenAPI string
