package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/berthhq/berth/api"
)

// shortName is the least length of a line's name, in hex digits.
const shortName = 8

// longName names a line by what can be typed: the digest of its id.
func longName(id string) string {
	digest := sha256.Sum256([]byte(id))
	return hex.EncodeToString(digest[:])
}

// lineNames are the shortest names, of at least [shortName], that tell the lines of a
// statement apart.
func lineNames(st *api.Statement) []string {
	names := make([]string, len(st.Lines))
	for i := range st.Lines {
		names[i] = longName(st.Lines[i].ID)
	}
	sorted := slices.Sorted(slices.Values(names))
	least := shortName
	for i := 1; i < len(sorted); i++ {
		if sorted[i] == sorted[i-1] {
			continue // a fake, or the same line
		}
		for least < len(sorted[i]) && sorted[i][:least] == sorted[i-1][:least] {
			least++
		}
	}
	for i, name := range names {
		names[i] = name[:least]
	}
	return names
}

// lineNamed returns the id of the line that a text names: the whole id, or the begin of a
// name that no other line has.
func lineNamed(st *api.Statement, text string) (string, error) {
	var found []string
	for i := range st.Lines {
		id := st.Lines[i].ID
		if id == text {
			return id, nil
		}
		if strings.HasPrefix(longName(id), strings.ToLower(text)) {
			found = append(found, id)
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("the statement of %s has no line %s; take one of the column LINE of berth statement %s", st.Month, text, st.Month)
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("%s lines of %s begin with %s; write more of the one you mean: %s", count(int64(len(found))), st.Month, text, someNames(found))
}

// someNames are the names of the first few lines.
func someNames(ids []string) string {
	const most = 4
	var names []string
	for i, id := range ids {
		if i == most {
			names = append(names, "…")
			break
		}
		names = append(names, longName(id)[:shortName+4])
	}
	return strings.Join(names, ", ")
}
