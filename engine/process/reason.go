package process

import (
	"fmt"
	"regexp"
	"strings"
	"syscall"

	"github.com/berthhq/berth/engine/keeper"
)

// reason says how an engine ended, for a person who did not ask for it: "the engine
// ended with exit status 1: …" and the lines of its log that matter.
func reason(exit keeper.Exit) string {
	said := "the engine ended: " + exit.String()
	switch {
	case exit.Err != nil:
	case exit.Signal == syscall.SIGKILL:
		said = "the engine was killed (signal 9), usually because the machine ran out of memory"
	case exit.Signal != 0:
		said = fmt.Sprintf("the engine was ended by signal %d (%s)", int(exit.Signal), exit.Signal)
	default:
		said = fmt.Sprintf("the engine ended with exit status %d", exit.Code)
	}
	if lines := telling(exit.Tail); len(lines) > 0 {
		return said + ": " + strings.Join(lines, "; ")
	}
	return said
}

const (
	tellingLinesMax = 4
	tellingLineMax  = 300 // bytes
)

// stamp is what loggers put before a message, a time and a level: llama.cpp's
// "0.00.012.018 E ", vLLM's "ERROR 11-23 08:40:58 ".
var stamp = regexp.MustCompile(`^(?:[\d.:,\-TZ\[\]/]*\d[\d.:,\-TZ\[\]/]*\s+|([DIWEF]|DEBUG|INFO|WARN|WARNING|ERROR|FATAL)\s+)+`)

// trouble marks a line that says what went wrong where lines have no level.
var trouble = regexp.MustCompile(`(?i)error|fail|invalid|fatal|exception|cannot|unable|denied|out of memory|no such|not found|unsupported`)

// telling picks the lines of a log's end that say why: of those that tell of trouble the
// first ones, where causes come before what follows from them, and the last, where a
// Python traceback names its exception; else simply the last lines.
func telling(tail string) []string {
	var all, worded, levelled []string
	for line := range strings.Lines(tail) {
		line, level := strip(line)
		if strings.Trim(line, ".") == "" {
			continue // empty, or a progress bar
		}
		all = append(all, line)
		if strings.HasPrefix(level, "E") || strings.HasPrefix(level, "F") {
			levelled = append(levelled, line)
		}
		if trouble.MatchString(line) {
			worded = append(worded, line)
		}
	}
	for _, bad := range [][]string{levelled, worded} {
		if len(bad) > tellingLinesMax {
			return append(bad[:tellingLinesMax-1:tellingLinesMax-1], bad[len(bad)-1])
		}
		if len(bad) > 0 {
			return bad
		}
	}
	return all[max(0, len(all)-tellingLinesMax):]
}

// strip returns a line without what its logger put before it, short and in single
// spaces, and the logger's level if there was one.
func strip(line string) (message, level string) {
	line = strings.TrimSpace(line)
	if head := stamp.FindStringSubmatch(line); len(head) > 1 {
		line, level = line[len(head[0]):], head[1]
	}
	line = strings.Join(strings.Fields(line), " ")
	return strings.ToValidUTF8(line[:min(len(line), tellingLineMax)], ""), level
}
