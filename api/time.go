package api

import "time"

// DefaultZone is the zone of gmt_create and gmt_modified, which carry none, unless the
// server is configured otherwise.
var DefaultZone = time.FixedZone("UTC+8", 8*60*60)

// The layout of gmt_create and gmt_modified: local time without a zone. The fraction is
// there only when it is not zero, without trailing zeros.
const gmtLayout = "2006-01-02T15:04:05.999"

// FormatTime writes t as gmt_create and gmt_modified are written.
func FormatTime(t time.Time, zone *time.Location) string {
	return t.In(zone).Format(gmtLayout)
}

// ParseTime reads a time of the deployments API. An offset in s wins over zone.
func ParseTime(s string, zone *time.Location) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t, nil
	}
	return time.ParseInLocation(gmtLayout, s, zone)
}
