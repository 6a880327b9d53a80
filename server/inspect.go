package server

import (
	"cmp"
	"context"
	"net/http"
	"slices"

	berth "github.com/berthhq/berth"
	"github.com/berthhq/berth/api"
)

// eventPage is the number of events of one page.
const eventPage = 200

func (s *Server) listEvents(ctx context.Context, r *http.Request) (any, error) {
	events, err := s.Deployments.Events(ctx, r.PathValue("id"), r.URL.Query().Get("cursor"), eventPage)
	if err != nil {
		return nil, err
	}
	out := api.EventList{Events: make([]api.Event, 0, len(events))}
	for _, e := range events {
		out.Events = append(out.Events, api.Event{
			ID: e.ID, At: e.At, Status: api.Status(e.Status), Capacity: e.Capacity, ReadyCapacity: e.ReadyCapacity, Reason: e.Reason,
		})
	}
	if len(events) == eventPage {
		out.Next = events[eventPage-1].ID
	}
	return out, nil
}

func (s *Server) explain(ctx context.Context, r *http.Request) (any, error) {
	name := r.PathValue("id")
	if _, err := s.Deployments.Replicas(ctx, name); err != nil { // may the caller know?
		return nil, err
	}
	e := s.Explain(name)
	out := api.Explanation{
		DeployedModel: name, ExpectedOutputTokens: e.ExpectedOutput, Refusals: append([]string{}, e.Refusals...), PTU: shownTerms(&e.Terms),
		Limits: []api.LimitState{}, Replicas: []api.ReplicaLoad{},
	}
	for _, l := range e.Limits {
		out.Limits = append(out.Limits, api.LimitState{
			Dimension: l.Dimension, Limit: l.Limit, Used: l.Used, Remaining: l.Remaining, ResetMS: l.Reset.Milliseconds(),
		})
	}
	for _, p := range e.Replicas {
		out.Replicas = append(out.Replicas, api.ReplicaLoad{ID: p.ReplicaID, Slots: p.Slots, InFlight: p.InFlight})
	}
	if e.Queue != nil {
		out.Queue = queueOf(e.Queue)
	}
	return out, nil
}

// queueOf leaves out what other workspaces' calls are: they are only counted.
func queueOf(q *berth.Queue) *api.Queue {
	out := &api.Queue{Lines: []api.QueueLine{}, Replicas: []api.QueueReplica{}}
	for _, l := range q.Lines {
		line := api.QueueLine{
			Class: "best_effort", Waiting: l.All.Waiting, Own: l.Own.Waiting, Deployments: l.All.Tenants,
			ExpectedWaitMS: l.Own.Expected.Milliseconds(),
		}
		if l.Guaranteed {
			line.Class = "guaranteed"
		}
		if l.All.Waiting > 0 {
			line.Since = &l.All.Since
		}
		out.Lines = append(out.Lines, line)
	}
	for _, r := range q.Replicas {
		p := api.QueueReplica{
			ID: r.ReplicaID, Lane: string(r.Lane), Slots: r.Slots, GuaranteedSlots: r.Guaranteed, Busy: r.Busy, BusyBestEffort: r.BestEffort,
			Failing: r.Trust != berth.Trusted,
		}
		if r.Adapter != "" {
			p.Group = &api.Group{Own: r.Adapter == q.Adapter, Since: r.GroupSince, Waiting: r.Group}
		}
		out.Replicas = append(out.Replicas, p)
	}
	return out
}

func (s *Server) listReplicas(ctx context.Context, r *http.Request) (any, error) {
	replicas, err := s.Deployments.Replicas(ctx, r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	out := api.ReplicaList{Replicas: make([]api.Replica, 0, len(replicas))}
	for _, p := range replicas {
		out.Replicas = append(out.Replicas, api.Replica{
			ID: p.ID, Nonce: p.Nonce, PID: p.PID, State: string(p.State), URL: p.URL, Slots: p.Spec.Slots,
			Busy: int64(s.Busy(p.ID)), StartedAt: p.StartedAt, Held: hardware(p.Spec.Replica, nil),
		})
	}
	return out, nil
}

func (s *Server) listLogs(ctx context.Context, r *http.Request) (any, error) {
	lines, err := number(r, "lines", 100, 1, 10_000)
	if err != nil {
		return nil, err
	}
	replicas, err := s.Deployments.Replicas(ctx, r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	// The engines of a pool work for other workspaces too.
	shared := slices.ContainsFunc(replicas, func(p berth.Replica) bool { return p.PoolID != "" })
	if shared && !berth.CallerFrom(ctx).May(berth.RoleOwner) {
		return nil, berth.Errorf(berth.CodeForbidden, "Access denied. The engines of a pool are shared; ask an owner for their logs.")
	}
	out := api.LogList{Logs: make([]api.Log, 0, len(replicas))}
	for _, p := range replicas {
		text, err := s.Logs(p.ID, int(lines))
		if err != nil {
			return nil, err
		}
		out.Logs = append(out.Logs, api.Log{Replica: p.ID, Lines: text})
	}
	return out, nil
}

func (s *Server) listNodes(ctx context.Context, _ *http.Request) (any, error) {
	nodes, err := s.Inventory.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	out := api.NodeList{Nodes: make([]api.Node, 0, len(nodes))}
	for _, n := range nodes {
		node := api.Node{ID: n.Node.ID, AcceleratorDetails: []api.Accelerator{}, Held: []api.Hold{}}
		var ids []string
		for _, g := range n.Node.GPUs {
			ids = append(ids, g.ID)
			node.AcceleratorDetails = append(node.AcceleratorDetails, api.Accelerator{
				ID: g.ID, Vendor: string(g.Vendor), Name: g.Name, MemoryBytes: g.MemoryBytes,
			})
		}
		node.Hardware = hardware(n.Node.Total, ids)
		for _, h := range n.Held {
			node.Held = append(node.Held, api.Hold{
				DeployedModel: h.DeployedModel, Pool: h.PoolModel, Calibration: h.CalibratedModel, Replica: cmp.Or(h.Hold.ReplicaID, h.Hold.CalibrationID),
				Hardware: hardware(h.Hold.Held, h.Hold.GPUs),
			})
		}
		out.Nodes = append(out.Nodes, node)
	}
	return out, nil
}

func hardware(r berth.Resources, gpus []string) api.Hardware {
	return api.Hardware{Threads: r.Threads, MemoryBytes: r.MemoryBytes, Accelerators: append([]string{}, gpus...)}
}
