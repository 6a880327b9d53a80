// Package cli is the command line. It talks to a server through package api like
// anybody else; commands that need more than the API (serve, doctor, …) are handed in
// by the program that uses it.
package cli
