package berth

import "context"

// Caller is who makes a request: a key and what it stands for.
type Caller struct {
	KeyID       string
	WorkspaceID string
	AccountID   string
	Role        Role
	// Temporary callers came with a token: KeyID is the parent key's, and they may make
	// neither keys nor tokens, which would outlive them.
	Temporary bool
}

// May reports whether the caller's role includes need.
func (c Caller) May(need Role) bool { return c.Role.rank() >= need.rank() && need.rank() > 0 }

// System is the caller of work that Berth does by itself: configuration at start,
// the reconciler.
func System() Caller { return Caller{KeyID: "system", Role: RoleOwner} }

type callerKey struct{}

// WithCaller returns a context that carries c.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerFrom returns the caller that [WithCaller] put into ctx. Without one it
// returns a Caller without a role, which may do nothing: default is deny.
func CallerFrom(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}
