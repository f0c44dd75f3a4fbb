// Command bench measures ovl beside what its users would pick instead, on the
// same machine and in the same minutes, and reports ratios with their spread.
//
// What happens, in order: in each stage (stage.go) every contender
// (bench/contender) builds a lab of its own and offers two endpoints that can
// talk. Then come rounds (run.go): in each, every scenario (scenario.go) is
// measured (bench/measure) for every contender, one directly after the other,
// so that whatever else the machine does touches all of them alike. A ratio
// is computed inside a round, never between figures of different rounds;
// what is reported (bench/report) is the median of the ratios.
package main
