package fakeengine

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

var (
	sumPattern    = regexp.MustCompile(`(?i)^(?:what is\s+)?(\d{1,18})\s*(?:\+|plus)\s*(\d{1,18})\s*[=?.]?$`)
	countPattern  = regexp.MustCompile(`(?i)^count to\s+(\d{1,5})\.?$`)
	repeatPattern = regexp.MustCompile(`(?is)^repeat:\s*(.+)$`)
)

// adapter is a LoRA adapter that Abacus knows, by its id in the call.
type adapter int

const (
	adapterNone  adapter = -1
	adapterWords adapter = 0
	adapterShout adapter = 1
)

// abacus answers a user's text as the tiny model does: thought is what it would
// think, reply what it says. Adapters change the answers of sums only.
func abacus(text string, lora adapter) (thought, reply string) {
	text = strings.TrimSpace(text)
	if m := sumPattern.FindStringSubmatch(text); m != nil {
		return addColumns(m[1], m[2]), dress(add(m[1], m[2]), lora)
	}
	if m := countPattern.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("I count to %s.", m[1]), count(number(m[1]))
	}
	if m := repeatPattern.FindStringSubmatch(text); m != nil {
		return "I repeat it.", m[1]
	}
	return "I say ok.", "ok"
}

func dress(sum string, lora adapter) string {
	switch lora {
	case adapterWords:
		return "The answer is " + sum + "."
	case adapterShout:
		return sum + "!!!"
	default:
		return sum
	}
}

func add(a, b string) string {
	return strconv.FormatInt(number(a)+number(b), 10)
}

// addColumns writes a sum down column by column from the right, at least two
// columns: "37+85: 7+5=12, 3+8+1=12".
func addColumns(a, b string) string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s+%s: ", a, b)
	var carry int64
	x, y := number(a), number(b)
	for column := 0; column < 2 || x > 0 || y > 0; column++ {
		sum := x%10 + y%10 + carry
		if column == 0 {
			fmt.Fprintf(&out, "%d+%d=%d", x%10, y%10, sum)
		} else {
			fmt.Fprintf(&out, ", %d+%d+%d=%d", x%10, y%10, carry, sum)
		}
		x, y, carry = x/10, y/10, sum/10
	}
	return out.String()
}

func count(last int64) string {
	var out []byte
	for i := int64(1); i <= last; i++ {
		if i > 1 {
			out = append(out, ' ')
		}
		out = strconv.AppendInt(out, i, 10)
	}
	return string(out)
}

// number reads digits that a pattern above has matched, so few that they fit.
func number(digits string) int64 {
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		panic("fakeengine: a pattern let through " + digits)
	}
	return n
}
