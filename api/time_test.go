package api_test

import (
	"testing"
	"time"

	"github.com/berthhq/berth/api"
)

func TestTimesTravelAndReturn(t *testing.T) {
	t.Parallel()
	for written, moment := range map[string]time.Time{
		"2025-06-17T11:00:38.68":  time.Date(2025, 6, 17, 3, 0, 38, 680e6, time.UTC),
		"2025-11-20T20:06:46.405": time.Date(2025, 11, 20, 12, 6, 46, 405e6, time.UTC),
		"2025-06-17T11:00:38":     time.Date(2025, 6, 17, 3, 0, 38, 0, time.UTC),
	} {
		if got := api.FormatTime(moment, api.DefaultZone); got != written {
			t.Errorf("wrote %s, want %s", got, written)
		}
		if got, err := api.ParseTime(written, api.DefaultZone); err != nil || !got.Equal(moment) {
			t.Errorf("read %s as %s, %v", written, got, err)
		}
	}
}

func TestAnOffsetWinsOverTheZone(t *testing.T) {
	t.Parallel()
	got, err := api.ParseTime("2024-01-01T12:00:00.000+00:00", api.DefaultZone)
	if err != nil || !got.Equal(time.Date(2024, 1, 1, 12, 0, 0, 0, time.UTC)) {
		t.Errorf("got %s, %v", got, err)
	}
}
