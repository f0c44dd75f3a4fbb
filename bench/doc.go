// Command bench measures ovl beside what its users would pick instead, on the
// same machine and in the same minutes, and reports ratios with their spread.
//
// What happens, in order: every contender (contender.go) builds a lab of two
// hosts and offers two endpoints that can talk. Then come rounds (run.go): in
// each, every scenario (scenario.go) is measured for every contender, one
// directly after the other, so that whatever else the machine does touches
// all of them alike. A ratio is computed inside a round, never between
// figures of different rounds; what is reported is the median of the ratios
// (stats.go), as a table and as JSON (report.go).
//
// A contender is a file of its own, and so is a way of measuring: iperf.go,
// packets.go, echo.go, sockperf.go.
package main
