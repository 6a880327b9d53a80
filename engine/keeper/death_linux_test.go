package keeper

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestKilledBerthLeavesNothing(t *testing.T) {
	t.Parallel()
	// Given a Berth whose engine ignores SIGTERM and has a helper in its group
	// and a stray outside it.
	line := newLifeline(t)
	intent := intentFor(t, "founder", line.path)
	intent.GraceMS = 1
	encoded, err := json.Marshal(intent)
	if err != nil {
		t.Fatal(err)
	}
	berth := exec.Command(self())
	berth.Env = []string{envRole + "=berth", envLifeline + "=" + line.path, envIntent + "=" + string(encoded)}
	if err := berth.Start(); err != nil {
		t.Fatal(err)
	}
	witnesses := line.await(t, 4)
	keeper := mustOpenPidfd(t, strings.TrimPrefix(witnesses["berth"].name, "berth "))

	// When Berth is killed.
	if err := berth.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = berth.Wait()

	// Then all of them are gone.
	for _, role := range []string{"founder", "helper", "stray"} {
		witnesses[role].awaitEnd(t)
	}
	awaitEnd(keeper)
}

func mustOpenPidfd(t *testing.T, number string) int {
	t.Helper()
	pid, err := strconv.Atoi(number)
	if err != nil {
		t.Fatal(err)
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(pidfd) })
	return pidfd
}

func TestKilledKeeperTakesTheGroupWithIt(t *testing.T) {
	t.Parallel()
	line := newLifeline(t)
	p := mustStart(t, intentFor(t, "group", line.path))
	witnesses := line.await(t, 2)

	if err := p.keeper.Process.Kill(); err != nil {
		t.Fatal(err)
	}

	exit := mustExit(t, p)
	witnesses["group"].awaitEnd(t)
	witnesses["helper"].awaitEnd(t)
	if !errors.Is(exit.Err, ErrKeeperLost) || !strings.Contains(exit.Err.Error(), "signal: killed") || exit.Code != -1 {
		t.Errorf("exit is %+v, want a lost keeper", exit)
	}
}

// Keeper and Berth may die at once; the kernel alone has to end the engine then.
func TestKilledKeeperTakesTheEngineWithItUnaided(t *testing.T) {
	t.Parallel()
	line := newLifeline(t)
	k := mustRunKeeper(t)
	k.mustSay(t, startLine(t, `"v":1`, intentFor(t, "deaf", line.path)))
	engine := line.await(t, 1)["deaf"]

	if err := k.Process.Kill(); err != nil {
		t.Fatal(err)
	}

	engine.awaitEnd(t)
	_ = k.Wait()
}

func TestEngineThatEndsLeavesNothing(t *testing.T) {
	t.Parallel()
	line := newLifeline(t)
	p := mustStart(t, intentFor(t, "quitter", line.path))
	witnesses := line.await(t, 3)

	_ = witnesses["quitter"].conn.Close() // and it ends by itself

	if exit := mustExit(t, p); exit.Code != 0 || exit.Signal != 0 || exit.Err != nil {
		t.Errorf("exit is %+v, want 0", exit)
	}
	witnesses["helper"].awaitEnd(t)
	witnesses["stray"].awaitEnd(t)
}

func TestSignalsToTheKeeper(t *testing.T) {
	t.Parallel()
	line := newLifeline(t)
	p := mustStart(t, intentFor(t, "sleeper", line.path))
	line.await(t, 1)

	// Had one of the first two ended the keeper, there would be no orderly exit.
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGHUP, syscall.SIGTERM} {
		if err := p.keeper.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	if exit := mustExit(t, p); exit.Signal != syscall.SIGTERM || exit.Err != nil {
		t.Errorf("exit is %+v, want SIGTERM to the engine", exit)
	}
}

func TestEndGroupSparesStrangers(t *testing.T) {
	t.Parallel()
	line := newLifeline(t)
	p := mustStart(t, intentFor(t, "sleeper", line.path))
	line.await(t, 1)

	endGroup(Started{PID: p.PID(), StartTime: p.StartTime() - 1})

	mustStop(t, p, patience)
	if exit := p.Exit(); exit.Signal != syscall.SIGTERM {
		t.Errorf("exit is %+v, want SIGTERM, not SIGKILL", exit)
	}
}

func TestSecretsDoNotShow(t *testing.T) {
	t.Parallel()
	line := newLifeline(t)
	intent := intentFor(t, "sleeper", line.path)
	const secret = "hunter2"
	intent.Command = append(intent.Command, "--api-key", secret)
	intent.Env = append(intent.Env, "API_KEY="+secret)
	p := mustStart(t, intent)
	line.await(t, 1)

	proc := "/proc/" + strconv.Itoa(p.keeper.Process.Pid)
	arguments, err := os.ReadFile(proc + "/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	if want := self() + "\x00keep\x00rep_1\x00"; string(arguments) != want {
		t.Errorf("keeper's arguments are %q, want %q", arguments, want)
	}
	environment, err := os.ReadFile(proc + "/environ")
	if err != nil {
		t.Fatal(err)
	}
	if len(environment) > 0 {
		t.Errorf("keeper's environment is %q, want none", environment)
	}
}

// facts are what an engine inherits.
type facts struct {
	Env       []string
	Dir       string
	Threads   []int
	Nice      int
	NoNewPriv int
	Ignored   bool // whether SIGINT is
	NonBlock  bool // whether standard output is
}

func init() {
	roles["reporter"] = func() {
		conn := dial("reporter")
		must(json.NewEncoder(conn).Encode(gatherFacts()))
		hang(conn)
	}
}

func gatherFacts() facts {
	f := facts{Env: os.Environ()}
	var err error
	f.Dir, err = os.Getwd()
	must(err)
	var set unix.CPUSet
	must(unix.SchedGetaffinity(0, &set))
	for thread := range 1024 {
		if set.IsSet(thread) {
			f.Threads = append(f.Threads, thread)
		}
	}
	f.Nice = niceness()
	f.NoNewPriv, err = unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	must(err)
	status, err := os.ReadFile("/proc/self/status")
	must(err)
	_, after, _ := strings.Cut(string(status), "SigIgn:\t")
	mask, err := strconv.ParseUint(after[:16], 16, 64)
	must(err)
	f.Ignored = mask&(1<<(uint(syscall.SIGINT)-1)) != 0
	flags, err := unix.FcntlInt(1, unix.F_GETFL, 0)
	must(err)
	f.NonBlock = flags&unix.O_NONBLOCK != 0
	return f
}

func TestEngineInheritsOnlyWhatWasSaid(t *testing.T) {
	t.Parallel()
	var usable unix.CPUSet
	if err := unix.SchedGetaffinity(0, &usable); err != nil {
		t.Fatal(err)
	}
	thread := 0
	for !usable.IsSet(thread) {
		thread++
	}
	line := newLifeline(t)
	intent := intentFor(t, "reporter", line.path)
	intent.Dir, intent.Threads = t.TempDir(), []int{thread}
	mustStart(t, intent)

	var got facts
	if err := json.NewDecoder(line.await(t, 1)["reporter"].lines).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if strings.Join(got.Env, "\n") != strings.Join(intent.Env, "\n") {
		t.Errorf("environment is %q, want %q", got.Env, intent.Env)
	}
	if got.Dir != intent.Dir {
		t.Errorf("directory is %q, want %q", got.Dir, intent.Dir)
	}
	if len(got.Threads) != 1 || got.Threads[0] != thread {
		t.Errorf("threads are %v, want %d only", got.Threads, thread)
	}
	if got.Nice != niceness() {
		t.Errorf("niceness is %d, ours is %d", got.Nice, niceness())
	}
	if got.NoNewPriv != 1 || got.Ignored || got.NonBlock {
		t.Errorf("no_new_privs is %d, SIGINT ignored %t, output non-blocking %t", got.NoNewPriv, got.Ignored, got.NonBlock)
	}
}

func TestEngineYields(t *testing.T) {
	t.Parallel()
	line := newLifeline(t)
	intent := intentFor(t, "reporter", line.path)
	intent.Yields = true
	mustStart(t, intent)
	var got facts
	if err := json.NewDecoder(line.await(t, 1)["reporter"].lines).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if want := max(yielding, niceness()); got.Nice != want {
		t.Errorf("niceness is %d, want %d", got.Nice, want)
	}
}

func TestThreadsThatDoNotExistAreRefused(t *testing.T) {
	t.Parallel()
	intent := intentFor(t, "sleeper", "")
	intent.Threads = []int{threadMax} // beyond any machine that runs this test
	_, err := Start(t.Context(), Config{Executable: self(), Args: []string{"keep"}, Intent: intent, AnswerTimeout: time.Minute})
	if !errors.Is(err, ErrCannotStart) || !strings.Contains(err.Error(), "bind to threads [1023]") {
		t.Errorf("error is %v", err)
	}
}
