package config

import "reflect"

// unknown reports a key that does not exist. A near sibling is what was most likely
// meant, else a key of the same name in another section.
func (b *binder) unknown(from origin, key string, siblings []string) {
	near := nearest(key, siblings)
	if near == "" {
		near = sameName(key)
	}
	if near == "" {
		b.problem(from, "unknown key %s", key)
		return
	}
	b.problem(from, "unknown key %s; did you mean %s?", key, near)
}

// nearest returns the candidate that differs least from word, by at most a third of
// its letters, or "".
func nearest(word string, candidates []string) string {
	best, least := "", max(2, len(lastPart(word))/3)+1
	for _, c := range candidates {
		if d := distance(word, c); d < least {
			best, least = c, d
		}
	}
	return best
}

// sameName returns the first key outside the operator's own entries that ends like key.
func sameName(key string) string {
	found := ""
	each(reflect.ValueOf(&Config{}).Elem(), field{}, "", func(_ reflect.Value, f field, other string) {
		if found == "" && f.name == lastPart(key) {
			found = other
		}
	})
	return found
}

func lastPart(key string) string {
	for i := len(key) - 1; i >= 0; i-- {
		if key[i] == '.' {
			return key[i+1:]
		}
	}
	return key
}

// distance is the number of letters to add, drop or change to turn a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
