// Package api is what travels between Berth and its clients: the wire types of the
// deployments API, of the resources under /berth/v1, and a client for both.
//
// It imports nothing of Berth, so that programs outside this module can use it. Each
// file is one noun: its types, and the client's methods for it.
package api
