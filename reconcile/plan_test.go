package reconcile

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	berth "github.com/berthhq/berth"
)

var t0 = time.Date(2026, 10, 2, 9, 0, 0, 0, time.UTC)

// world is a state that tests fill, in which every replica with a nonce runs.
func world() State {
	return State{
		Now: t0, Grace: 30 * time.Second, Drain: 30 * time.Minute, Engines: map[string]berth.EngineTraits{"llamacpp": {Adapters: true}},
		Running:  func(r *berth.Replica) bool { return r.Nonce != "" },
		InFlight: func(string, string) int { return 0 },
		Ending:   func(*berth.Replica) bool { return false },
		Spare:    func(string, berth.Lane) time.Time { return time.Time{} },
	}
}

// mu returns a deployment of n replicas.
func mu(status berth.Status, n int64) berth.Deployment {
	return berth.Deployment{ID: "d", Plan: berth.PlanMU, Status: status, Capacity: n, BaseCapacity: 1, Spec: berth.ResolvedSpec{UnitsPerReplica: 1}, ModifiedAt: t0}
}

func own(id string, state berth.ReplicaState) berth.Replica {
	r := berth.Replica{ID: id, DeploymentID: "d", Lane: berth.LaneDedicated, Engine: "llamacpp", State: state}
	switch state {
	case berth.ReplicaPending:
	case berth.ReplicaFailed:
		r.Failures = []time.Time{t0}
	default:
		r.Nonce = "run_" + id
	}
	return r
}

// sentence writes a plan so that a table can be read.
func sentence(actions []Action) string {
	words := make([]string, 0, len(actions))
	for _, a := range actions {
		switch a := a.(type) {
		case Start:
			words = append(words, "start "+a.Replica.ID)
		case Load:
			words = append(words, "load "+a.Adapters[0].Digest+" "+a.Replica.ID)
		case Unload:
			words = append(words, "unload "+a.Adapters[0].Digest+" "+a.Replica.ID)
		case Lost:
			words = append(words, "lost "+a.Replica.ID)
		case Drain:
			words = append(words, "drain "+a.Replica.ID)
		case Grow:
			words = append(words, "grow "+a.Pool.ID)
		case Resize:
			words = append(words, fmt.Sprintf("%s of %s from %d to %d", a.Lane, a.Pool.ID, a.From, a.To))
		case Stop:
			words = append(words, "stop "+a.Replica.ID)
		case Remove:
			words = append(words, "remove "+a.Replica.ID)
		case Cut:
			words = append(words, "cut "+a.DeploymentID)
		case SetDeployment:
			words = append(words, strings.Join(strings.Fields(fmt.Sprint(a.ID, " ", a.Cause, " ", a.ReadyCapacity)), " "))
		case IdlePool:
			words = append(words, "idle "+a.Pool.ID)
		case RemovePool:
			words = append(words, "remove "+a.Pool.ID)
		}
	}
	return strings.Join(words, ", ")
}

func TestPlanOfADedicatedDeployment(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status   berth.Status
		ready    int64
		replicas []berth.Replica
		state    func(*State)
		want     string
	}{
		"bought: its engines start": {
			"PENDING", 0, []berth.Replica{own("a", "pending"), own("b", "pending")}, nil, "start a, start b",
		},
		"an engine has started": {
			"PENDING", 0, []berth.Replica{own("a", "starting"), own("b", "starting")}, nil, "d engine_starting 0",
		},
		"one of two answers: not yet": {
			"DEPLOYING", 0, []berth.Replica{own("a", "ready"), own("b", "starting")}, nil, "",
		},
		"all answer": {
			"DEPLOYING", 0, []berth.Replica{own("a", "ready"), own("b", "ready")}, nil, "d ready 2",
		},
		"one answers, the other was given up": {
			"DEPLOYING", 0, []berth.Replica{own("a", "ready"), own("b", "failed")}, nil, "d ready 1",
		},
		"all were given up": {
			"DEPLOYING", 0, []berth.Replica{own("a", "failed"), own("b", "failed")}, nil, "d gave_up 0",
		},
		"agreement": {
			"RUNNING", 2, []berth.Replica{own("a", "ready"), own("b", "ready")}, nil, "",
		},
		"an engine crashed and waits for its restart": {
			"RUNNING", 2, []berth.Replica{own("a", "ready"), func() berth.Replica {
				r := own("b", "pending")
				r.RestartAt = t0.Add(time.Second)
				return r
			}()}, nil, "d 1",
		},
		"Berth was restarted: the engines are gone without a fault": {
			"RUNNING", 2, []berth.Replica{own("a", "ready"), own("b", "starting")},
			func(s *State) { s.Running = func(*berth.Replica) bool { return false } }, "d 0, lost a, lost b",
		},
		"failed: what is left goes, what explains it stays": {
			"FAILED", 0, []berth.Replica{own("a", "failed"), own("b", "starting")}, nil, "stop b",
		},
		"failed and deleted: all goes": {"DELETING", 0, []berth.Replica{own("a", "failed")}, nil, "remove a"},
		"deleting: a ready engine is drained, a starting one ended": {
			"DELETING", 2, []berth.Replica{own("a", "ready"), own("b", "starting"), own("c", "pending")}, nil, "drain a, stop b, remove c",
		},
		"deleting: nothing is left": {"DELETING", 0, nil, nil, "d gone 0"},
		"deleting: calls have 30 s": {
			"DELETING", 0, nil, func(s *State) { s.InFlight = func(string, string) int { return 1 } }, "",
		},
		"deleting: the 30 s are over": {
			"DELETING", 0, nil, func(s *State) {
				s.InFlight = func(string, string) int { return 1 }
				s.Now = t0.Add(30 * time.Second)
			}, "cut d, d gone 0",
		},
		"scaled down: the youngest is drained": {
			"UPDATING", 3, []berth.Replica{own("a", "ready"), own("b", "ready"), own("c", "ready")}, func(s *State) {
				s.Deployments[0].Before = berth.Terms{Capacity: 3}
			}, "drain c",
		},
		"scaled down: what is left serves": {
			"UPDATING", 3, []berth.Replica{own("a", "ready"), own("b", "ready"), own("c", "draining")}, func(s *State) {
				s.Deployments[0].Before = berth.Terms{Capacity: 3}
				s.Replicas[2].DrainFrom = t0
			}, "d change_done 2",
		},
		"scaled up: one more to come": {
			"UPDATING", 1, []berth.Replica{own("a", "ready"), own("b", "starting")}, func(s *State) {
				s.Deployments[0].Before = berth.Terms{Capacity: 1}
			}, "",
		},
		"scaled up and given up: back to what was": {
			"UPDATING", 1, []berth.Replica{own("a", "ready"), own("b", "failed")}, func(s *State) {
				s.Deployments[0].Before = berth.Terms{Capacity: 1}
			}, "d change_failed 1",
		},
		"stopping: engines end, then it is stopped": {
			"OFFLINING", 2, []berth.Replica{own("a", "ready"), own("b", "starting")}, nil, "drain a, stop b",
		},
		"stopping: nothing is left": {"OFFLINING", 0, nil, nil, "d stopped 0"},
		"a draining engine with calls": {
			"DELETING", 0, []berth.Replica{own("a", "draining")}, func(s *State) {
				s.Replicas[0].DrainFrom = t0
				s.InFlight = func(d, r string) int { return len(r) }
			}, "",
		},
		"a draining engine without calls": {
			"DELETING", 0, []berth.Replica{own("a", "draining")}, func(s *State) { s.Replicas[0].DrainFrom = t0.Add(-DrainPoll) }, "stop a",
		},
		"a stopping engine is gone": {
			"DELETING", 0, []berth.Replica{own("a", "stopping")},
			func(s *State) { s.Running = func(*berth.Replica) bool { return false } }, "remove a",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := world()
			d := mu(c.status, 2)
			d.ReadyCapacity = c.ready
			s.Deployments, s.Replicas = []berth.Deployment{d}, c.replicas
			if c.state != nil {
				c.state(&s)
			}
			actions, _ := Plan(s)
			if got := sentence(actions); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestPlanOfAPool(t *testing.T) {
	t.Parallel()
	words, shout := berth.AdapterRef{Digest: "w"}, berth.AdapterRef{Digest: "s"}
	lane := func(id string, state berth.ReplicaState, adapters ...berth.AdapterRef) berth.Replica {
		r := own(id, state)
		r.DeploymentID, r.PoolID, r.Lane, r.Adapters = "", "p", berth.LaneLoRA, adapters
		return r
	}
	lora := func(id string, status berth.Status) berth.Deployment {
		return berth.Deployment{ID: id, Plan: berth.PlanLoRA, Status: status, Capacity: 1, BaseCapacity: 1, PoolID: "p", ReadyCapacity: 1}
	}
	joined := func(id string, a berth.AdapterRef) berth.Member {
		return berth.Member{PoolID: "p", DeploymentID: id, Plan: berth.PlanLoRA, Adapter: a}
	}
	for name, c := range map[string]struct {
		deployments []berth.Deployment
		members     []berth.Member
		replicas    []berth.Replica
		idle        time.Time
		want        string
	}{
		"a warm lane has the adapter: running at once": {
			[]berth.Deployment{lora("x", "PENDING")}, []berth.Member{joined("x", words)}, []berth.Replica{lane("a", "ready", words)},
			time.Time{}, "x ready 1",
		},
		"a lane is rolled: the old one serves until the new one answers": {
			[]berth.Deployment{lora("x", "RUNNING"), lora("y", "DEPLOYING")}, []berth.Member{joined("x", words), joined("y", shout)},
			[]berth.Replica{lane("a", "ready", words), lane("b", "starting", shout, words)}, time.Time{}, "",
		},
		"a lane is rolled: the new one answers": {
			[]berth.Deployment{lora("x", "RUNNING"), lora("y", "DEPLOYING")}, []berth.Member{joined("x", words), joined("y", shout)},
			[]berth.Replica{lane("a", "ready", words), lane("b", "ready", shout, words)}, time.Time{}, "y ready 1, drain a",
		},
		"a bad adapter fails its own deployment only": {
			[]berth.Deployment{lora("x", "RUNNING"), lora("y", "DEPLOYING")}, []berth.Member{joined("x", words), joined("y", shout)},
			[]berth.Replica{lane("a", "ready", words), lane("b", "failed", shout, words)}, time.Time{}, "y gave_up 0",
		},
		"what failed is forgotten when nobody's fate hangs on it": {
			[]berth.Deployment{lora("x", "RUNNING")}, []berth.Member{joined("x", words)},
			[]berth.Replica{lane("a", "ready", words), lane("b", "failed", shout)}, time.Time{}, "remove b",
		},
		"a lane that lost a replica waits a minute": {
			[]berth.Deployment{lora("x", "RUNNING")}, []berth.Member{joined("x", words)},
			[]berth.Replica{lane("a", "ready", shout), lane("b", "failed", words)}, time.Time{}, "x gave_up 0",
		},
		"and grows back then": {
			[]berth.Deployment{lora("x", "PENDING"), lora("y", "RUNNING")}, []berth.Member{joined("x", words), joined("y", shout)},
			[]berth.Replica{lane("a", "ready", shout), func() berth.Replica {
				r := lane("b", "failed", words, shout)
				r.Failures = []time.Time{t0.Add(-GrowPause)}
				return r
			}()}, time.Time{}, "x gave_up 0, grow p",
		},
		"an engine of an earlier life is left alone": {
			[]berth.Deployment{lora("x", "RUNNING")}, []berth.Member{joined("x", words)},
			[]berth.Replica{func() berth.Replica {
				r := lane("ending", "ready", words)
				r.Nonce = ""
				return r
			}()}, time.Time{}, "x 0",
		},
		"the last member left": {nil, nil, []berth.Replica{lane("a", "ready", words)}, time.Time{}, "idle p"},
		"a pool lingers":       {nil, nil, []berth.Replica{lane("a", "ready", words)}, t0.Add(-59 * time.Second), ""},
		"a pool ends":          {nil, nil, []berth.Replica{lane("a", "ready", words)}, t0.Add(-60 * time.Second), "drain a"},
		"a pool is gone":       {nil, nil, nil, t0.Add(-60 * time.Second), "remove p"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := world()
			s.Pools = []berth.Pool{{ID: "p", Engine: "llamacpp", IdleSince: c.idle}}
			s.Deployments, s.Members, s.Replicas = c.deployments, c.members, c.replicas
			s.Ending = func(r *berth.Replica) bool { return r.ID == "ending" }
			actions, _ := Plan(s)
			if got := sentence(actions); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// An engine that takes adapters while it runs is not replaced for them.
func TestPlanOfAPoolThatLoadsAdapters(t *testing.T) {
	t.Parallel()
	words, shout := berth.AdapterRef{Digest: "w"}, berth.AdapterRef{Digest: "s"}
	mixed := func(id string, state berth.ReplicaState, adapters ...berth.AdapterRef) berth.Replica {
		r := own(id, state)
		r.DeploymentID, r.PoolID, r.Lane, r.Adapters = "", "p", berth.LaneMixed, adapters
		return r
	}
	two := []berth.Deployment{
		{ID: "x", Plan: berth.PlanLoRA, Status: berth.StatusRunning, Capacity: 1, PoolID: "p", ReadyCapacity: 1},
		{ID: "y", Plan: berth.PlanLoRA, Status: berth.StatusDeploying, Capacity: 1, PoolID: "p"},
	}
	members := []berth.Member{{PoolID: "p", DeploymentID: "x", Plan: berth.PlanLoRA, Adapter: words}, {PoolID: "p", DeploymentID: "y", Plan: berth.PlanLoRA, Adapter: shout}}
	for name, c := range map[string]struct {
		members  []berth.Member
		replicas []berth.Replica
		want     string
	}{
		"what it lacks is loaded":               {members, []berth.Replica{mixed("a", "ready", words)}, "load s a"},
		"what it has serves":                    {members, []berth.Replica{mixed("a", "ready", words, shout)}, "y ready 1"},
		"what nobody has any more goes":         {members[:1], []berth.Replica{mixed("a", "ready", words, shout)}, "unload s a"},
		"one that starts has none yet":          {members, []berth.Replica{mixed("a", "starting")}, "x 0"},
		"one that was given up fails all":       {members, []berth.Replica{mixed("a", "failed")}, "x gave_up 0, y gave_up 0"},
		"after a crash they come one by one":    {members, []berth.Replica{mixed("a", "ready", shout)}, "x 0, y ready 1, load w a"},
		"a second replica is given them itself": {members[:1], []berth.Replica{mixed("a", "ready", words), mixed("b", "ready")}, "drain b"},
	} {
		s := world()
		s.Engines["loads"] = berth.EngineTraits{Name: "loads", Adapters: true, MixedAdapters: true, LoadsAdapters: true}
		s.Pools = []berth.Pool{{ID: "p", Engine: "loads"}}
		s.Deployments, s.Members, s.Replicas = two[:len(c.members)], c.members, c.replicas
		actions, _ := Plan(s)
		if got := sentence(actions); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestPlanSaysWhenToLookAgain(t *testing.T) {
	t.Parallel()
	s := world()
	later, sooner := own("a", "pending"), own("b", "pending")
	later.RestartAt, sooner.RestartAt = t0.Add(9*time.Second), t0.Add(4*time.Second)
	s.Deployments, s.Replicas = []berth.Deployment{mu("DEPLOYING", 2)}, []berth.Replica{later, sooner}
	if actions, next := Plan(s); len(actions) > 0 || next != sooner.RestartAt {
		t.Errorf("got %s at %s", sentence(actions), next)
	}
}

// For any mixture of replicas: a replica gets at most one action, a running engine is
// never forgotten, and nothing is started for what is going away.
func TestPlanIsSafeForAnyState(t *testing.T) {
	t.Parallel()
	statuses := []berth.Status{"PENDING", "DEPLOYING", "RUNNING", "UPDATING", "UPDATING_FAILED", "OFFLINING", "STOPPED", "FAILED", "DELETING"}
	gone := []berth.Status{"OFFLINING", "STOPPED", "FAILED", "DELETING"}
	states := []berth.ReplicaState{"pending", "starting", "ready", "draining", "stopping", "failed"}
	rapid.Check(t, func(t *rapid.T) {
		s := world()
		d := mu(rapid.SampledFrom(statuses).Draw(t, "status"), 3)
		s.Deployments = []berth.Deployment{d}
		running := map[string]bool{}
		for i := range rapid.IntRange(0, 4).Draw(t, "replicas") {
			r := own(fmt.Sprint(i), rapid.SampledFrom(states).Draw(t, "state"))
			running[r.ID] = r.Nonce != "" && rapid.Bool().Draw(t, "running")
			s.Replicas = append(s.Replicas, r)
		}
		s.Running = func(r *berth.Replica) bool { return running[r.ID] }
		calls := rapid.IntRange(0, 1).Draw(t, "calls")
		s.InFlight = func(string, string) int { return calls }
		actions, _ := Plan(s)
		seen := map[string]bool{}
		for _, a := range actions {
			var id string
			switch a := a.(type) {
			case Start:
				if id = a.Replica.ID; slices.Contains(gone, d.Status) || running[id] {
					t.Fatalf("started %s while %s", id, d.Status)
				}
			case Remove:
				if id = a.Replica.ID; running[id] {
					t.Fatalf("forgot %s, which runs", id)
				}
			case Stop:
				id = a.Replica.ID
			case Drain:
				id = a.Replica.ID
			case Lost:
				id = a.Replica.ID
			default:
				continue
			}
			if seen[id] {
				t.Fatalf("two actions for replica %s: %s", id, sentence(actions))
			}
			seen[id] = true
		}
	})
}
