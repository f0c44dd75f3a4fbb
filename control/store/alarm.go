package store

import (
	"fmt"
	"log/slog"
)

// AlarmReason names something in what peers sent that should not happen.
type AlarmReason string

// The reasons, as metrics and logs print them.
const (
	// AlarmForeign: a row about one node was written by another; refused.
	AlarmForeign AlarmReason = "foreign_row"
	// AlarmClockAhead: a row's clock is further ahead than the clocks of
	// hosts that keep time. It was merged all the same, since what is written
	// from now on must come after it: the cluster's clock runs ahead until
	// the hosts' clocks catch up.
	AlarmClockAhead AlarmReason = "clock_ahead"
	// AlarmCloned: a write carries this node's ID, but this store has not
	// made it: the disk was cloned, or an older copy of it was put back. The
	// write was not merged.
	AlarmCloned AlarmReason = "cloned_node"
	// AlarmDuplicateWrite: two different writes carry the same origin and
	// number: two machines use the ID of a third.
	AlarmDuplicateWrite AlarmReason = "duplicate_write"
	// AlarmMalformed: a peer sent something that breaks a limit; nothing of
	// it was merged.
	AlarmMalformed AlarmReason = "malformed_row"
)

// Alarm is one such event.
type Alarm struct {
	Reason AlarmReason
	// Row is the row in question, zero where it was not a single row.
	Row Row
	// Text says what was seen, for people.
	Text string
}

// raise counts an alarm, logs it and tells Options.Alarm. It is called
// without the lock.
func (s *Store) raise(alarms ...Alarm) {
	if len(alarms) == 0 {
		return
	}
	s.alarmMu.Lock()
	for _, a := range alarms {
		s.alarms[a.Reason]++
	}
	s.alarmMu.Unlock()
	for _, a := range alarms {
		s.log.Warn("alarm in replicated state", slog.String("reason", string(a.Reason)), slog.String("detail", a.Text))
		if s.opt.Alarm != nil {
			s.opt.Alarm(a)
		}
	}
}

// Alarms returns how often each alarm was raised since the store was opened.
func (s *Store) Alarms() map[AlarmReason]uint64 {
	s.alarmMu.Lock()
	defer s.alarmMu.Unlock()
	out := make(map[AlarmReason]uint64, len(s.alarms))
	for _, r := range []AlarmReason{AlarmForeign, AlarmClockAhead, AlarmCloned, AlarmDuplicateWrite, AlarmMalformed} {
		out[r] = s.alarms[r]
	}
	return out
}

func alarmf(reason AlarmReason, r Row, format string, args ...any) Alarm {
	return Alarm{Reason: reason, Row: r, Text: fmt.Sprintf("%s %q of origin %s, sequence %d: %s",
		r.Table, clip(r.Key), r.Stamp.Origin, r.Stamp.Seq, fmt.Sprintf(format, args...))}
}
