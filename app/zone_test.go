package app

import (
	"bytes"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	berth "github.com/berthhq/berth"
)

// An account keeps its time zone whatever the configuration says later, which warns.
func TestAnAccountKeepsItsTimeZone(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	for _, c := range []struct {
		zone string
		warn bool
	}{{"America/New_York", false}, {"America/New_York", false}, {"Asia/Tokyo", true}} {
		var log bytes.Buffer
		o := options(t, dir, "billing: {time_zone: "+c.zone+"}\n", io.Discard)
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		a, err := New(t.Context(), o)
		must(t, err)
		must(t, a.store.View(t.Context(), func(tx berth.Tx) error {
			list, err := tx.Accounts().Accounts(t.Context())
			if err == nil && (len(list) != 1 || list[0].TimeZone != "America/New_York") {
				t.Errorf("%s: the account is %+v", c.zone, list)
			}
			return err
		}))
		must(t, a.Close())
		if warned := strings.Contains(log.String(), "stay in their own time zone"); warned != c.warn {
			t.Errorf("%s: warned is %t: %s", c.zone, warned, log.String())
		}
	}
}
