package limit

import (
	"sync"
	"testing"
)

func TestALimiterAdmitsAllDimensionsOrNone(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		limits Amounts
		before Amounts // admitted at 0 ms
		ask    Amounts // at 1,000 ms
		ok     bool
		why    Refusal
	}{
		"what fits passes": {
			limits: Amounts{Requests: 2, Tokens: 100}, before: Amounts{Requests: 1, Tokens: 50},
			ask: Amounts{Requests: 1, Tokens: 50}, ok: true,
		},
		"a dimension without limit never refuses": {
			limits: Amounts{Requests: 9}, before: Amounts{Requests: 1, Output: 1 << 40},
			ask: Amounts{Requests: 1, Output: 1 << 40}, ok: true,
		},
		"the refusal has limit, used, asked and a wait": {
			limits: Amounts{Requests: 9, Tokens: 100}, before: Amounts{Requests: 1, Tokens: 60},
			ask: Amounts{Requests: 1, Tokens: 41},
			why: Refusal{Dimension: Tokens, Limit: 100, Used: 60, Asked: 41, RetryAfterMS: 59_000, Possible: true},
		},
		"a call that can never pass is told so, whatever else refuses": {
			limits: Amounts{Requests: 1, Input: 10}, before: Amounts{Requests: 1},
			ask: Amounts{Requests: 1, Input: 11},
			why: Refusal{Dimension: Input, Limit: 10, Asked: 11},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := New(tt.limits)
			if _, why, ok := l.Reserve(0, nil, tt.before, nil); !ok {
				t.Fatalf("the first call was refused: %+v", why)
			}
			_, why, ok := l.Reserve(1_000, nil, tt.ask, nil)
			if ok != tt.ok || why != tt.why {
				t.Errorf("Reserve = %+v, %v; want %+v, %v", why, ok, tt.why, tt.ok)
			}
			want := tt.before
			if tt.ok {
				for d := range want {
					want[d] += tt.ask[d]
				}
			}
			if used := l.Used(1_000); used != want {
				t.Errorf("Used = %v, want %v", used, want)
			}
		})
	}
}

func TestTheRefusalThatLastsLongestIsTold(t *testing.T) {
	t.Parallel()
	l := New(Amounts{Input: 10, Output: 10})
	l.Book(0, Amounts{Input: 10})
	l.Book(500, Amounts{Output: 10})
	_, why, _ := l.Reserve(1_000, nil, Amounts{Input: 1, Output: 1}, nil)
	if why.Dimension != Output || why.RetryAfterMS != 59_500 {
		t.Fatalf("refusal = %+v, want output for 59,500 ms", why)
	}
	if _, why, ok := l.Reserve(1_000+why.RetryAfterMS, nil, Amounts{Input: 1, Output: 1}, nil); !ok {
		t.Errorf("refused after the wait: %+v", why)
	}
}

func TestSettleAndCancelCorrectEachDimension(t *testing.T) {
	t.Parallel()
	l := New(Amounts{Requests: 10, Input: 100, Output: 100})
	first, _, _ := l.Reserve(0, nil, Amounts{Requests: 1, Input: 80, Output: 80}, nil)
	second, _, _ := l.Reserve(0, nil, Amounts{Requests: 1, Input: 20, Output: 20}, nil)
	l.Settle(first, 10, Amounts{Requests: 1, Input: 30, Output: 95})
	l.Cancel(second, 20)
	if got, want := l.Used(20), (Amounts{Requests: 1, Input: 30, Output: 95}); got != want {
		t.Errorf("Used = %v, want %v", got, want)
	}
}

func TestANewLimitCountsTheMinuteBeforeIt(t *testing.T) {
	t.Parallel()
	l := New(Amounts{})
	l.Book(0, Amounts{Tokens: 90})
	l.SetLimits(10, Amounts{Tokens: 100})
	if _, why, ok := l.Reserve(20, nil, Amounts{Tokens: 11}, nil); ok || why.Used != 90 {
		t.Errorf("Reserve = %+v, %v; want a refusal with 90 used", why, ok)
	}
}

func TestConcurrentCallsNeverExceedTheLimit(t *testing.T) {
	t.Parallel()
	l := New(Amounts{Requests: 1000})
	var admitted sync.Map
	var calls sync.WaitGroup
	for range 8 {
		calls.Go(func() {
			for i := range 500 {
				if r, _, ok := l.Reserve(int64(i), nil, Amounts{Requests: 1}, nil); ok {
					admitted.Store(&r, true)
				}
			}
		})
	}
	calls.Wait()
	count := 0
	admitted.Range(func(any, any) bool { count++; return true })
	if count != 1000 {
		t.Errorf("%d of 4,000 calls were admitted, want 1,000", count)
	}
}

func BenchmarkReserveSettle(b *testing.B) {
	b.Run("Window", func(b *testing.B) {
		var w Window
		w.SetLimit(0, 1<<40)
		fill(&w)
		b.ReportAllocs()
		nowMS := w.nowMS
		for b.Loop() {
			nowMS++ // a full ring: the dearest case
			t, _ := w.Reserve(nowMS, 100)
			w.Settle(t, nowMS, 60)
		}
	})
	b.Run("Limiter", func(b *testing.B) {
		l := New(Amounts{Requests: 1 << 40, Input: 1 << 40, Output: 1 << 40})
		for d := range l.windows {
			fill(&l.windows[d])
		}
		b.ReportAllocs()
		nowMS := l.windows[0].nowMS
		for b.Loop() {
			nowMS++
			r, _, _ := l.Reserve(nowMS, nil, Amounts{Requests: 1, Input: 100, Output: 100}, nil)
			l.Settle(r, nowMS, Amounts{Requests: 1, Input: 100, Output: 60})
		}
	})
}

// fill makes the ring as large as it gets.
func fill(w *Window) {
	for nowMS := range int64(maxBookings) {
		w.Book(nowMS, 1)
	}
}

// What a reservation held beyond need is free at once, and settling counts from there.
func TestShrink(t *testing.T) {
	t.Parallel()
	l := New(Amounts{Input: 100})
	within := Amounts{Input: 100}
	var levels Levels
	held, _, ok := l.Reserve(1_000, &within, Amounts{Input: 80}, &levels)
	if !ok {
		t.Fatal("refused")
	}
	held = l.Shrink(held, 2_000, Amounts{Input: 30, Output: 5})
	if used := l.Used(2_000)[Input]; used != 30 {
		t.Errorf("%d are used, want 30", used)
	}
	if _, _, ok := l.Reserve(2_000, &within, Amounts{Input: 71}, &levels); ok {
		t.Error("71 fit beside 30 of 100")
	}
	l.Settle(held, 3_000, Amounts{Input: 10})
	if used := l.Used(3_000); used[Input] != 10 || used[Output] != 0 {
		t.Errorf("%v are used, want 10 of input", used)
	}
	if used := l.Used(61_000)[Input]; used != 0 {
		t.Errorf("%d are used a minute after the admission", used)
	}
}
