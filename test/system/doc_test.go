// Package system_test runs the fleet as its users do: four processes of the built binary around one NATS server that is a
// process too, killed with SIGKILL at the worst moments. What must come out is, byte for byte, the dataset of an undisturbed run.
package system_test
