package gateway

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// What an engine knows and these dialects do not allow is refused by name.
func TestEngineFieldsAreRefusedBesideChats(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		dialect dialect
		body    string
		own     []string // names that mean something here
	}{
		{openAICompletions{}, completion(`"x"`, "%s"), []string{"prompt", "echo", "best_of"}},
		{openAIResponses{}, respond(`"x"`, "%s"), nil},
		{openAIEmbeddings{}, embed(`"x"`, "%s"), nil},
		{nativeEmbeddings{}, embedNative(`["x"]`, "%s"), nil},
	} {
		for _, name := range engineFields {
			if slices.Contains(c.own, name) {
				continue
			}
			_, f := parse(c.dialect, fmt.Sprintf(c.body, fmt.Sprintf("%q:1", name)), thinkingRoute())
			if f == nil || f.problem != problemInvalid || !strings.Contains(f.sentence, name+`" is not supported`) {
				t.Errorf("%T lets %s pass: %v", c.dialect, name, f)
			}
		}
	}
}
