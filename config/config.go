// Package config turns one YAML file, BERTH_… environment variables and flags into
// one checked Config. Only the wiring reads it; every other room has a small options
// struct of its own. The struct tags below are the schema: they alone say which keys
// exist, what they may be and what holds when they are absent.
//
//	config   the key; ",short": the field that a plain text in place of the mapping sets
//	default  the value when nobody gives one
//	unit     "bytes" for sizes in bytes, "path" for names of files
//	min, max the allowed range, in the same form as the value
//	oneof    the allowed words
//	secret   "password": printed without the password in it; "all": not printed at all
package config

import (
	"net/netip"
	"strconv"
	"time"
)

// Config is the effective configuration of `berth serve`. A zero number, an empty text
// and a nil list mean "not given" unless the field says otherwise.
type Config struct {
	Data   string `config:"data" default:"./berth-data" unit:"path"`
	Listen string `config:"listen" default:"127.0.0.1:7700"` // host:port; port 0: any free one
	// WorkspaceDomain is below which the first label of a host name is a workspace's id.
	WorkspaceDomain string       `config:"workspace_domain"`
	Insecure        bool         `config:"insecure" default:"false"` // allow plain HTTP beyond loopback
	Store           string       `config:"store" default:"sqlite" secret:"password"`
	Node            Node         `config:"node"`
	Specs           []Spec       `config:"specs"`  // in the file's order; MU1 alone when none is given
	Models          []Model      `config:"models"` // in the file's order
	Imports         Imports      `config:"imports"`
	Engines         Engines      `config:"engines"`
	Endpoints       Endpoints    `config:"endpoints"`
	Limits          Limits       `config:"limits"`
	Billing         Billing      `config:"billing"`
	Reservations    Reservations `config:"reservations"`
	Metrics         Metrics      `config:"metrics"`
	Push            Push         `config:"push"`
	Retention       Retention    `config:"retention"`
	Log             Log          `config:"log"`

	origins map[string]origin // by dotted key; a key without one has its default
}

// Node is the inventory of this machine. What is not given is detected.
type Node struct {
	Threads      int      `config:"threads" min:"1" max:"65536"`
	Memory       int64    `config:"memory" unit:"bytes" min:"16MiB" max:"1PiB"`
	Accelerators []string `config:"accelerators"` // ids as the driver names them; empty but not nil: none
}

// Spec is the hardware of one unit. Threads and Memory are always above 0.
type Spec struct {
	Name         string
	Threads      int    `config:"threads" min:"1" max:"65536"`
	Memory       int64  `config:"memory" unit:"bytes" min:"1MiB" max:"1PiB"`
	Accelerators int    `config:"accelerators" default:"0" min:"0" max:"1024"`
	Slots        int    `config:"slots" default:"4" min:"1" max:"65536"`         // parallel sequences
	Context      int    `config:"context" default:"32768" min:"1" max:"1048576"` // tokens of each slot
	Units        int    `config:"units" default:"1" min:"1" max:"65536"`         // capacity units of one replica
	Type         string `config:"type" default:"COUPLED" oneof:"COUPLED SEPERATED"`
}

// Model is one entry of the catalogue: a base (Path), an adapter (Base and Adapter) or
// an endpoint (URL). Without an Engine weights run on the one that loads their form, and
// adapters on their base's.
type Model struct {
	Name        string
	Path        string         `config:"path" unit:"path"`
	Base        string         `config:"base"`
	Adapter     string         `config:"adapter" unit:"path"`
	URL         string         `config:"url"` // ends before /chat/completions
	KeyFile     string         `config:"key_file" unit:"path"`
	RemoteName  string         `config:"remote_name"` // the endpoint's own name for it
	Engine      string         `config:"engine" oneof:"llamacpp vllm fake endpoint"`
	Args        []string       `config:"args"`                      // of its engine, after all others
	Plans       []string       `config:"plans" oneof:"ptu mu lora"` // nil: whatever its kind allows
	Specs       []SpecOverride `config:"specs"`                     // in the file's order: the first is the default
	Pool        Pool           `config:"pool"`
	Calibration Calibration    `config:"calibration"`
	PTU         PTU            `config:"ptu"`
	Thinking    string         `config:"thinking" oneof:"none optional always"` // "": detected
	Context     int            `config:"context" min:"1" max:"1048576"`         // ceiling in tokens
	StandIn     bool           `config:"stand_in"`                              // another vendor's name on these files
	Description string         `config:"description"`
}

// SpecOverride is what a model sets for a whole replica on one spec; 0 means units
// times the spec's value.
type SpecOverride struct {
	Name    string
	Threads int   `config:"threads" min:"1" max:"65536"`
	Memory  int64 `config:"memory" unit:"bytes" min:"1MiB" max:"1PiB"`
	Slots   int   `config:"slots" min:"1" max:"65536"`
	Context int   `config:"context" min:"1" max:"1048576"`
	Units   int   `config:"units" min:"1" max:"65536"`
}

// Pool is how the replicas shared by ptu and lora deployments of a model are made.
type Pool struct {
	Spec string `config:"spec"` // "": the model's first spec
	Min  int    `config:"min" min:"1" max:"1024"`
	Max  int    `config:"max" min:"1" max:"1024"` // 0: whatever fits
}

// Calibration declares what one replica carries instead of measuring it, both
// dimensions at the same time, in tokens per minute: both above 0, or both 0.
type Calibration struct {
	InputTPM  int `config:"input_tpm" min:"1" max:"1000000000000"`
	OutputTPM int `config:"output_tpm" min:"1" max:"1000000000000"`
}

// PTU is how the tokens of ptu deployments count against what they reserved. Factors are
// in thousandths; 0 stands for one.
type PTU struct {
	CacheFactor int64       `config:"cache_factor" unit:"thousandths" min:"0.001" max:"1"` // of input tokens from the prefix cache
	MaxInput    int64       `config:"max_input" min:"1" max:"1048576"`                     // tokens; longer ones are overflow
	LongInput   []LongInput `config:"long_input"`
}

// LongInput is what tokens count when the input is longer than its name says, in tokens:
// those of the input beyond it, and the whole answer. 0 counts as 1.
type LongInput struct {
	Name   string
	Input  int64 `config:"input" unit:"thousandths" min:"1" max:"16"`
	Output int64 `config:"output" unit:"thousandths" min:"1" max:"16"`
}

// Above returns the length that l is named after, 0 when it is none.
func (l LongInput) Above() int64 {
	n, err := strconv.ParseInt(l.Name, 10, 64)
	if err != nil || n < 1 || n > maxContext || strconv.FormatInt(n, 10) != l.Name {
		return 0
	}
	return n
}

// maxContext bounds lengths of sequences, in tokens.
const maxContext = 1 << 20

// Imports says where model import jobs may read, and what they and uploads may take.
type Imports struct {
	Stores       []ImportStore `config:"stores"`
	MaxBytes     int64         `config:"max_bytes" default:"200GiB" unit:"bytes" min:"1MiB" max:"1PiB"` // of one model
	Parallel     int           `config:"parallel" default:"2" min:"1" max:"64"`                         // jobs at the same time
	Queued       int           `config:"queued" default:"16" min:"1" max:"1000"`                        // jobs of a workspace that have not ended
	Ranks        []int         `config:"ranks" min:"1" max:"4096"`                                      // of LoRA adapters; nil: 8, 16, 32, 64
	Uploads      int           `config:"uploads" default:"8" min:"1" max:"1024"`                        // open at the same time, per workspace
	UploadExpiry time.Duration `config:"upload_expiry" default:"24h" min:"1m" max:"720h"`               // after its last byte
}

// ImportStore is a named place for import jobs: a folder, or s3://bucket/folder of
// anything that speaks S3. Without keys and file the usual variables and files of AWS
// say who reads.
type ImportStore struct {
	Name            string
	Path            string   `config:"path,short" unit:"path"`
	Workspaces      []string `config:"workspaces"` // nil: all may use it
	Endpoint        string   `config:"endpoint"`   // "": Amazon's
	Region          string   `config:"region"`
	AccessKey       string   `config:"access_key" secret:"all"`
	SecretKey       string   `config:"secret_key" secret:"all"`
	CredentialsFile string   `config:"credentials_file" unit:"path"`
}

// Engines says how engines are found and how long they are waited for.
type Engines struct {
	Dir           string        `config:"dir" default:"~/.cache/berth/engines" unit:"path"`
	LlamaCpp      Engine        `config:"llamacpp"`
	VLLM          Engine        `config:"vllm"`
	OrphanTimeout time.Duration `config:"orphan_timeout" default:"2m" min:"5s" max:"24h"`
	StartTimeout  time.Duration `config:"start_timeout" default:"5m" min:"1s" max:"24h"`
	// ParallelStarts is how many engines may load at the same time; 0: 4 for each CPU.
	ParallelStarts int `config:"parallel_starts" min:"1" max:"65536"`
}

// Engine is the command that starts an engine; nil: looked for, then installed. Args
// come after the arguments that Berth gives.
type Engine struct {
	Command []string `config:"command"`
	Args    []string `config:"args"`
}

// Endpoints lists the private ranges that an admin's endpoint models may be aimed at.
type Endpoints struct {
	Allow []netip.Prefix `config:"allow"`
}

// Limits bounds what one gateway process takes.
type Limits struct {
	Body        int64         `config:"body" default:"8MiB" unit:"bytes" min:"1KiB" max:"1GiB"`
	Calls       int           `config:"calls" default:"65536" min:"1" max:"1048576"` // at the same time
	StreamIdle  time.Duration `config:"stream_idle" default:"2m" min:"1s" max:"1h"`
	Call        time.Duration `config:"call" default:"30m" min:"1s" max:"24h"`
	Deployments int           `config:"deployments" default:"100000" min:"1" max:"1000000"` // of a workspace whose quota does not say
	Queue       Queue         `config:"queue"`
}

// Queue bounds the calls that wait for a slot of a pool: ptu and lora deployments.
type Queue struct {
	Calls       int           `config:"calls" default:"4096" min:"1" max:"1048576"`    // per pool and class
	Each        int           `config:"each" default:"256" min:"1" max:"1048576"`      // of them of one deployment
	Wait        time.Duration `config:"wait" default:"60s" min:"1s" max:"1h"`          // longest, of calls that do not say
	LongestWait time.Duration `config:"longest_wait" default:"120s" min:"1s" max:"1h"` // of calls that do
}

// Billing says how prices are read and what happens without one.
type Billing struct {
	Currency string `config:"currency" default:"CNY"` // ISO 4217
	TimeZone string `config:"time_zone" default:"Asia/Shanghai"`
	Unpriced string `config:"unpriced" default:"free" oneof:"free refuse"`
	// SeedPrices makes the first start of an installation in CNY begin with public list prices.
	SeedPrices bool `config:"seed_prices" default:"true"`
}

// Metrics says who may read /metrics beside owners.
type Metrics struct {
	KeyFile string `config:"key_file" unit:"path"` // a bearer key of 16 characters or more
}

// Reservations says how ptu throughput is bought.
type Reservations struct {
	StrictCapacity bool   `config:"strict_ptu_capacity" default:"false"`       // refuse a ptu create without ptu_capacity
	Unit           string `config:"unit" default:"tpm" oneof:"tpm ktpm"`       // of ptu_capacity on the capacity-instance endpoints
	Instances      int    `config:"instances" default:"20" min:"1" max:"1000"` // of a deployment at the same time
	InstancesEver  int    `config:"instances_ever" default:"1000" min:"1" max:"100000"`
}

// Push is where usage records and events are sent to as they come; without a URL nowhere.
type Push struct {
	URL        string        `config:"url" secret:"password"`
	Secret     string        `config:"secret" secret:"all"` // whsec_…; with one in SecretFile both sign
	SecretFile string        `config:"secret_file" unit:"path"`
	Token      string        `config:"token" secret:"all"` // sent as bearer token, unless there is a TokenFile
	TokenFile  string        `config:"token_file" unit:"path"`
	Types      []string      `config:"types" oneof:"usage.record usage.unbilled deployment.status statement.closed budget.warning budget.stopped"` // nil: all
	Subject    string        `config:"subject" default:"workspace" oneof:"workspace key deployment"`
	Source     string        `config:"source" default:"berth"`
	Format     string        `config:"format" default:"batch" oneof:"batch single"`
	Batch      int           `config:"batch" default:"100" min:"1" max:"1000"` // events of one message
	Timeout    time.Duration `config:"timeout" default:"30s" min:"1s" max:"5m"`
}

// Retention says how long what is over is kept; 0: for ever.
type Retention struct {
	Records    time.Duration `config:"records" default:"400d" min:"0s" max:"36500d"` // 13 months and some days: a year beside the same month of the year before
	Audit      time.Duration `config:"audit" default:"400d" min:"0s" max:"36500d"`
	Tombstones time.Duration `config:"tombstones" default:"90d" min:"0s" max:"36500d"` // deleted deployments and their events
}

// Log says how much is logged and in which form; auto: text on a terminal, else JSON.
type Log struct {
	Level  string `config:"level" default:"info" oneof:"debug info warn error"`
	Format string `config:"format" default:"auto" oneof:"auto text json"`
}

// defaultSpec is sold when nobody gives a spec.
var defaultSpec = Spec{
	Name: "MU1", Threads: 1, Memory: 256 << 20, Slots: 4, Context: 32768, Units: 1, Type: "COUPLED",
}
