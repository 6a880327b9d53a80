package store

import (
	"strconv"
	"strings"
	"sync"
)

// numbered replaces the marks of statements by $1, $2 and so on, once for each statement:
// there are some hundred.
type numbered struct{ known sync.Map }

func (n *numbered) query(statement string) string {
	if known, ok := n.known.Load(statement); ok {
		return known.(string)
	}
	q := number(statement)
	n.known.Store(statement, q)
	return q
}

// number leaves marks in quoted text and names alone. Statements have no comments.
func number(statement string) string {
	if !strings.Contains(statement, "?") {
		return statement
	}
	var b strings.Builder
	var quote rune
	marks := 0
	for _, r := range statement {
		switch {
		case quote != 0:
			if r == quote {
				quote = 0 // a doubled quote opens again at once
			}
		case r == '\'' || r == '"':
			quote = r
		case r == '?':
			marks++
			b.WriteString("$" + strconv.Itoa(marks))
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}
