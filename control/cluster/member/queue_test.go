package member

import (
	"fmt"
	"testing"
)

func TestQueueDropsMessagesButNoMembers(t *testing.T) {
	q := NewQueue()
	const members = 10
	for i := range maxWaiting + 100 {
		q.Put(Event{Kind: Message, Payload: []byte{byte(i)}})
	}
	for i := range members {
		q.Put(Event{Kind: Joined, Member: Member{Local: Local{ID: fmt.Sprint(i)}}})
	}
	// One may have left the count while it waits for the reader.
	if got := q.Dropped(); got != 100 && got != 99 {
		t.Errorf("dropped %d of 100 too many", got)
	}
	messages := 0
	for i := 0; i < members; {
		e := <-q.Out()
		if e.Kind == Message {
			messages++
			continue
		}
		if e.Member.ID != fmt.Sprint(i) {
			t.Errorf("member %s came when %d was next", e.Member.ID, i)
		}
		i++
	}
	if got := messages + q.Dropped(); got != maxWaiting+100 {
		t.Errorf("%d messages delivered or dropped, want %d", got, maxWaiting+100)
	}
	q.Close()
	q.Close()
	q.Put(Event{Kind: Joined})
	if _, ok := <-q.Out(); ok {
		t.Error("an event after Close")
	}
}

func TestQueueClosesWhileNobodyReads(t *testing.T) {
	q := NewQueue()
	q.Put(Event{Kind: Joined})
	q.Put(Event{Kind: Joined})
	q.Close()
}
