package berth

import (
	"context"
	"time"
)

// Bounds of temporary tokens (api.md 2.2).
const (
	MinTokenLife    = time.Second
	MaxTokenLife    = 1800 * time.Second
	MaxTokensPerKey = 1000 // valid at the same time
)

// CreateToken makes a temporary token of the caller's key: it may do what the key may,
// lives in its workspace, and ends with it or after life, rounded up to a whole second,
// whichever comes first. Its text is shown this once. Needs [RoleInference]; a temporary token makes none.
// [CodeThrottled] when the key has [MaxTokensPerKey] of them.
func (s *Keys) CreateToken(ctx context.Context, life time.Duration) (Key, string, error) {
	caller := CallerFrom(ctx)
	switch {
	case !caller.May(RoleInference):
		return Key{}, "", accessDenied()
	case caller.Temporary:
		return Key{}, "", Errorf(CodeForbidden, "Access denied. A temporary token cannot make tokens; use the key itself.")
	case life < MinTokenLife || life > MaxTokenLife:
		return Key{}, "", Errorf(CodeInvalid, "Range of expire_in_seconds should be [%d, %d]", MinTokenLife/time.Second, MaxTokenLife/time.Second)
	}
	var token Key
	var text string
	err := s.write(ctx, "token.create", func(tx Tx) (string, error) {
		now := s.Now()
		parent, err := tx.Keys().Get(ctx, caller.KeyID)
		if err != nil {
			return "", err
		}
		if !parent.Live(now) {
			return "", Errorf(CodeUnauthenticated, "Invalid API-key provided.")
		}
		if err := s.room(ctx, tx, parent.ID, now); err != nil {
			return "", err
		}
		if text, err = s.NewToken(); err != nil {
			return "", err
		}
		token = Key{
			ID: s.NewID("tok_"), WorkspaceID: parent.WorkspaceID, Role: parent.Role, Deployments: parent.Deployments, ParentID: parent.ID,
			Hash: s.Hash(text), Hint: s.Hint(text), CreatedAt: now, ExpiresAt: tokenEnd(now, life, parent.ExpiresAt),
		}
		return token.ID, tx.Keys().Insert(ctx, token)
	})
	return token, text, err
}

// tokenEnd is a whole second, so that what a client is told is exact, save where the
// parent ends within it.
func tokenEnd(now time.Time, life time.Duration, parentEnd time.Time) time.Time {
	end := now.Add(life + time.Second - 1).Truncate(time.Second)
	if !parentEnd.IsZero() && parentEnd.Before(end) {
		return parentEnd
	}
	return end
}

// room sweeps what has ended and refuses a token over the bound.
func (s *Keys) room(ctx context.Context, tx Tx, parentID string, now time.Time) error {
	if _, err := tx.Keys().Sweep(ctx, now); err != nil {
		return err
	}
	valid, err := tx.Keys().Tokens(ctx, parentID, now)
	if err != nil || len(valid) < MaxTokensPerKey {
		return err
	}
	full := Errorf(CodeThrottled, "The key has %d temporary tokens that are still valid, which is the most it may have; use one of them, or wait.", len(valid))
	full.RetryAfter = min(max(valid[0].ExpiresAt.Sub(now), time.Second), time.Minute)
	return full
}

// Sweep forgets temporary tokens that have ended. They are refused without it, too.
func (s *Keys) Sweep(ctx context.Context) error {
	return s.Store.Tx(ctx, func(tx Tx) error {
		_, err := tx.Keys().Sweep(ctx, s.Now())
		return err
	})
}
