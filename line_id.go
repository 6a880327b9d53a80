package berth

import (
	"strconv"
	"strings"
)

// ID names a line among those of the statements of a month: what was used, without how
// much of it.
func (l *Line) ID() string {
	return strings.Join([]string{
		l.Day, l.DeploymentID, string(l.Dimension), string(l.Class), strconv.FormatInt(l.FromTokens, 10), l.PriceID, l.Currency,
	}, ".")
}
