package cluster

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/ovlnet/ovl/control/cluster/clustertest"
	"github.com/ovlnet/ovl/control/cluster/rpc"
	"github.com/ovlnet/ovl/control/store"
)

// Whatever a holder of the key sends, it costs the sender an error, and the
// receiver nothing.
func TestHostilePeer(t *testing.T) {
	inBubble(t, clustertest.Options{}, func(t *testing.T, l *lab) {
		a, b := l.start(), l.start()
		b.join(a)
		l.eventually(10*time.Second, "tables alike", func() bool { return alike(l.all) })
		before := a.table()

		line := func(row store.Row) string {
			text, err := json.Marshal(batchLine{Row: &row})
			if err != nil {
				t.Fatal(err)
			}
			return string(text) + "\n"
		}
		const end = `{"end":{}}` + "\n"
		good := testRow(1, 10)
		noSeq, badOrigin, twoFaced := good, good, good
		noSeq.Stamp.Seq = 0
		badOrigin.Stamp.Origin = "../../etc"
		twoFaced.Deleted = true
		cases := map[string]struct{ method, body, code string }{
			"pull of nothing":           {"pull", "", rpc.CodeBadRequest},
			"pull with a wrong vector":  {"pull", `{"vector":{"x":{"seq":1}}}`, rpc.CodeBadRequest},
			"pull with an endless one":  {"pull", `{"vector":{"` + strings.Repeat("f", 32) + `":{"inc":1,"seq":18446744073709551615}}}`, rpc.CodeBadRequest},
			"pull with a broken row":    {"pull", `{"vector":{},"node":{"table":"node","key":"k","stamp":{"origin":"x","inc":1,"seq":1}}}`, rpc.CodeBadRequest},
			"push of nothing":           {"push", "", rpc.CodeBadRequest},
			"push with a wrong vector":  {"push", `{"end":{"vector":{"":{}}}}` + "\n", rpc.CodeBadRequest},
			"row without a number":      {"push", line(good) + line(noSeq) + end, rpc.CodeBadRequest},
			"row of no node":            {"push", line(good) + line(badOrigin) + end, rpc.CodeBadRequest},
			"tombstone with a value":    {"push", line(good) + line(twoFaced) + end, rpc.CodeBadRequest},
			"hello of another protocol": {"hello", `{"protocol":2,"id":"x","name":"x","nonce":"x"}`, CodeProtocol},
			"hello of the other family": {"hello", `{"protocol":1,"id":"x","name":"x","nonce":"x","addr":"2001:db8::1"}`, CodeFamily},
			"hello of nobody":           {"hello", `[]`, rpc.CodeBadRequest},
			"unknown call":              {"call/allocate", `{}`, rpc.CodeUnknownMethod},
		}
		for name, c := range cases {
			if _, err := b.transport.Request(t.Context(), a.transport.Addr(), c.method, []byte(c.body)); !rpc.IsCode(err, c.code) {
				t.Errorf("%s: %v, want code %s", name, err, c.code)
			}
		}
		for _, payload := range []string{
			"", "{", `{"rows":[{}]}`, `{"rows":[null]}`, `{"hint":{"origin":"x","inc":1,"seq":9}}`,
			`{"hint":{"origin":"` + b.id + `","inc":1,"seq":18446744073709551615}}`, "\xff\xfe",
		} {
			if err := b.members.Publish([]byte(payload)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Second)
		if got := a.table(); got != before {
			t.Errorf("tables have changed:\n%s\nwere\n%s", got, before)
		}
		if !a.Converged() {
			t.Error("a waits for what does not exist")
		}
		b.write("still", "works")
		l.eventually(time.Second, "row", allHave(l.all, "still"))
	})
}
