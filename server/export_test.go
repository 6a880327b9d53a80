package server

// Bounds of event streams, for tests.
const (
	LongestSilence      = longestSilence
	StreamsPerWorkspace = streamsPerWorkspace
)
